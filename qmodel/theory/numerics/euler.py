"""One value of a law from its transform: the Bromwich integral by the trapezoidal rule with Euler's summation.

P(T <= t) = 1/(2 pi i) int exp(st) f(s)/s ds along Re(s) = A/(2t), at the points (A/2 + i k pi)/t. There exp(st)
alternates in sign, and Euler's average of the last partial sums converges fast where the law is smooth at t
(Abate & Whitt, *Queueing Systems* 10 (1992) 5-88).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.exponentials import exponential, powers

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAMPING = 20.0
"""A above: the aliasing error is below exp(-20) = 2e-9."""
AVERAGED = 12
TURN, STEEP = 0.6, 4.3
"""Where the taper is at 1/2, as a share of the terms, and its slope."""


def contour(t: float, terms: int) -> NDArray[np.complex128]:
    """The points of the integral for one t > 0."""
    return np.asarray((DAMPING / 2.0 + 1j * np.pi * np.arange(terms + AVERAGED)) / t)


def decays(x: NDArray[np.float64], t: float, terms: int) -> NDArray[np.complex128]:
    """exp(-s x) at the points s of `contour`, one row an x.

    >>> bool(np.allclose(decays(np.array([0.7]), 2.0, 8), np.exp(-0.7 * contour(2.0, 8))))
    True
    """
    turns = powers(exponential(-1j * np.pi / t * x), terms + AVERAGED)
    turns *= np.exp(-DAMPING / 2.0 / t * x)[:, None]
    return turns


@lru_cache
def weights(terms: int) -> NDArray[np.float64]:
    """Weights w with integral = Re(g(s_k)) @ w / t, g the integrand with its factor exp(st).

    >>> t, s = 2.0, contour(2.0, 24)
    >>> round(float((np.exp(s * t) / s / (1 + s)).real @ weights(24) / t), 7) == round(1 - math.exp(-2.0), 7)
    True
    """
    binomial = np.array([math.comb(AVERAGED, k) for k in range(AVERAGED + 1)]) / 2.0**AVERAGED
    tail = np.cumsum(binomial[::-1])[::-1]
    found = np.concatenate((np.ones(terms - 1), tail))
    found[0] = 0.5
    return found


@lru_cache
def tapered(terms: int) -> NDArray[np.float64]:
    """As `weights`, for an integrand that turns by any angle from term to term, and not by pi.

    So it does along a contour of theta, where the angle of s(theta) t is 1 - rho of that of theta t while theta is
    small.

    >>> t, s = 2.0, contour(2.0, 48)
    >>> round(float((np.exp(s * t) / s / (1 + s)).real @ tapered(48) / t), 7) == round(1 - math.exp(-2.0), 7)
    True
    """
    found = taper(terms + AVERAGED, TURN, STEEP)
    found[0] *= 0.5
    return found


def taper(terms: int, turn: float, steep: float) -> NDArray[np.float64]:
    """1 over the first terms, then down to 0 as the tail of a normal law: what happens far from t is not felt."""
    x = (np.arange(terms) / terms - turn) / (1.0 - turn)
    return np.array([0.5 * math.erfc(steep * u) for u in x])
