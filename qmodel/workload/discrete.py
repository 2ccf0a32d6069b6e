"""Laws with point masses: constants, tables, data, and token counts."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.workload.distribution import Distribution, positive

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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
        if not np.isfinite(values).all() or values.min() < 0 or values.max() <= 0:
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
        return np.exp(-np.multiply.outer(np.asarray(s, dtype=complex), values)) @ p

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
        """One column of a CSV file with a header. Raises InputError naming file, row and fault."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                names = list(rows.fieldnames or [])
                if column not in names:
                    raise InputError(f"{path}, column {column}", "is missing", nearest(column, names))
                return cls([_number(path, i, column, row[column]) for i, row in enumerate(rows, start=2)])
        except OSError as error:
            raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{path}, line {line}, {column}", f"{text!r} is not a size", "give a number >= 0")
    return value


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
        return (1.0 - self._stop) ** np.maximum(np.floor(np.asarray(x, dtype=float)), 0.0)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return 1.0 - self.sf(x)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        if self._mean == 1.0:
            return np.ones_like(np.asarray(p, dtype=float))
        raw = np.log1p(-np.asarray(p, dtype=float)) / math.log1p(-self._stop)
        return np.maximum(np.ceil(raw * (1 - 1e-15)), 1.0)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        z = np.exp(-np.asarray(s, dtype=complex))
        return self._stop * z / (1.0 - (1.0 - self._stop) * z)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.geometric(self._stop, size).astype(float)

    def atoms(self) -> list[tuple[float, float]]:
        top = int(self.quantile(1.0 - 1e-12))
        return [(float(n), self._stop * (1.0 - self._stop) ** (n - 1)) for n in range(1, top + 1)]

    def support(self) -> tuple[float, float]:
        return 1.0, 1.0 if self._mean == 1.0 else math.inf


def _stirling(n: int, k: int) -> int:
    """Stirling numbers of the second kind."""
    if n == k:
        return 1
    return 0 if k in (0, n + 1) or k > n else k * _stirling(n - 1, k) + _stirling(n - 1, k - 1)
