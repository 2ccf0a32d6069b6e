"""What requests ask of a batching engine: rates, and laws of input and output tokens carried by weighted points."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return self.moment(2) / self.moment(1) ** 2 - 1.0


@dataclass(frozen=True)
class Demand:
    """Requests of all classes together: `rate` per second, inputs, the part of them to prefill, outputs.

    Lengths of a request are independent of one another.
    """

    rate: float
    inputs: Points
    prefills: Points
    outputs: Points

    @cached_property
    def context(self) -> float:
        """Mean tokens in the cache of a running request: E[I] + (E[L^2] + E[L]) / (2 E[L]), by its iterations."""
        mean = self.outputs.moment(1)
        return self.inputs.moment(1) + (self.outputs.moment(2) + mean) / (2.0 * mean)

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens to compute a second."""
        return self.rate * self.prefills.moment(1)


def together(rates: Sequence[float], demands: Sequence[tuple[Points, Points, Points]]) -> Demand:
    """The demand of classes with these rates and points of (inputs, prefills, outputs)."""
    rate = math.fsum(rates)
    shares = [own / rate for own in rates]
    inputs, prefills, outputs = (Points.blend(shares, [parts[i] for parts in demands]) for i in range(3))
    return Demand(rate, inputs, prefills, outputs)
