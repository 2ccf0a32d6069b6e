"""Laws with point masses: constants, tables, data, and token counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.columns import number_column
from qmodel.workload.distribution import LARGEST, SMALLEST, Distribution, positive
from qmodel.workload.exponential_sum import exponential_sum

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


FEW_ATOMS = 32
"""Fewer point masses, or points of a transform, need no care for time and memory."""


@dataclass(frozen=True)
class Discrete(Distribution):
    """Finitely many values with their probabilities.

    >>> Discrete((1.0, 3.0), (0.5, 0.5)).scv
    0.25
    """

    values: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        values, p = np.asarray(self.values, dtype=float), np.asarray(self.probabilities, dtype=float)
        if values.shape != p.shape or values.ndim != 1 or not values.size:
            raise InputError("discrete", "needs one probability per value", "give both the same length")
        if not (values.min() >= 0 and SMALLEST <= values.max() <= LARGEST):
            raise InputError("discrete, values", "must be finite, >= 0 and not all 0", "correct them")
        if not np.isfinite(p).all() or p.min() < 0 or not math.isclose(p.sum(), 1.0, rel_tol=1e-9):
            raise InputError("discrete, probabilities", "must be >= 0 and sum to 1", "rescale them")

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        order = np.argsort(self.values, kind="stable")
        p = np.asarray(self.probabilities, dtype=float)[order]
        return np.asarray(self.values, dtype=float)[order], p / p.sum()

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        return np.concatenate(([0.0], np.minimum(np.cumsum(self._sorted[1]), 1.0)))

    def moment(self, k: int) -> float:
        values, p = self._sorted
        return float(values**k @ p)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self._cumulative[np.searchsorted(self._sorted[0], x, side="right")]

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        values, _ = self._sorted
        at = np.searchsorted(self._cumulative[1:], np.asarray(p, dtype=float) * (1 - 1e-15), side="left")
        return values[np.minimum(at, len(values) - 1)]

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        values, p = self._sorted
        s = np.asarray(s, dtype=complex)
        if len(values) < FEW_ATOMS or s.size < FEW_ATOMS:
            return np.exp(-np.multiply.outer(s, values)) @ p
        return exponential_sum(s.reshape(-1), values, p).reshape(s.shape)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        values, p = self._sorted
        return rng.choice(values, size=size, p=p)

    def atoms(self) -> list[tuple[float, float]]:
        masses: dict[float, float] = {}
        for value, p in zip(*self._sorted, strict=True):
            masses[float(value)] = masses.get(float(value), 0.0) + float(p)
        return [(value, p) for value, p in masses.items() if p > 0]

    def support(self) -> tuple[float, float]:
        values, _ = self._sorted
        return float(values[0]), float(values[-1])


class Deterministic(Discrete):
    """Always the same value.

    >>> Deterministic(2.0).moment(3)
    8.0
    """

    def __init__(self, value: float) -> None:
        positive("deterministic", value=value)
        super().__init__((float(value),), (1.0,))

    @property
    def value(self) -> float:
        """The value."""
        return self.values[0]


class Empirical(Discrete):
    """The observed values, each as likely as any other: resampling from data.

    >>> Empirical([1.0, 2.0, 2.0, 3.0]).mean
    2.0
    """

    def __init__(self, observations: ArrayLike) -> None:
        data = np.asarray(observations, dtype=float).reshape(-1)
        if not data.size:
            raise InputError("empirical", "holds no values", "give at least one observation")
        values, counts = np.unique(data, return_counts=True)
        super().__init__(tuple(values.tolist()), tuple((counts / data.size).tolist()))

    @classmethod
    def from_csv(cls, path: Path, column: str) -> Empirical:
        """One column of a CSV file with a header. Raises InputError naming file, line and fault."""
        observations = number_column(path, [column])
        try:
            return cls(observations)
        except InputError as error:
            raise InputError(f"{path}, column {column}", error.fault, error.remedy) from error


MAX_ATOMS = 100_000
"""Most point masses that a law lists one by one."""


@dataclass(frozen=True)
class Geometric(Distribution):
    """Whole numbers 1, 2, 3, ... with the given mean: P(S > n) = (1 - 1/mean)^n; output lengths of chats.

    >>> Geometric(mean=4.0).scv
    0.75
    """

    _mean: float

    def __init__(self, mean: float) -> None:
        positive("geometric", mean=mean)
        if mean < 1:
            raise InputError("geometric, mean", f"{mean} is below 1", "give a mean of at least 1")
        object.__setattr__(self, "_mean", float(mean))

    @property
    def _stop(self) -> float:
        return 1.0 / self._mean

    def moment(self, k: int) -> float:
        p, q = self._stop, 1.0 - self._stop
        # E[S^k] from the Stirling numbers: sum_j S2(k, j) j! q^(j-1) / p^j
        return sum(_stirling(k, j) * math.factorial(j) * q ** (j - 1) / p**j for j in range(1, k + 1))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.exp(self._log_survival(x))

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return -np.expm1(self._log_survival(x))

    def _log_survival(self, x: ArrayLike) -> NDArray[np.float64]:
        whole = np.maximum(np.floor(np.asarray(x, dtype=float)), 0.0)
        if self._mean == 1.0:
            return np.where(whole >= 1.0, -math.inf, 0.0)
        return whole * math.log1p(-self._stop)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        if self._mean == 1.0:
            return np.ones_like(np.asarray(p, dtype=float))
        raw = np.log1p(-np.asarray(p, dtype=float)) / math.log1p(-self._stop)
        return np.maximum(np.ceil(raw * (1 - 1e-15)), 1.0)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        s = np.asarray(s, dtype=complex)
        return self._stop * np.exp(-s) / (self._stop - (1.0 - self._stop) * np.expm1(-s))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        if self._mean == 1.0:
            return np.ones(size)
        return np.maximum(np.ceil(rng.standard_exponential(size) / -math.log1p(-self._stop)), 1.0)

    def atoms(self) -> list[tuple[float, float]]:
        """Values up to the 1 - 1e-12 quantile; beyond MAX_ATOMS neighbours are lumped at their common mean."""
        top = float(self.quantile(1.0 - 1e-12))
        width = float(math.ceil(top / MAX_ATOMS))
        before = width * np.arange(math.ceil(top / width))
        mass = self.sf(before) * self.cdf(width)
        values = before + self._mean_up_to(width)
        return list(zip(values.tolist(), mass.tolist(), strict=True))

    def _mean_up_to(self, width: float) -> float:
        """E[S | S <= width]."""
        return 1.0 if width == 1.0 else self._mean - width * float(self.sf(width) / self.cdf(width))

    def support(self) -> tuple[float, float]:
        return 1.0, 1.0 if self._mean == 1.0 else math.inf


def _stirling(n: int, k: int) -> int:
    """Stirling numbers of the second kind."""
    if n == k:
        return 1
    return 0 if k in (0, n + 1) or k > n else k * _stirling(n - 1, k) + _stirling(n - 1, k - 1)
