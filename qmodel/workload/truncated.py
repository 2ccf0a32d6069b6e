"""The law of S given that it lies between two bounds: what is left of a law once something is known of the size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.distribution import Distribution
from qmodel.workload.partial import partial_moment
from qmodel.workload.quadrature import lst_by_quadrature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Truncated(Distribution):
    """S given low < S <= high, for 0 <= low < high; `high` may be infinite.

    >>> from qmodel.workload import Uniform
    >>> Truncated(Uniform(0.0, 4.0), 1.0, 3.0).mean
    2.0
    """

    law: Distribution
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self._kept > 0:
            raise InputError("truncated", f"no mass in ({self.low:g}, {self.high:g}]", "widen the bounds")

    @cached_property
    def _kept(self) -> float:
        if float(self.law.cdf(self.low)) > 0.5:
            return float(self.law.sf(self.low)) - self._beyond
        return (
            float(self.law.cdf(self.high)) - float(self.law.cdf(self.low))
            if self.high < math.inf
            else float(self.law.sf(self.low))
        )

    @cached_property
    def _beyond(self) -> float:
        return float(self.law.sf(self.high)) if self.high < math.inf else 0.0

    def _clipped(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.clip(np.asarray(x, dtype=float), self.low, self.high)

    def moment(self, k: int) -> float:
        whole = self.law.moment(k) if math.isinf(self.high) else float(partial_moment(self.law, k, self.high))
        return (whole - float(partial_moment(self.law, k, self.low))) / self._kept

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        part = (self.law.cdf(self._clipped(x)) - self.law.cdf(self.low)) / self._kept
        return np.where(np.asarray(x) >= self.high, 1.0, np.clip(part, 0.0, 1.0))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        part = (self.law.sf(self._clipped(x)) - self._beyond) / self._kept
        return np.where(np.asarray(x) < self.low, 1.0, np.clip(part, 0.0, 1.0))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where((x > self.low) & (x <= self.high), self.law.pdf(x) / self._kept, 0.0)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        found = self.law.quantile(float(self.law.cdf(self.low)) + np.asarray(p, dtype=float) * self._kept)
        return np.clip(found, max(self.low, self.law.support()[0]), self.high)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        found = self.law.upper_quantile(self._beyond + np.asarray(tail, dtype=float) * self._kept)
        return np.clip(found, self.low, self.high)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return lst_by_quadrature(self, s)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.upper_quantile(rng.random(size))

    def atoms(self) -> list[tuple[float, float]]:
        return [(value, p / self._kept) for value, p in self.law.atoms() if self.low < value <= self.high]

    def support(self) -> tuple[float, float]:
        low, high = self.law.support()
        return max(low, self.low), min(high, self.high)


@partial_moment.register(Truncated)
def _(law: Truncated, k: int, x: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(x, dtype=float)
    below = float(partial_moment(law.law, k, law.low))
    inside = partial_moment(law.law, k, np.clip(x, law.low, law.high)) - below
    return np.where(x >= law.high, law.moment(k) * law._kept if k else law._kept, inside) / law._kept
