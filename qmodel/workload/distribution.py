"""What every size or service-time law offers, and the ways of making laws from laws.

A law here is that of a non-negative random variable S. Queueing needs of it the moments, the distribution
function, samples, its point masses and the Laplace-Stieltjes transform E[exp(-sS)], for Re(s) >= 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Reached = Callable[[NDArray[np.float64]], NDArray[np.bool_]]

ROUNDED_UP = 1.0 + 2.0**-50
"""More than what a product or a sum and its inverse lose by rounding."""


class Distribution(ABC):
    """The law of a non-negative random variable S (seconds or tokens, as its user says)."""

    @abstractmethod
    def moment(self, k: int) -> float:
        """E[S**k] for k >= 1; `math.inf` where it is infinite."""

    @abstractmethod
    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """P(S <= x), elementwise."""

    @abstractmethod
    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        """Smallest x with P(S <= x) >= p, elementwise."""

    @abstractmethod
    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        """Laplace-Stieltjes transform E[exp(-sS)] for complex s with Re(s) >= 0, elementwise."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        """`size` independent draws."""

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        """x with P(S > x) = tail, exact also where 1 - tail would round; elementwise."""
        return self.quantile(1.0 - np.asarray(tail, dtype=float))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Density of the continuous part at x, elementwise."""
        return np.zeros_like(np.asarray(x, dtype=float))

    def atoms(self) -> list[tuple[float, float]]:
        """Point masses as (value, probability), by value; empty for a continuous law."""
        return []

    def support(self) -> tuple[float, float]:
        """Smallest interval that holds all the mass."""
        return 0.0, math.inf

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        """P(S > x), elementwise."""
        return 1.0 - self.cdf(x)

    @property
    def mean(self) -> float:
        """E[S]."""
        return self.moment(1)

    @property
    def variance(self) -> float:
        """Var[S]; infinite where the second moment is."""
        second = self.moment(2)
        return math.inf if math.isinf(second) else max(second - self.moment(1) ** 2, 0.0)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation Var[S] / E[S]^2."""
        return self.variance / self.mean**2

    def scaled(self, factor: float) -> Distribution:
        """The law of factor * S."""
        return self if factor == 1.0 else Scaled(self, factor)

    def shifted(self, offset: float) -> Distribution:
        """The law of offset + S."""
        return self if offset == 0.0 else Shifted(self, offset)


@dataclass(frozen=True)
class Scaled(Distribution):
    """The law of factor * S, factor > 0.

    >>> from qmodel.workload import Exponential
    >>> Scaled(Exponential(mean=2.0), 0.5).moment(2)
    2.0
    """

    law: Distribution
    factor: float

    def __post_init__(self) -> None:
        positive("scaled", factor=self.factor)

    def moment(self, k: int) -> float:
        return self.factor**k * self.law.moment(k)

    def scaled(self, factor: float) -> Distribution:
        """The law of factor * S, as the law itself scaled once: results for laws of one kind know it still."""
        return self.law.scaled(self.factor * factor)

    def before(self, x: ArrayLike) -> NDArray[np.float64]:
        """x / factor; a point mass of the law, scaled and taken back, is not missed by a rounding error."""
        return np.asarray(x, dtype=float) / self.factor * ROUNDED_UP

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.cdf(self.before(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.sf(self.before(x))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.pdf(np.asarray(x, dtype=float) / self.factor) / self.factor

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        return self.factor * self.law.quantile(p)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        return self.factor * self.law.upper_quantile(tail)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return self.law.lst(self.factor * np.asarray(s))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.factor * self.law.sample(rng, size)

    def atoms(self) -> list[tuple[float, float]]:
        return [(self.factor * value, p) for value, p in self.law.atoms()]

    def support(self) -> tuple[float, float]:
        low, high = self.law.support()
        return self.factor * low, self.factor * high


@dataclass(frozen=True)
class Shifted(Distribution):
    """The law of offset + S, offset > 0: a fixed cost before each service.

    >>> from qmodel.workload import Exponential
    >>> Shifted(Exponential(mean=2.0), 1.0).moment(2)
    13.0
    """

    law: Distribution
    offset: float

    def __post_init__(self) -> None:
        positive("shifted", offset=self.offset)

    def moment(self, k: int) -> float:
        lower = (math.comb(k, j) * self.offset ** (k - j) * self.law.moment(j) for j in range(1, k + 1))
        return self.offset**k + sum(lower)

    def before(self, x: ArrayLike) -> NDArray[np.float64]:
        """x - offset; a point mass of the law, shifted and taken back, is not missed by a rounding error."""
        return np.asarray(x, dtype=float) * ROUNDED_UP - self.offset

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.cdf(self.before(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.sf(self.before(x))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.law.pdf(np.asarray(x, dtype=float) - self.offset)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        return self.offset + self.law.quantile(p)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        return self.offset + self.law.upper_quantile(tail)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        s = np.asarray(s, dtype=complex)
        return np.exp(-s * self.offset) * self.law.lst(s)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.offset + self.law.sample(rng, size)

    def atoms(self) -> list[tuple[float, float]]:
        return [(self.offset + value, p) for value, p in self.law.atoms()]

    def support(self) -> tuple[float, float]:
        low, high = self.law.support()
        return self.offset + low, self.offset + high


@dataclass(frozen=True)
class Mixture(Distribution):
    """With probability p_i a draw from law i: the size of a request of any class, early exits, cache hits.

    >>> from qmodel.workload import Deterministic
    >>> Mixture((0.25, 0.75), (Deterministic(1.0), Deterministic(3.0))).mean
    2.5
    """

    probabilities: tuple[float, ...]
    laws: tuple[Distribution, ...]

    def __post_init__(self) -> None:
        if len(self.probabilities) != len(self.laws) or not self.laws:
            raise InputError("mixture", "needs one probability per law", "give both the same length")
        if min(self.probabilities) < 0 or not math.isclose(math.fsum(self.probabilities), 1.0, rel_tol=1e-9):
            raise InputError("mixture", "probabilities must be >= 0 and sum to 1", "rescale them")

    def _blend(self, values: list[Any]) -> Any:
        return sum(p * value for p, value in zip(self.probabilities, values, strict=True) if p > 0)

    def moment(self, k: int) -> float:
        return float(self._blend([law.moment(k) for law in self.laws]))

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self._blend([law.cdf(x) for law in self.laws]))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self._blend([law.sf(x) for law in self.laws]))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self._blend([law.pdf(x) for law in self.laws]))

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return np.asarray(self._blend([law.lst(s) for law in self.laws]))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        p = np.asarray(p, dtype=float)
        return self._between([law.quantile(p) for law in self._possible()], lambda x: self.cdf(x) >= p)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        tail = np.asarray(tail, dtype=float)
        return self._between([law.upper_quantile(tail) for law in self._possible()], lambda x: self.sf(x) <= tail)

    def _possible(self) -> list[Distribution]:
        return [law for law, q in zip(self.laws, self.probabilities, strict=True) if q > 0]

    def _between(self, ends: list[NDArray[np.float64]], reached: Reached) -> NDArray[np.float64]:
        """Smallest x that has `reached` its level: bisection between the laws' quantiles; jumps to the digit."""
        low, high = np.min(ends, axis=0), np.max(ends, axis=0)
        low = np.where(np.isfinite(high), low, 0.0)
        for _ in range(1100):  # enough to halve from the largest double to the smallest
            open_ = np.isfinite(high) & (high - low > 1e-13 * high)
            if not open_.any():
                break
            middle = np.where(open_, low + 0.5 * (high - low), high)
            beyond = reached(middle)
            low, high = np.where(open_ & ~beyond, middle, low), np.where(open_ & beyond, middle, high)
        jump = self._values[np.searchsorted(self._values, low)]
        at_jump = jump < high
        return np.where(at_jump & reached(np.where(at_jump, jump, high)), jump, high)

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        """Values of the point masses in order, and infinity."""
        return np.array([*(value for value, _ in self.atoms()), math.inf])

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        counts = rng.multinomial(size, np.asarray(self.probabilities) / math.fsum(self.probabilities))
        draws = [law.sample(rng, int(n)) for law, n in zip(self.laws, counts, strict=True)]
        out = np.concatenate(draws)
        rng.shuffle(out)
        return out

    def atoms(self) -> list[tuple[float, float]]:
        masses: dict[float, float] = {}
        for q, law in zip(self.probabilities, self.laws, strict=True):
            for value, p in law.atoms():
                masses[value] = masses.get(value, 0.0) + q * p
        return sorted((value, p) for value, p in masses.items() if p > 0)

    def support(self) -> tuple[float, float]:
        ends = [law.support() for law in self._possible()]
        return min(low for low, _ in ends), max(high for _, high in ends)


SMALLEST, LARGEST = 1e-50, 1e50
"""Range of a parameter: moments up to the fifth stay inside double precision."""


def positive(law: str, **parameters: float) -> None:
    """Refuse a parameter that is not a positive number of workable size. Raises InputError naming it."""
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
            raise InputError(f"{law}, {name}", f"{value!r} is not a positive number", "give a value above 0")
        if not SMALLEST <= value <= LARGEST:
            size = "large" if value > 1 else "small"
            raise InputError(f"{law}, {name}", f"is too {size}", f"give a value in [{SMALLEST:g}, {LARGEST:g}]")
