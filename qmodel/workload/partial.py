"""Moments of a part of a law: E[S^k; S <= x], and E[1/S]. Size-based policies and slowdowns ask for them."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.continuous import Exponential, Gamma, Hyperexponential, Uniform
from qmodel.workload.discrete import Discrete, Geometric
from qmodel.workload.distribution import Distribution, Mixture, Scaled, Shifted
from qmodel.workload.heavy_tailed import BoundedPareto, Lognormal, Pareto, Weibull
from qmodel.workload.quadrature import nodes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FAR = 1e90
"""Third powers from here on are beyond a double."""
FORGOTTEN = 700.0
"""Of an exponential law of mean 1 nothing is left beyond."""


def limited_moment(law: Distribution, k: int, x: ArrayLike) -> NDArray[np.float64]:
    """E[min(S, x)^k], elementwise, for k >= 1.

    >>> round(float(limited_moment(Exponential(mean=1.0), 1, 2.0)), 9) == round(1 - math.exp(-2), 9)
    True
    """
    x = np.asarray(x, dtype=float)
    beyond = law.sf(x)
    left = np.where(beyond > 0, x, 0.0)
    far = left > FAR  # their powers are beyond a double where the products with what is left are not
    return (
        partial_moment(law, k, x)
        + np.where(far, 0.0, left) ** k * beyond
        + (np.where(far, left, 0.0) * beyond ** (1.0 / k)) ** k
    )


@singledispatch
def partial_moment(law: Distribution, k: int, x: ArrayLike) -> NDArray[np.float64]:
    """E[S^k; S <= x], elementwise, for k >= 0. A law without a closed form is summed over its quantiles.

    >>> round(float(partial_moment(Uniform(0.0, 2.0), 1, 1.0)), 12)
    0.25
    """
    values, weights = nodes(law)
    order = np.argsort(values, kind="stable")
    below = np.concatenate(([0.0], np.cumsum((weights * values**k)[order])))
    return np.asarray(below[np.searchsorted(values[order], x, side="right")])


@partial_moment.register(Gamma)
def _(law: Gamma, k: int, x: ArrayLike) -> NDArray[np.float64]:
    shape, scale = 1.0 / law.scv, law.mean * law.scv
    u = np.maximum(np.asarray(x, dtype=float), 0.0) / scale
    if shape == 1.0:
        return law.moment(k) * _erlang_cdf(k + 1, u)
    from scipy.special import gammainc

    return np.asarray(law.moment(k) * gammainc(shape + k, u))


def _erlang_cdf(phases: int, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(sum of `phases` unit exponentials <= u), without cancellation for small u.

    Above 1 it is 1 - e^-u (1 + u + .. + u^(phases-1) / (phases-1)!), which is several times as fast as the series.
    """
    from scipy.special import gammainc

    if phases == 1:
        return np.asarray(-np.expm1(-u))
    far, sums = np.minimum(u, FORGOTTEN), np.full_like(u, 1.0 / math.factorial(phases - 1))
    for k in range(phases - 2, -1, -1):
        sums *= far
        sums += 1.0 / math.factorial(k)
    out = np.asarray(1.0 - np.exp(-far) * sums)
    near = u < 1.0
    out[near] = gammainc(phases, u[near])
    return out


@partial_moment.register(Hyperexponential)
def _(law: Hyperexponential, k: int, x: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(sum(p * partial_moment(Exponential(mean), k, x) for p, mean in law.phases))


@partial_moment.register(Lognormal)
def _(law: Lognormal, k: int, x: ArrayLike) -> NDArray[np.float64]:
    from scipy.special import ndtr

    with np.errstate(divide="ignore"):
        z = (np.log(np.maximum(np.asarray(x, dtype=float), 0.0)) - law.mu) / law.sigma
    return np.asarray(law.moment(k) * ndtr(z - k * law.sigma))


@partial_moment.register(Weibull)
def _(law: Weibull, k: int, x: ArrayLike) -> NDArray[np.float64]:
    from scipy.special import gammainc

    with np.errstate(over="ignore"):  # infinite where nothing is left
        u = (np.maximum(np.asarray(x, dtype=float), 0.0) / law.scale) ** law.shape
    return np.asarray(law.moment(k) * gammainc(1.0 + k / law.shape, u))


@partial_moment.register(Uniform)
def _(law: Uniform, k: int, x: ArrayLike) -> NDArray[np.float64]:
    upto = np.clip(np.asarray(x, dtype=float), law.low, law.high)
    return (upto ** (k + 1) - law.low ** (k + 1)) / ((k + 1) * (law.high - law.low))


@partial_moment.register(Pareto)
def _(law: Pareto, k: int, x: ArrayLike) -> NDArray[np.float64]:
    return _power_law(law.low, np.maximum(np.asarray(x, dtype=float), law.low), law.alpha, k)


@partial_moment.register(BoundedPareto)
def _(law: BoundedPareto, k: int, x: ArrayLike) -> NDArray[np.float64]:
    upto = np.clip(np.asarray(x, dtype=float), law.low, law.high)
    whole = -math.expm1(law.alpha * math.log(law.low / law.high))
    return _power_law(law.low, upto, law.alpha, k) / whole


def _power_law(low: float, x: NDArray[np.float64], alpha: float, k: int) -> NDArray[np.float64]:
    """Integral of t^k alpha low^alpha t^(-alpha-1) from low to x, x >= low."""
    log_ratio = np.log(x / low)
    if k == alpha:
        return alpha * low**k * log_ratio
    return alpha * low**k * np.expm1((k - alpha) * log_ratio) / (k - alpha)


@partial_moment.register(Discrete)
def _(law: Discrete, k: int, x: ArrayLike) -> NDArray[np.float64]:
    return _atoms_upto(law, k, x)


@partial_moment.register(Geometric)
def _(law: Geometric, k: int, x: ArrayLike) -> NDArray[np.float64]:
    return _atoms_upto(law, k, x)


def _atoms_upto(law: Distribution, k: int, x: ArrayLike) -> NDArray[np.float64]:
    values, masses = (np.array(column) for column in zip(*law.atoms(), strict=True))
    below = np.concatenate(([0.0], np.cumsum(masses * values**k)))
    return np.asarray(below[np.searchsorted(values, x, side="right")])


@partial_moment.register(Scaled)
def _(law: Scaled, k: int, x: ArrayLike) -> NDArray[np.float64]:
    return law.factor**k * partial_moment(law.law, k, law.before(x))


@partial_moment.register(Shifted)
def _(law: Shifted, k: int, x: ArrayLike) -> NDArray[np.float64]:
    rest = law.before(x)
    parts = (math.comb(k, j) * law.offset ** (k - j) * partial_moment(law.law, j, rest) for j in range(k + 1))
    return np.asarray(np.where(rest < 0, 0.0, sum(parts)))


@partial_moment.register(Mixture)
def _(law: Mixture, k: int, x: ArrayLike) -> NDArray[np.float64]:
    parts = zip(law.probabilities, law.laws, strict=True)
    return np.asarray(sum(p * partial_moment(part, k, x) for p, part in parts if p > 0))


@singledispatch
def reciprocal_mean(law: Distribution) -> float:
    """E[1/S], infinite where there is too much mass near 0.

    >>> reciprocal_mean(Gamma(mean=2.0, scv=0.5)), reciprocal_mean(Exponential(mean=1.0))
    (1.0, inf)
    """
    values, weights = nodes(law)
    return float(weights @ (1.0 / values)) if values.min() > 0 else math.inf


@reciprocal_mean.register(Gamma)
def _(law: Gamma) -> float:
    return 1.0 / (law.mean * (1.0 - law.scv)) if law.scv < 1 else math.inf


@reciprocal_mean.register(Hyperexponential)
def _(law: Hyperexponential) -> float:
    return math.inf


@reciprocal_mean.register(Lognormal)
def _(law: Lognormal) -> float:
    return (1.0 + law.scv) / law.mean


@reciprocal_mean.register(Weibull)
def _(law: Weibull) -> float:
    return math.gamma(1.0 - 1.0 / law.shape) / law.scale if law.shape > 1 else math.inf


@reciprocal_mean.register(Uniform)
def _(law: Uniform) -> float:
    return math.log(law.high / law.low) / (law.high - law.low) if law.low > 0 else math.inf


@reciprocal_mean.register(Pareto)
def _(law: Pareto) -> float:
    return law.alpha / ((law.alpha + 1.0) * law.low)


@reciprocal_mean.register(BoundedPareto)
def _(law: BoundedPareto) -> float:
    return law.moment(-1)


@reciprocal_mean.register(Discrete)
def _(law: Discrete) -> float:
    return math.inf if law.support()[0] == 0 else math.fsum(p / value for value, p in law.atoms())


@reciprocal_mean.register(Geometric)
def _(law: Geometric) -> float:
    p = 1.0 / law.mean
    return 1.0 if p == 1 else -p * math.log(p) / (1.0 - p)


@reciprocal_mean.register(Scaled)
def _(law: Scaled) -> float:
    return reciprocal_mean(law.law) / law.factor


@reciprocal_mean.register(Mixture)
def _(law: Mixture) -> float:
    return math.fsum(p * reciprocal_mean(part) for p, part in zip(law.probabilities, law.laws, strict=True) if p)
