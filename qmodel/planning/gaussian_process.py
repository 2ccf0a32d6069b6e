"""A small Gaussian process with Matern-5/2 covariance: what is known of a function from a few values.

    k(x, y) = (1 + r + r^2 / 3) exp(-r),  r = sqrt(5) |x - y| / l

on standardised values, the length l and the noise chosen by marginal likelihood from a few.

Source: Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), algorithm 2.1 and section 4.2.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTHS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 2.0)
NOISES = (1e-6, 1e-3, 3e-2)
"""Lengths on the unit cube, and variances of noise relative to that of the values, that are tried."""


def matern(one: Floats, other: Floats, length: float) -> Floats:
    """Covariance of the values at two sets of points, one a row."""
    distance = np.sqrt(np.maximum(0.0, ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=-1)))
    r = math.sqrt(5.0) * distance / length
    covariance: Floats = (1.0 + r + r**2 / 3.0) * np.exp(-r)
    return covariance


@dataclass(frozen=True)
class GaussianProcess:
    """Conditioned on values at points of the unit cube; `mean` and `scale` undo the standardisation."""

    points: Floats
    lower: Floats
    weights: Floats
    length: float
    mean: float
    scale: float
    least: float

    @classmethod
    def fitted(cls, points: Floats, values: Floats) -> GaussianProcess:
        """The process with the likeliest length and noise."""
        mean, scale = float(values.mean()), float(values.std()) or 1.0
        standard = (values - mean) / scale
        fits = (_fit(points, standard, length, noise) for length, noise in itertools.product(LENGTHS, NOISES))
        _, lower, weights, length = max(fits, key=lambda fit: fit[0])
        return cls(points, lower, weights, length, mean, scale, float(values.min()))

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation at points.

        >>> process = GaussianProcess.fitted(np.array([[0.0], [1.0]]), np.array([2.0, 4.0]))
        >>> mean, deviation = process.predict(np.array([[0.0]]))
        >>> round(float(mean[0]), 3), bool(deviation[0] < 0.05)
        (2.0, True)
        """
        from scipy.linalg import solve_triangular

        across = matern(points, self.points, self.length)
        mean = self.mean + self.scale * (across @ self.weights)
        left = solve_triangular(self.lower, across.T, lower=True)
        variance = np.maximum(1e-12, 1.0 - (left**2).sum(axis=0))
        return mean, self.scale * np.sqrt(variance)


def _fit(points: Floats, values: Floats, length: float, noise: float) -> tuple[float, Floats, Floats, float]:
    """Log marginal likelihood, Cholesky factor and weights."""
    from scipy.linalg import cho_solve, cholesky

    covariance = matern(points, points, length) + (noise + 1e-9) * np.eye(len(points))
    lower = cholesky(covariance, lower=True)
    weights = cho_solve((lower, True), values)
    likelihood = -0.5 * float(values @ weights) - float(np.log(np.diag(lower)).sum())
    return likelihood, lower, weights, length


def expected_improvement(process: GaussianProcess, points: Floats) -> Floats:
    """Mean of how far the value at each point falls below the least one known: s (z Phi(z) + phi(z))."""
    from scipy.stats import norm

    mean, deviation = process.predict(points)
    z = (process.least - mean) / deviation
    gain: Floats = deviation * (z * norm.cdf(z) + norm.pdf(z))
    return gain
