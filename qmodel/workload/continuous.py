"""The continuous laws of the scenario grammar, named as in the textbook and given by mean and scv.

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


class _Continuous(Distribution):
    """A law whose distribution function scipy.stats has (`frozen`); subclasses give moments and transform."""

    @cached_property
    def frozen(self) -> Any:
        """The same law as a frozen scipy.stats distribution."""
        raise TypeError(f"{type(self).__name__} has no scipy.stats law")

    def moment(self, k: int) -> float:
        return float(self.frozen.moment(k))

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.frozen.cdf(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.frozen.sf(x))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.frozen.pdf(x))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.frozen.ppf(p))

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.frozen.isf(tail))

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return lst_by_quadrature(self, s)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return np.asarray(self.frozen.rvs(size=size, random_state=rng), dtype=float)


def _exp(x: float) -> float:
    return math.inf if x > 709.0 else math.exp(x)


def _log1p(z: ArrayLike) -> NDArray[np.complex128]:
    """log(1 + z) for Re(z) >= 0, which small |z| keeps exact (numpy's loses the digits of complex z)."""
    z = np.asarray(z, dtype=complex)
    x, y = z.real, z.imag
    return 0.5 * np.log1p(x * (2.0 + x) + y * y) + 1j * np.arctan2(y, 1.0 + x)


@dataclass(frozen=True)
class Gamma(_Continuous):
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
class Lognormal(_Continuous):
    """Lognormal with the given mean and squared coefficient of variation.

    >>> round(Lognormal(mean=2.0, scv=3.0).moment(2), 9)
    16.0
    """

    _mean: float
    _scv: float

    def __init__(self, mean: float, scv: float) -> None:
        positive("lognormal", mean=mean, scv=scv)
        object.__setattr__(self, "_mean", float(mean))
        object.__setattr__(self, "_scv", float(scv))

    @property
    def sigma(self) -> float:
        """Standard deviation of log S."""
        return math.sqrt(math.log1p(self._scv))

    @property
    def mu(self) -> float:
        """Mean of log S."""
        return math.log(self._mean) - 0.5 * self.sigma**2

    @cached_property
    def frozen(self) -> Any:
        from scipy import stats

        return stats.lognorm(self.sigma, scale=math.exp(self.mu))

    def moment(self, k: int) -> float:
        return self._mean**k * _exp(k * (k - 1) / 2 * math.log1p(self._scv))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.lognormal(self.mu, self.sigma, size)


@dataclass(frozen=True)
class Weibull(_Continuous):
    """Weibull with the given mean and squared coefficient of variation (shape found numerically).

    >>> round(Weibull(mean=1.0, scv=1.0).shape, 9)
    1.0
    """

    _mean: float
    _scv: float

    def __init__(self, mean: float, scv: float) -> None:
        positive("weibull", mean=mean, scv=scv)
        if not 1e-7 <= scv <= 1e20:
            raise InputError("weibull, scv", f"{scv:g} is out of reach", "give a value in [1e-7, 1e20]")
        object.__setattr__(self, "_mean", float(mean))
        object.__setattr__(self, "_scv", float(scv))

    @cached_property
    def shape(self) -> float:
        """k with Gamma(1+2/k)/Gamma(1+1/k)^2 = 1 + scv."""
        from scipy.optimize import brentq

        target = math.log1p(self._scv)

        def gap(log_k: float) -> float:
            k = math.exp(log_k)
            return math.lgamma(1 + 2 / k) - 2 * math.lgamma(1 + 1 / k) - target

        return math.exp(float(brentq(gap, math.log(0.02), math.log(1e4), xtol=1e-14)))

    @cached_property
    def scale(self) -> float:
        """Scale with E[S] = scale * Gamma(1 + 1/shape)."""
        return self._mean * math.exp(-math.lgamma(1 + 1 / self.shape))

    @cached_property
    def frozen(self) -> Any:
        from scipy import stats

        return stats.weibull_min(self.shape, scale=self.scale)

    def moment(self, k: int) -> float:
        return self._mean**k * _exp(math.lgamma(1 + k / self.shape) - k * math.lgamma(1 + 1 / self.shape))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.scale * rng.weibull(self.shape, size)


@dataclass(frozen=True)
class Uniform(_Continuous):
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

    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.uniform(self.low, self.high, size)


@dataclass(frozen=True)
class Pareto(_Continuous):
    """P(S > x) = (low/x)^alpha for x >= low, with the given mean and alpha > 1; E[S^k] infinite for k >= alpha.

    >>> Pareto(mean=1.0, alpha=1.5).scv
    inf
    """

    _mean: float
    alpha: float

    def __init__(self, mean: float, alpha: float) -> None:
        positive("pareto", mean=mean, alpha=alpha)
        if alpha <= 1:
            raise InputError("pareto, alpha", f"{alpha} leaves the mean infinite", "give alpha above 1")
        object.__setattr__(self, "_mean", float(mean))
        object.__setattr__(self, "alpha", float(alpha))

    @property
    def low(self) -> float:
        """Smallest value."""
        return self._mean * (self.alpha - 1.0) / self.alpha

    @cached_property
    def frozen(self) -> Any:
        from scipy import stats

        return stats.pareto(self.alpha, scale=self.low)

    def moment(self, k: int) -> float:
        return math.inf if k >= self.alpha else self.alpha * self.low**k / (self.alpha - k)

    def support(self) -> tuple[float, float]:
        return self.low, math.inf


@dataclass(frozen=True)
class BoundedPareto(_Continuous):
    """Pareto of index alpha cut to [low, high] (Harchol-Balter 2013, section 20.5).

    >>> round(BoundedPareto(low=1.0, high=100.0, alpha=1.0).mean, 6)
    4.651687
    """

    low: float
    high: float
    alpha: float

    def __post_init__(self) -> None:
        positive("bounded_pareto", low=self.low, high=self.high, alpha=self.alpha)
        if self.low >= self.high:
            raise InputError("bounded_pareto", f"low {self.low} is not below high {self.high}", "swap them")

    @property
    def _mass(self) -> float:
        return -math.expm1(self.alpha * math.log(self.low / self.high))

    def moment(self, k: int) -> float:
        log_ratio = math.log(self.high / self.low)
        steepness = (k - self.alpha) * log_ratio
        if steepness > 709.0:
            return math.inf
        growth = 1.0 if steepness == 0 else math.expm1(steepness) / steepness
        return self.alpha * self.low**k * log_ratio * growth / self._mass

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        inside = np.clip(np.asarray(x, dtype=float), self.low, self.high)
        return np.asarray(-np.expm1(self.alpha * np.log(self.low / inside)) / self._mass)

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        inside = np.clip(np.asarray(x, dtype=float), self.low, self.high)
        above = -np.expm1(self.alpha * np.log(inside / self.high))
        return np.asarray((self.low / inside) ** self.alpha * above / self._mass)

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        inside = (x >= self.low) & (x <= self.high)
        at = np.where(inside, x, self.low)
        return np.where(inside, self.alpha / at * (self.low / at) ** self.alpha / self._mass, 0.0)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        left = np.maximum(1.0 - np.asarray(p, dtype=float) * self._mass, (self.low / self.high) ** self.alpha)
        with np.errstate(divide="ignore"):
            return np.minimum(self.low * left ** (-1.0 / self.alpha), self.high)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        kept = (self.low / self.high) ** self.alpha
        return self.low * (kept + np.asarray(tail, dtype=float) * self._mass) ** (-1.0 / self.alpha)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.quantile(rng.random(size))

    def support(self) -> tuple[float, float]:
        return self.low, self.high
