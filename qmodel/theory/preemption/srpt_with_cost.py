"""SRPT where each resumption of a preempted request costs c seconds: exact mean for sizes without point masses.

A request of remaining size r is interrupted at rate mu(r) = lambda F(r), also while it is being resumed, so that
its own server time is e(y) = int_0^y exp(mu(r) c) dr. With rho~(x) = lambda E[e(S); S <= x],

    E[T(x)] = ((1 - rho~ - lambda P(S > x) e(x)) Q + lambda P(S > x) E[L(x)^2]) / 2
              + int_0^x exp(mu(r) c) / (1 - rho~(r)) dr.

L(y) is the time from the start of a request of remaining size y until it and all arrivals of size at most x since
are gone: E[L(y)] = m(y) = e(y) / (1 - rho~); Q = lambda E[L(S)^2; S <= x]. An arrival of size z adds L(z), and if
z < r a resumption. The arrivals' own randomness adds e(y) (Q - V), V = lambda E[m(S)^2; S <= x], to the square
E[L(y)^2]; with each L(z) replaced by m(z) what is left is m(y)^2 + int_0^y w(r) dr,

    w(r) = V + 2 E[H] lambda E[m(S); S <= r] + mu E[H^2],    H the resumption with the arrivals during it,

so Q = (lambda int_0^x (m^2 + int w) dF - rho~ V) / (1 - rho~). With c = 0 this is Schrage & Miller (1966). Derived
here; checked by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.supply import merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Means = dict[str, float]


def shortest_remaining_means(classes: Sequence[ServedClass], cost: float) -> tuple[Means, float]:
    """Mean response of each class, and the share of time that the server is busy (1 or more: unstable)."""
    rate, law = merged(classes)
    grid = SizeGrid(rate, law)
    x = grid.nodes
    arrivals = rate * np.asarray(law.cdf(x))
    stretch = np.exp(np.minimum(arrivals * cost, 700.0))
    own = grid.panels.integrals(stretch)[0]
    dense = rate * np.asarray(law.pdf(x))
    load = grid.panels.integrals(dense * own)[0]
    if load[-1] >= 1.0:
        return {served.name: np.inf for served in classes}, float(load[-1])
    larger = rate * np.asarray(law.sf(x))
    rest, here = _squares(grid, arrivals, own, load, dense, cost)
    wait = 0.5 * ((1.0 - load - larger * own) * rest + larger * here)
    times = wait + grid.panels.integrals(stretch / (1.0 - load))[0]
    means = {}
    for served in classes:
        weights = grid.weights(served.size)
        held = weights > 0
        means[served.name] = float(weights[held] @ times[held])
    return means, float(load[-1])


def _squares(
    grid: SizeGrid, arrivals: Floats, own: Floats, load: Floats, dense: Floats, cost: float
) -> tuple[Floats, Floats]:
    """Q and E[L(x)^2] at each x of the grid."""
    first, second = (grid.panels.integrals(dense * own**k)[0] for k in (1, 2))
    rest, here = np.empty_like(own), np.empty_like(own)
    for i, idle in enumerate(1.0 - load):
        m, upto, squares = own / idle, first / idle, second / idle**2
        mean, square = _resumption(arrivals, upto, squares, i, cost)
        growth = squares[i] + 2.0 * mean * upto + arrivals * square
        fixed = m**2 + grid.panels.integrals(growth)[0]
        total = grid.panels.integrals(dense * fixed)[0][i]
        rest[i] = (total - load[i] * squares[i]) / idle
        here[i] = fixed[i] + own[i] * (rest[i] - squares[i])
    return rest, here


def _resumption(mu: Floats, upto: Floats, squares: Floats, i: int, cost: float) -> tuple[Floats, Floats]:
    """E[H] and E[H^2] at each r, for arrivals up to size x_i: `upto` and `squares` are lambda E[m^k(S); S <= r]."""
    from scipy.special import gammainc

    failed = -np.expm1(-mu * cost)
    q = 1.0 - failed
    held = mu > 0
    rate = np.where(held, mu, 1.0)
    once = np.where(held, gammainc(2, mu * cost) / rate, 0.0)
    twice = np.where(held, 2.0 * gammainc(3, mu * cost) / rate**2, 0.0)
    a1, a2 = np.where(held, upto / rate, 0.0), np.where(held, squares / rate, 0.0)
    pace, noise = 1.0 + upto[i] - upto, squares[i] - squares
    spent = np.where(held, failed / rate, cost)
    mean = (pace * spent + failed * a1) / q
    square = pace**2 * (q * cost**2 + twice) + noise * spent + failed * a2
    square += 2.0 * pace * once * (a1 + mean) + 2.0 * failed * a1 * mean
    return mean, square / q
