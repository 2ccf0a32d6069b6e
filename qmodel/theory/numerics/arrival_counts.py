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
    points = max(64, 1 << (8 * (most + 1) - 1).bit_length())
    radius = ALIAS ** (1.0 / points)
    z = radius * np.exp(2j * np.pi * np.arange(points // 2 + 1) / points)
    found = np.fft.irfft(transform(rate * (1.0 - z)).conj(), points)[: most + 1]
    return np.clip(found * radius ** -np.arange(most + 1.0), 0.0, 1.0)
