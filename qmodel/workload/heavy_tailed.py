"""The heavy-tailed laws of the scenario grammar: lognormal, Weibull, Pareto and its bounded form.

Parameters are in the unit of the variable. Source of densities and moments: Johnson, Kotz, Balakrishnan,
*Continuous Univariate Distributions* (1994-95).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.continuous import Continuous
from qmodel.workload.contour import lognormal_lst, pareto_lst, weibull_lst
from qmodel.workload.distribution import positive
from qmodel.workload.quadrature import lst_by_quadrature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

STEEP = 12.0
"""Weibull shapes above this are nearly constant: their quantiles serve the transform better than its contour."""
NARROW = 1e-3
"""A bounded Pareto that keeps less than this of the Pareto's mass would be a small difference of large terms."""


def exp_or_inf(x: float) -> float:
    """exp(x), infinite where it overflows."""
    return math.inf if x > 709.0 else math.exp(x)


@dataclass(frozen=True)
class Lognormal(Continuous):
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

    def _normal(self, x: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return (np.log(np.maximum(np.asarray(x, dtype=float), 0.0)) - self.mu) / self.sigma

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import ndtr

        return np.asarray(ndtr(self._normal(x)))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import ndtr

        return np.asarray(ndtr(-self._normal(x)))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        z = self._normal(x)
        inside = np.asarray(x) > 0
        scale = np.where(inside, x, 1.0) * self.sigma * math.sqrt(2.0 * math.pi)
        return np.where(inside, np.exp(-0.5 * z * z) / scale, 0.0)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import ndtri

        return np.exp(self.mu + self.sigma * ndtri(p))

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        from scipy.special import ndtri

        return np.exp(self.mu - self.sigma * ndtri(tail))

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return lognormal_lst(s, self.mu, self.sigma)

    def moment(self, k: int) -> float:
        return self._mean**k * exp_or_inf(k * (k - 1) / 2 * math.log1p(self._scv))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return rng.lognormal(self.mu, self.sigma, size)


@dataclass(frozen=True)
class Weibull(Continuous):
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

    def _hazard(self, x: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # infinite where nothing is left
            return (np.maximum(np.asarray(x, dtype=float), 0.0) / self.scale) ** self.shape

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return -np.expm1(-self._hazard(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.exp(-self._hazard(x))

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        left = self.sf(x)
        inside = np.where(left > 0, np.maximum(x, 0.0), self.scale)  # powers of what is beyond overflow
        with np.errstate(divide="ignore"):
            slope = self.shape / self.scale * (inside / self.scale) ** (self.shape - 1.0)
        return np.where((x < 0) | (left == 0), 0.0, slope * left)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self.scale * (-np.log1p(-np.asarray(p, dtype=float))) ** (1.0 / self.shape)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self.scale * (-np.log(np.asarray(tail, dtype=float))) ** (1.0 / self.shape)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        if self.shape > STEEP:
            return lst_by_quadrature(self, s)
        return weibull_lst(s, self.shape, self.scale)

    def moment(self, k: int) -> float:
        return self._mean**k * exp_or_inf(math.lgamma(1 + k / self.shape) - k * math.lgamma(1 + 1 / self.shape))

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.scale * rng.weibull(self.shape, size)


@dataclass(frozen=True)
class Pareto(Continuous):
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

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        return -np.expm1(-self._log_tail(x))

    def sf(self, x: ArrayLike) -> NDArray[np.float64]:
        return np.exp(-self._log_tail(x))

    def _log_tail(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.alpha * np.log(np.maximum(np.asarray(x, dtype=float), self.low) / self.low)

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(x, dtype=float)
        return np.where(x < self.low, 0.0, self.alpha / np.maximum(x, self.low) * self.sf(x))

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self.low * np.exp(-np.log1p(-np.asarray(p, dtype=float)) / self.alpha)

    def upper_quantile(self, tail: ArrayLike) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return self.low * np.asarray(tail, dtype=float) ** (-1.0 / self.alpha)

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        return pareto_lst(s, self.low, self.alpha)

    def sample(self, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.low * (1.0 + rng.pareto(self.alpha, size))

    def moment(self, k: int) -> float:
        return math.inf if k >= self.alpha else self.alpha * self.low**k / (self.alpha - k)

    def support(self) -> tuple[float, float]:
        return self.low, math.inf


@dataclass(frozen=True)
class BoundedPareto(Continuous):
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

    def lst(self, s: ArrayLike) -> NDArray[np.complex128]:
        if self._mass < NARROW:
            return lst_by_quadrature(self, s)
        kept = 1.0 - self._mass
        return (pareto_lst(s, self.low, self.alpha) - kept * pareto_lst(s, self.high, self.alpha)) / self._mass
