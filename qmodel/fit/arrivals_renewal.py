"""Arrivals with independent gaps, fitted by maximum likelihood: exponential, gamma, Weibull."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, gammaln

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHAPES = (1e-4, 1e4)
"""Shapes are looked for in this range: from one gap in thousands that is not 0, to a clock."""
TINY = 1e-9
"""Gaps below this share of the mean are taken as that: two requests in one packet have no density."""


@dataclass(frozen=True)
class GapLaw:
    """Independent gaps of mean `mean_s`: `family` exponential, gamma or weibull, of this shape."""

    family: str
    mean_s: float
    shape: float = 1.0

    @property
    def scv(self) -> float:
        """Squared coefficient of variation.

        >>> GapLaw("gamma", 1.0, 0.25).scv
        4.0
        """
        if self.family == "weibull":
            inner = gammaln(1.0 + 2.0 / self.shape) - 2.0 * gammaln(1.0 + 1.0 / self.shape)
            return math.expm1(float(inner))
        return 1.0 / self.shape

    def log_density(self, gaps: Floats) -> Floats:
        """Log density of each gap (1/s)."""
        x = floored(gaps, self.mean_s)
        k = self.shape
        if self.family == "weibull":
            scale = self.mean_s / math.exp(float(gammaln(1.0 + 1.0 / k)))
            z = np.log(x / scale)
            return np.asarray(math.log(k / scale) + (k - 1.0) * z - np.exp(k * z))
        scale = self.mean_s / k
        return np.asarray((k - 1.0) * np.log(x / scale) - x / scale - math.log(scale) - float(gammaln(k)))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """So many gaps."""
        if self.family == "weibull":
            scale = self.mean_s / math.exp(float(gammaln(1.0 + 1.0 / self.shape)))
            return scale * rng.weibull(self.shape, size)
        return rng.gamma(self.shape, self.mean_s / self.shape, size)


def floored(gaps: Floats, mean_s: float) -> Floats:
    """Gaps, none shorter than `TINY` means."""
    return np.maximum(gaps, TINY * mean_s)


def exponential_gaps(blocks: Sequence[Floats]) -> GapLaw:
    """The exponential law of the mean gap."""
    return GapLaw("exponential", float(np.concatenate(blocks).mean()))


def gamma_gaps(blocks: Sequence[Floats]) -> GapLaw:
    """Maximum likelihood: ln k - digamma(k) = ln(mean) - mean of ln."""
    gaps = np.concatenate(blocks)
    mean = float(gaps.mean())
    slack = math.log(mean) - float(np.log(floored(gaps, mean)).mean())
    return GapLaw("gamma", mean, _root(lambda k: math.log(k) - float(digamma(k)) - slack))


def weibull_gaps(blocks: Sequence[Floats]) -> GapLaw:
    """Maximum likelihood: sum x^k ln x / sum x^k - 1/k = mean of ln x; the mean gap is kept."""
    gaps = np.concatenate(blocks)
    logs = np.log(floored(gaps, float(gaps.mean())) / gaps.mean())
    if logs.size > 200_000:
        logs = logs[:: logs.size // 100_000]
    average = float(logs.mean())

    def slope(k: float) -> float:
        weights = np.exp(k * (logs - logs.max()))
        return float(weights @ logs / weights.sum()) - 1.0 / k - average

    return GapLaw("weibull", float(gaps.mean()), _root(lambda k: -slope(k)))


def _root(falls: Callable[[float], float]) -> float:
    """Where a falling function of the shape crosses 0; an end of the range where it does not."""
    low, high = SHAPES
    if falls(low) <= 0:
        return low
    if falls(high) >= 0:
        return high
    return float(math.exp(brentq(lambda u: falls(math.exp(u)), math.log(low), math.log(high), xtol=1e-10)))
