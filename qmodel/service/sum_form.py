"""A sum of components fitted apart, such as dense layers + attention + a share a sequence, for mixed batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from qmodel.errors import InputError
from qmodel.service.forms import Form, Levels, finite, listed_in
from qmodel.service.terms import Array
from qmodel.service.units import Unit


@dataclass(frozen=True)
class Component:
    """`times` x `form`; each of its inputs is the sum of the model's factors that `inputs` names (default: itself).

    Where `when` names factors, the component counts only where their sum is above zero: no attention of a prefill
    chunk without a chunk.
    """

    label: str
    form: Form
    times: float = 1.0
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    when: tuple[str, ...] = ()

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors of the model that it reads."""
        own = [name for local in self.form.factors for name in self.sources(local)]
        return tuple(dict.fromkeys((*own, *self.when)))

    def sources(self, local: str) -> tuple[str, ...]:
        """The model's factors whose sum is the form's factor `local`."""
        return self.inputs.get(local, (local,))

    def present(self, levels: Levels) -> Array:
        """1 where it counts, else 0."""
        return np.asarray(_total(levels, self.when) > 0, float) if self.when else np.asarray(1.0)

    def own_levels(self, levels: Levels) -> dict[str, Any] | None:
        """Levels of the form's factors; where it does not count, some level that it can take. None: nowhere."""
        here = self.present(levels) > 0
        if not np.any(here):
            return None
        own = {}
        for local in self.form.factors:
            x = _input(levels, self.sources(local))
            if x.dtype.kind == "f" and not np.all(here):
                shown, mask = np.broadcast_arrays(x, here)
                x = np.where(mask, shown, shown[mask].flat[0])
            own[local] = x
        return own


@dataclass(frozen=True)
class Sum:
    """Components added up.

    >>> from qmodel.service.forms import Affine
    >>> from qmodel.service.terms import Term
    >>> dense = Component("dense", Affine((Term.parse("tokens"),), (0.1,)), 2.0, {"tokens": ("chunk", "decodes")})
    >>> Sum((dense,)).evaluate({"chunk": 10, "decodes": 5}).tolist()
    3.0
    """

    name: ClassVar[str] = "sum"
    components: tuple[Component, ...]

    @property
    def coefficients(self) -> Array:
        """Those of the first component, then of the second, and so on."""
        return np.concatenate([c.form.coefficients for c in self.components])

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels with their component's name."""
        return tuple(f"{c.label}: {label}" for c in self.components for label in c.form.labels)

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors of all components, each once."""
        return tuple(dict.fromkeys(name for c in self.components for name in c.factors))

    def evaluate(self, levels: Levels) -> Array:
        """Sum over the components that count."""
        return np.asarray(sum(self.parts(levels).values(), np.asarray(0.0)), dtype=float)

    def parts(self, levels: Levels) -> dict[str, Array]:
        """What each component brings, by its name."""
        parts = {}
        for c in self.components:
            own = c.own_levels(levels)
            value = 0.0 if own is None else c.times * c.form.evaluate(own) * c.present(levels)
            parts[c.label] = np.asarray(value, dtype=float)
        return parts

    def gradient(self, levels: Levels) -> Array:
        """Design rows of the components side by side."""
        shape = np.broadcast_shapes(*(np.shape(value) for value in levels.values())) or (1,)
        size, blocks = int(np.prod(shape)), []
        for c in self.components:
            own = c.own_levels(levels)
            if own is None:
                blocks.append(np.zeros((size, len(c.form.coefficients))))
                continue
            full = {k: np.broadcast_to(v, shape) for k, v in own.items()}
            block = c.form.gradient(full) if full else np.ones((size, len(c.form.coefficients)))
            blocks.append(c.times * block * np.broadcast_to(c.present(levels), shape).reshape(-1, 1))
        return np.hstack(blocks)

    def with_coefficients(self, coefficients: Array) -> Sum:
        """The same components with other coefficients."""
        ends = np.cumsum([len(c.form.coefficients) for c in self.components])[:-1]
        parts = np.split(np.asarray(coefficients), ends)
        pairs = zip(self.components, parts, strict=True)
        return Sum(tuple(replace(c, form=c.form.with_coefficients(p)) for c, p in pairs))

    def words(self, unit: Unit) -> str:
        """`32 x attention [...] + dense [...]`."""
        return " + ".join(f"{_times(c)}{c.label}[{c.form.words(unit)}]" for c in self.components)

    def latex(self, unit: Unit) -> str:
        """The sum in LaTeX."""
        return " + ".join(f"{_times_latex(c)}\\left({c.form.latex(unit)}\\right)" for c in self.components)

    def to_json(self) -> dict[str, Any]:
        """One object a component in `terms`, its coefficients in `coefficients`."""
        written = [c.form.to_json() for c in self.components]
        terms = [
            {
                "label": c.label,
                "form": w["form"],
                "terms": w["terms"],
                "times": c.times,
                "inputs": {name: list(sources) for name, sources in c.inputs.items()},
                "when": list(c.when),
            }
            for c, w in zip(self.components, written, strict=True)
        ]
        return {"form": self.name, "terms": terms, "coefficients": [w["coefficients"] for w in written]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], place: str) -> Sum:
        """Read the components; raises InputError naming the place of a fault."""
        terms = listed_in(data["terms"], place, "terms")
        coefficients = listed_in(data["coefficients"], place, "coefficients")
        if len(terms) != len(coefficients):
            raise InputError(
                f"{place}, coefficients", f"has {len(coefficients)} entries for {len(terms)} components"
            )
        pairs = zip(terms, coefficients, strict=True)
        return cls(tuple(_component(t, c, f"{place}, terms[{k}]") for k, (t, c) in enumerate(pairs)))


def _component(entry: Any, coefficients: Any, place: str) -> Component:
    from qmodel.service.form_registry import form_from_json

    known = {"label", "form", "terms", "times", "inputs", "when"}
    if not isinstance(entry, dict) or not {"label", "form", "terms"} <= entry.keys() or entry.keys() - known:
        raise InputError(place, "is no component of a sum", "fit the model again")
    if entry["form"] == "sum":
        raise InputError(place, "is itself a sum", "add its components instead")
    inputs = entry.get("inputs", {})
    if not isinstance(inputs, dict):
        raise InputError(f"{place}, inputs", "is not a JSON object")
    return Component(
        label=str(entry["label"]),
        form=form_from_json({**entry, "coefficients": coefficients}, place),
        times=finite(entry.get("times", 1.0), f"{place}, times"),
        inputs={str(name): _names(sources, f"{place}, inputs.{name}") for name, sources in inputs.items()},
        when=_names(entry.get("when", []), f"{place}, when"),
    )


def _names(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
        raise InputError(place, "is not a list of factor names")
    return tuple(value)


def _input(levels: Levels, names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    return np.asarray(levels[names[0]]) if len(names) == 1 else _total(levels, names)


def _total(levels: Levels, names: tuple[str, ...]) -> Array:
    total: Any = 0.0
    for name in names:
        total = total + np.asarray(levels[name], float)
    return np.asarray(total, dtype=float)


def _times(c: Component) -> str:
    return "" if c.times == 1.0 else f"{c.times:g} x "


def _times_latex(c: Component) -> str:
    return "" if c.times == 1.0 else rf"{c.times:g} \cdot "
