"""How many Poisson arrivals fall into a random time: P(A = j) from its transform, by Cauchy's integral.

A time X with transform X~ sees arrivals of rate lambda with generating function X~(lambda (1 - z)). Its
coefficients are sums over the circle |z| = r by the fast Fourier transform; with M points the error is below
r^M + 1e-16 r^-j. As they are real, half the circle is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.inversion import Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIAS = 1e-14


def count_probabilities(transform: Transform, rate: float, most: int) -> NDArray[np.float64]:
    """P(A = j) for j = 0..most.

    >>> from qmodel.workload import Exponential
    >>> count_probabilities(Exponential(mean=1.0).lst, 1.0, 2).round(12).tolist()
    [0.5, 0.25, 0.125]
    """
    points = _points(most)
    radius = ALIAS ** (1.0 / points)
    z = radius * np.exp(2j * np.pi * np.arange(points // 2 + 1) / points)
    found = np.fft.irfft(transform(rate * (1.0 - z)).conj(), points)[: most + 1]
    return np.clip(found * radius ** -np.arange(most + 1.0), 0.0, 1.0)


def _points(most: int) -> int:
    return max(64, 1 << (8 * (most + 1) - 1).bit_length())


def coefficients(generating: Transform, most: int) -> NDArray[np.complex128]:
    """Coefficients 0..most of a function analytic in the unit disc and bounded by 1 there.

    `generating` maps an array of points to an array whose last axis runs over them.
    """
    points = _points(most)
    radius = ALIAS ** (1.0 / points)
    z = radius * np.exp(2j * np.pi * np.arange(points) / points)
    transformed = np.fft.fft(generating(z), axis=-1)[..., : most + 1] / points
    return np.asarray(transformed * radius ** -np.arange(most + 1.0))
