"""What requests ask of a batching engine: rates, and laws of input and output tokens carried by weighted points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BODY, TAIL, DEEPEST = 60, 60, 1e-7


@dataclass(frozen=True)
class Points:
    """A law of tokens as values with weights; the first moment is the law's own."""

    values: Floats
    weights: Floats

    @classmethod
    def of(cls, law: Distribution) -> Points:
        """Quantiles in the middle of cells of probability that narrow towards the upper tail.

        >>> from qmodel.workload import Deterministic
        >>> Points.of(Deterministic(5)).values.tolist()
        [5.0]
        """
        if law.scv == 0:
            return cls(np.array([law.mean]), np.ones(1))
        above = np.concatenate((np.linspace(1.0, 0.02, BODY, endpoint=False), np.geomspace(0.02, DEEPEST, TAIL)))
        values = law.upper_quantile((above[1:] + above[:-1]) / 2)
        weights = -np.diff(above)
        weights = weights / weights.sum()
        return cls(np.asarray(values * (law.mean / float(weights @ values))), weights)

    @classmethod
    def blend(cls, shares: Sequence[float], parts: Sequence[Points]) -> Points:
        """The points of a mixture."""
        weights = [share * part.weights for share, part in zip(shares, parts, strict=True)]
        return cls(np.concatenate([part.values for part in parts]), np.concatenate(weights))

    def moment(self, order: int) -> float:
        """E[X^order] over the points."""
        return float(self.weights @ self.values**order)

    def quantile(self, level: float) -> float:
        """The least of the values that so much of the weight is at or below.

        >>> Points(np.array([9.0, 5.0, 7.0]), np.array([0.25, 0.5, 0.25])).quantile(0.6)
        7.0
        """
        order = np.argsort(self.values)
        place = int(np.searchsorted(np.cumsum(self.weights[order]), level))
        return float(self.values[order][min(place, order.size - 1)])

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return self.moment(2) / self.moment(1) ** 2 - 1.0


@dataclass(frozen=True)
class TokenClass:
    """Requests of one class: their share, inputs, the part of them to prefill, and outputs; lengths independent."""

    share: float
    inputs: Points
    prefills: Points
    outputs: Points


@dataclass(frozen=True)
class Demand:
    """Requests of all classes together, `rate` per second; a class with long inputs may have long outputs too."""

    rate: float
    classes: tuple[TokenClass, ...]

    def _blend(self, name: str) -> Points:
        return Points.blend([c.share for c in self.classes], [getattr(c, name) for c in self.classes])

    @cached_property
    def prefills(self) -> Points:
        """Prompt tokens to compute of a request of any class."""
        return self._blend("prefills")

    @cached_property
    def outputs(self) -> Points:
        """Output tokens of a request of any class."""
        return self._blend("outputs")

    def by_output(self, value: Callable[[TokenClass], float]) -> Floats:
        """A number of each class, repeated for the points of its outputs, in the order of `outputs`."""
        return np.concatenate([np.full(c.outputs.values.size, value(c)) for c in self.classes])

    @cached_property
    def context(self) -> float:
        """Mean tokens in the cache of a running request, over iterations: (E[I L] + (E[L^2] + E[L]) / 2) / E[L]."""
        lengths = self.outputs.values
        held = self.by_output(lambda c: c.inputs.moment(1)) * lengths + (lengths**2 + lengths) / 2.0
        return float(self.outputs.weights @ held) / self.outputs.moment(1)

    @cached_property
    def context_seen(self) -> float:
        """Context tokens that a request's decoding iterations look at in all: E[(L-1) I + L (L-1) / 2]."""
        lengths = self.outputs.values
        inputs = self.by_output(lambda c: c.inputs.moment(1))
        return float(self.outputs.weights @ ((lengths - 1.0) * (inputs + lengths / 2.0)))

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens to compute a second."""
        return self.rate * self.prefills.moment(1)


def together(rates: Sequence[float], demands: Sequence[tuple[Points, Points, Points]]) -> Demand:
    """The demand of classes with these rates and points of (inputs, prefills, outputs)."""
    rate = math.fsum(rates)
    classes = (TokenClass(own / rate, *parts) for own, parts in zip(rates, demands, strict=True))
    return Demand(rate, tuple(classes))
