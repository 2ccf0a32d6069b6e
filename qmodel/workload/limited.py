"""A law cut off at a largest value: output lengths under a token limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.distribution import Distribution, positive
from qmodel.workload.partial import limited_moment
from qmodel.workload.quadrature import lst_by_quadrature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Limited(Distribution):
    """The law of min(S, most), most > 0.

    >>> from qmodel.workload import Exponential
    >>> round(Limited(Exponential(mean=1.0), 2.0).mean, 9) == round(1 - math.exp(-2), 9)
    True
    """

    law: Distribution
    most: float

    def __post_init__(self) -> None:
        positive("limited", most=self.most)

    def moment(self, k: int) -> float:
        return float(limited_moment(self.law, k, self.most))

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x >= self.most, 1.0, self.law.cdf(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x >= self.most, 0.0, self.law.sf(x))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x >= self.most, 0.0, self.law.pdf(x))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        return np.minimum(self.law.quantile(p), self.most)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        return np.minimum(self.law.upper_quantile(tail), self.most)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        """Sum over the point masses of a discrete law; else by quadrature, to 3e-4 (the limit is a jump)."""
        atoms = self.atoms()
        if not math.isclose(math.fsum(p for _, p in atoms), 1.0, rel_tol=1e-9):
            return lst_by_quadrature(self, s)
        values, masses = (np.array(column) for column in zip(*atoms, strict=True))
        return np.exp(-np.multiply.outer(np.asarray(s, dtype=complex), values)) @ masses

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return np.minimum(self.law.sample(rng, size), self.most)

    def atoms(self) -> list[tuple[float, float]]:
        below = [(value, p) for value, p in self.law.atoms() if value < self.most]
        # the mass at the limit is that of S >= most: what lies above, and a point mass there
        at = float(self.law.sf(self.most)) + math.fsum(p for value, p in self.law.atoms() if value == self.most)
        return [*below, (self.most, at)] if at > 0 else below

    def support(self) -> tuple[float, float]:
        low, high = self.law.support()
        return min(low, self.most), min(high, self.most)
