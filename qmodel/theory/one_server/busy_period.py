"""The M/G/1 busy period and the delay cycle: the transform of a time that later arrivals may prolong.

A time X during which work arrives (Poisson, rate lambda, each bringing S) and is served at once lasts in all
a time with transform X~(theta), theta = s + lambda (1 - G(s)); the busy period has G(s) = S~(theta(s)). So
theta is the root of theta = s + lambda (1 - S~(theta)) with Re(theta) > 0. Mean E[X]/(1 - rho). Sources:
Takacs, *Introduction to the Theory of Queues* (1962); Conway, Maxwell & Miller, *Theory of Scheduling*
(1967), section 8-4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ITERATIONS = 500
STILL = 1e-15
"""Change of theta, relative to the rates, below which rounding is all that is left."""


def prolonged(s: ArrayLike, rate: float, size: Distribution | None) -> NDArray[np.complex128]:
    """theta(s): the argument at which the transform of a time becomes that of the delay cycle it starts.

    Fixed-point iteration, each two steps extrapolated by Aitken's formula, for all s at once; Re(s) > 0.

    >>> from qmodel.workload import Exponential
    >>> round(float(prolonged(0.5, 0.5, Exponential(mean=1.0)).real), 12) == round(0.5**0.5, 12)
    True
    """
    s = np.asarray(s, dtype=complex)
    if rate == 0 or size is None:
        return s
    theta = s.reshape(-1).copy()
    open_points = np.arange(theta.size)
    flat = s.reshape(-1)
    for _ in range(ITERATIONS):
        here = flat[open_points]
        old = theta[open_points]
        once = here + rate * (1.0 - size.lst(old))
        twice = here + rate * (1.0 - size.lst(once))
        new = _aitken(old, once, twice)
        theta[open_points] = np.where(np.abs(new - here - rate) <= rate * (1 + 1e-9), new, twice)
        open_points = open_points[np.abs(twice - once) > STILL * (rate + np.abs(twice))]
        if not open_points.size:
            break
    return theta.reshape(s.shape)


def _aitken(
    x0: NDArray[np.complex128], x1: NDArray[np.complex128], x2: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Limit of a geometric sequence from three of its members; x2 where they have met."""
    bend = x2 - 2.0 * x1 + x0
    flat = np.abs(bend) <= 1e-30 + 1e-15 * np.abs(x2)
    return np.asarray(np.where(flat, x2, x2 - (x2 - x1) ** 2 / np.where(flat, 1.0, bend)))


def busy_period_moments(rate: float, size: Distribution) -> tuple[float, float]:
    """First two moments of the busy period: E[S]/(1-rho) and E[S^2]/(1-rho)^3.

    >>> from qmodel.workload import Exponential
    >>> busy_period_moments(0.5, Exponential(mean=1.0))
    (2.0, 16.0)
    """
    idle = 1.0 - rate * size.mean
    return size.mean / idle, size.moment(2) / idle**3
