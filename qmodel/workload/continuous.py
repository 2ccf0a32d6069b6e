"""The light-tailed continuous laws of the scenario grammar, named as in the textbook and given by mean and scv.

Parameters are in the unit of the variable. Source of densities and moments: Johnson, Kotz, Balakrishnan,
*Continuous Univariate Distributions* (1994-95); balanced means: Whitt, *Oper. Res.* 30 (1982) 125-147.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.distribution import Distribution, positive
from qmodel.workload.quadrature import lst_by_quadrature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Continuous(Distribution):
    """A law that scipy.stats has as well: `frozen` is for use outside, nothing here needs the slow import."""

    @cached_property
    def frozen(self) -> Any:
        """The same law as a frozen scipy.stats distribution."""
        raise TypeError(f"{type(self).__name__} has no scipy.stats law")

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return lst_by_quadrature(self, s)


def _log1p(z: ArrayLike) -> NDArray[np.complex128]:
    """log(1 + z) for Re(z) >= 0, which small |z| keeps exact (numpy's loses the digits of complex z)."""
    z = np.asarray(z, dtype=complex)
    x, y = z.real, z.imag
    return 0.5 * np.log1p(x * (2.0 + x) + y * y) + 1j * np.arctan2(y, 1.0 + x)


@dataclass(frozen=True)
class Gamma(Continuous):
    """Gamma with the given mean and squared coefficient of variation; LST (1 + mean*scv*s)^(-1/scv).

    >>> Gamma(mean=2.0, scv=0.5).moment(2)
    6.0
    """

    _mean: float
    _scv: float

    def __init__(self, mean: float, scv: float) -> None:
        positive("gamma", mean=mean, scv=scv)
        object.__setattr__(self, "_mean", float(mean))
        object.__setattr__(self, "_scv", float(scv))

    @cached_property
    def frozen(self) -> Any:
        from scipy import stats

        return stats.gamma(1.0 / self._scv, scale=self._mean * self._scv)

    def moment(self, k: int) -> float:
        return self._mean**k * math.prod(1.0 + i * self._scv for i in range(k))

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return np.exp(-_log1p(np.multiply(s, self._mean * self._scv)) / self._scv)

    def _unit(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.maximum(np.asarray(x, dtype=float), 0.0) / (self._mean * self._scv)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import gammainc

        return np.asarray(gammainc(1.0 / self._scv, self._unit(x)))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import gammaincc

        return np.asarray(gammaincc(1.0 / self._scv, self._unit(x)))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import gammaln, xlogy

        u, shape = self._unit(x), 1.0 / self._scv
        with np.errstate(divide="ignore"):
            density = np.exp(xlogy(shape - 1.0, u) - u - gammaln(shape)) / (self._mean * self._scv)
        return np.where(np.asarray(x) < 0, 0.0, density)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import gammaincinv

        return np.asarray(self._mean * self._scv * gammaincinv(1.0 / self._scv, p))

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import gammainccinv

        return np.asarray(self._mean * self._scv * gammainccinv(1.0 / self._scv, tail))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.gamma(1.0 / self._scv, self._mean * self._scv, size)


class Exponential(Gamma):
    """Exponential with the given mean.

    >>> float(Exponential(mean=2.0).lst(0.5).real)
    0.5
    """

    def __init__(self, mean: float) -> None:
        positive("exponential", mean=mean)
        super().__init__(mean, 1.0)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return -np.expm1(-np.maximum(np.asarray(x, dtype=float), 0.0) / self._mean)

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.exp(-np.maximum(np.asarray(x, dtype=float), 0.0) / self._mean)

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x < 0, 0.0, self.sf(x) / self._mean)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return -self._mean * np.log1p(-np.asarray(p, dtype=float))

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return -self._mean * np.log(np.asarray(tail, dtype=float))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.exponential(self._mean, size)


class Erlang(Gamma):
    """Sum of `k` exponentials with the given total mean.

    >>> Erlang(k=4, mean=1.0).scv
    0.25
    """

    def __init__(self, k: int, mean: float) -> None:
        positive("erlang", k=k, mean=mean)
        if k != int(k):
            raise InputError("erlang, k", f"{k!r} is not a whole number of phases", "give 1, 2, 3, ...")
        super().__init__(mean, 1.0 / int(k))


@dataclass(frozen=True)
class Hyperexponential(Distribution):
    """Two exponential phases with balanced means, p1/m1' = p2/m2', of the given mean and scv >= 1.

    >>> h2 = Hyperexponential(mean=1.0, scv=4.0)
    >>> round(h2.mean, 12), round(h2.scv, 12)
    (1.0, 4.0)
    """

    _mean: float
    _scv: float

    def __init__(self, mean: float, scv: float) -> None:
        positive("hyperexponential", mean=mean, scv=scv)
        if scv < 1:
            raise InputError("hyperexponential, scv", f"{scv} is below 1", "use gamma or erlang for scv < 1")
        object.__setattr__(self, "_mean", float(mean))
        object.__setattr__(self, "_scv", float(scv))

    @cached_property
    def phases(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((p1, mean1), (p2, mean2)), the more frequent, shorter phase first."""
        root = math.sqrt((self._scv - 1.0) / (self._scv + 1.0))
        p, q = 0.5 * (1.0 + root), 1.0 / ((self._scv + 1.0) * (1.0 + root))  # q = (1 - root)/2, also for huge scv
        return (p, self._mean / (2.0 * p)), (q, self._mean / (2.0 * q))

    def moment(self, k: int) -> float:
        return math.factorial(k) * sum(p * m**k for p, m in self.phases)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        past = np.maximum(np.asarray(x, dtype=float), 0.0)
        return np.asarray(sum(-p * np.expm1(-past / m) for p, m in self.phases))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        past = np.maximum(np.asarray(x, dtype=float), 0.0)
        return np.asarray(sum(p * np.exp(-past / m) for p, m in self.phases))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x < 0, 0.0, sum(p / m * np.exp(-np.maximum(x, 0.0) / m) for p, m in self.phases))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self._where_log_sf_is(np.log1p(-np.asarray(p, dtype=float)))

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self._where_log_sf_is(np.log(np.asarray(tail, dtype=float)))

    def _where_log_sf_is(self, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """x with log P(S > x) = target: Newton from the left, monotone because log P(S > x) is convex."""
        x = -target / sum(p / m for p, m in self.phases)
        for _ in range(100):
            log_sf, hazard = self._log_sf_and_hazard(np.where(np.isfinite(x), x, 0.0))
            step = np.maximum(log_sf - target, 0.0) / hazard
            x = x + np.where(np.isfinite(x), step, 0.0)
            if (step <= 4e-16 * x).all():
                break
        return x

    def _log_sf_and_hazard(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        (p, first), (q, second) = self.phases
        a, b = math.log(p) - x / first, math.log(q) - x / second
        log_sf = np.where(x < first, np.log1p(-np.minimum(self.cdf(x), 0.9)), np.logaddexp(a, b))
        return log_sf, np.exp(a - log_sf) / first + np.exp(b - log_sf) / second

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        s = np.asarray(s, dtype=complex)
        return np.asarray(sum(p / (1.0 + m * s) for p, m in self.phases))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        (p, first), (_, second) = self.phases
        return rng.exponential(np.where(rng.random(size) < p, first, second))


@dataclass(frozen=True)
class Uniform(Continuous):
    """Uniform on [low, high].

    >>> Uniform(low=1.0, high=3.0).mean
    2.0
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 <= self.low < self.high):
            raise InputError("uniform", f"[{self.low}, {self.high}] is no interval", "give 0 <= low < high")

    @cached_property
    def frozen(self) -> Any:
        from scipy import stats

        return stats.uniform(self.low, self.high - self.low)

    def moment(self, k: int) -> float:
        return (self.high ** (k + 1) - self.low ** (k + 1)) / ((k + 1) * (self.high - self.low))

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        z = np.asarray(s, dtype=complex)
        width = z * (self.high - self.low)
        # exp(-z*low) (1 - exp(-width))/width, which large |z| cannot overflow
        ratio = np.where(width == 0, 1.0, -np.expm1(-width) / np.where(width == 0, 1.0, width))
        return np.asarray(np.exp(-z * self.low) * ratio)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.clip((np.asarray(x, dtype=float) - self.low) / (self.high - self.low), 0.0, 1.0)

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.clip((self.high - np.asarray(x, dtype=float)) / (self.high - self.low), 0.0, 1.0)

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where((x >= self.low) & (x <= self.high), 1.0 / (self.high - self.low), 0.0)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        return self.low + (self.high - self.low) * np.asarray(p, dtype=float)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        return self.high - (self.high - self.low) * np.asarray(tail, dtype=float)

    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.uniform(self.low, self.high, size)
