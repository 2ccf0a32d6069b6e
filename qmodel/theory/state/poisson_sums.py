"""Expectations of powers of an operator over a Poisson number of events in a random time: only terms that count.

Over a time X the number A of events at rate lambda has P(A = n) from the transform of X on a circle. Where those
probabilities go with powers of a matrix B that vanish, sum_n P(A = n) B^n needs no more of them than B has powers:
heavy tails of X cost nothing. With M points on the circle of radius r, aliasing is below r^M P(A >= M).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

NEGLIGIBLE = 1e-15
FEWEST, MOST = 32, 4096
"""Terms of a sum."""


def vanishing(matrix: Matrix) -> int:
    """The first of 32, 64, ... powers that is negligible, at most 4096.

    >>> vanishing(np.array([[0.5]]))
    64
    """
    power, n = np.linalg.matrix_power(matrix, FEWEST), FEWEST
    while n < MOST and np.abs(power).sum(axis=1).max() > NEGLIGIBLE:
        power, n = power @ power, 2 * n
    return n


def circle(law: Distribution, rate: float, radius: float, points: int) -> NDArray[np.complex128]:
    """E[z^A] at `points` points of the upper half circle and its ends."""
    z = radius * np.exp(1j * np.pi * np.arange(points) / (points - 1))
    return np.asarray(law.lst(rate * (1.0 - z)))


def expected_power(matrix: Matrix, law: Distribution, rate: float) -> Matrix:
    """E[B^A], A the events in the time, for a matrix with powers that vanish.

    >>> from qmodel.workload import Exponential
    >>> float(expected_power(np.array([[0.5]]), Exponential(1.0), 1.0)[0, 0].round(12))  # 1 / (1 + 1 - 0.5)
    0.666666666667
    """
    counts = _counts(law, rate, vanishing(matrix))
    out = np.zeros_like(matrix)
    for p in counts[::-1]:
        out = matrix @ out
        out.flat[:: len(matrix) + 1] += p
    return out


def _counts(law: Distribution, rate: float, most: int) -> NDArray[np.float64]:
    """P(A = n), n < `most`: right to 1e-15 at n = 0, to 3e-8 at the last, as suits powers that vanish there.

    Powers that do not vanish by `MOST` ask for all of them to be right, up to where they are negligible.
    """
    if most == MOST:
        for upto in (64, 256, 1024, MOST):
            found = count_probabilities(law.lst, rate, upto - 1)
            if 1.0 - found.sum() < NEGLIGIBLE * upto:
                break
        return np.pad(found, (0, most - upto))
    radius = NEGLIGIBLE ** (0.5 / most)
    found = np.fft.irfft(circle(law, rate, radius, most + 1).conj(), 2 * most)[:most]
    return np.clip(found * radius ** -np.arange(float(most)), 0.0, 1.0)


def joint_counts(law: Distribution, high: float, low: float, lows: int, most: int) -> Matrix:
    """P(i events at rate `high`, j at rate `low`), i < `most`, j = 0..lows, as [i, j].

    >>> from qmodel.workload import Exponential
    >>> float(joint_counts(Exponential(1.0), 1.0, 1.0, 2, 32)[1, 1].round(12))  # 2 (1/3)^3
    0.074074074074
    """
    from scipy.special import gammaln

    totals = np.zeros(most + lows)
    totals[:most] = _counts(law, high + low, most)
    i, j = np.arange(most)[:, None], np.arange(lows + 1)
    chosen = gammaln(i + j + 1) - gammaln(i + 1) - gammaln(j + 1)
    share = np.log(high / (high + low)), np.log(low / (high + low))
    return np.asarray(totals[i + j] * np.exp(chosen + i * share[0] + j * share[1]))
