"""Power law with offset: a + b * x1^e1 * x2^e2 ..., for factors above zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qmodel.errors import InputError
from qmodel.service.forms import Levels, finite, listed_in
from qmodel.service.terms import Array, latex_name
from qmodel.service.units import Unit


@dataclass(frozen=True)
class PowerLaw:
    """offset + scale * product of the inputs, each to its exponent.

    `coefficients` are offset, scale and the exponents, in this order; the gradient by an exponent is
    scale * product * ln(input), so the covariance and the intervals are first-order ones.

    >>> PowerLaw(("n",), (1.0, 2.0, 0.5)).evaluate({"n": [4.0, 9.0]}).tolist()
    [5.0, 7.0]
    """

    name: ClassVar[str] = "power-law"
    inputs: tuple[str, ...]
    parameters: tuple[float, ...]

    @property
    def coefficients(self) -> Array:
        """Offset, scale, exponents."""
        return np.array(self.parameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """`offset`, `scale` and `exponent of n`."""
        return ("offset", "scale", *(f"exponent of {name}" for name in self.inputs))

    @property
    def factors(self) -> tuple[str, ...]:
        """Its inputs."""
        return self.inputs

    def evaluate(self, levels: Levels) -> Array:
        """Value at `levels`; raises InputError where an input is not above zero."""
        return np.asarray(self.parameters[0] + self.parameters[1] * self._product(levels))

    def gradient(self, levels: Levels) -> Array:
        """By offset, scale and each exponent."""
        shape = np.broadcast_shapes(*(np.shape(value) for value in levels.values())) or (1,)
        product = np.broadcast_to(self._product(levels), shape).ravel()
        logs = [np.broadcast_to(np.log(self._input(levels, name)), shape).ravel() for name in self.inputs]
        return np.column_stack([np.ones_like(product), product, *(self.parameters[1] * product * x for x in logs)])

    def with_coefficients(self, coefficients: Array) -> PowerLaw:
        """The same inputs with other parameters."""
        return PowerLaw(self.inputs, tuple(float(c) for c in coefficients))

    def words(self, unit: Unit) -> str:
        """`1 ms + 2 ms*n^0.5`."""
        offset, scale, *exponents = self.parameters
        product = "*".join(f"{name}^{e:.4g}" for name, e in zip(self.inputs, exponents, strict=True))
        return f"{unit.words(offset)} + {unit.words(scale)}*{product}".replace("+ -", "- ")

    def latex(self, unit: Unit) -> str:
        """The sum in LaTeX."""
        offset, scale, *exponents = self.parameters
        pairs = zip(self.inputs, exponents, strict=True)
        product = r" \cdot ".join(f"{latex_name(name)}^{{{e:.4g}}}" for name, e in pairs)
        return rf"{unit.latex(offset)} + {unit.latex(scale)} \cdot {product}".replace("+ -", "- ")

    def to_json(self) -> dict[str, Any]:
        """`terms` are the inputs; `coefficients` are offset, scale and one exponent an input."""
        return {"form": self.name, "terms": list(self.inputs), "coefficients": list(self.parameters)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str) -> PowerLaw:
        """Read inputs and parameters; raises InputError naming the place of a fault."""
        names = listed_in(data["terms"], place, "terms")
        numbers = listed_in(data["coefficients"], place, "coefficients")
        if any(not isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise InputError(f"{place}, terms", "are not the names of the inputs, each once", "fit the model again")
        if len(numbers) != len(names) + 2:
            fault = f"has {len(numbers)} entries for {len(names)} inputs"
            raise InputError(f"{place}, coefficients", fault, "give offset, scale and one exponent an input")
        return cls(tuple(names), tuple(finite(x, f"{place}, coefficients[{k}]") for k, x in enumerate(numbers)))

    def _product(self, levels: Levels) -> Array:
        product: Any = 1.0
        for name, exponent in zip(self.inputs, self.parameters[2:], strict=True):
            product = product * self._input(levels, name) ** exponent
        return np.asarray(product)

    def _input(self, levels: Levels, name: str) -> Array:
        x = np.asarray(levels[name], dtype=float)
        if np.any(x <= 0):
            raise InputError(
                f"factor '{name}'", "is not above 0, where a power law has no value", "keep it above 0"
            )
        return x
