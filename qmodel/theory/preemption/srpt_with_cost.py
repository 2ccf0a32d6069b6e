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

so Q = (lambda int_0^x (m^2 + int w) dF - rho~ V) / (1 - rho~). Here w is a sum of four functions of r alone times
functions of x alone, so that every integral is of functions of one size. With c = 0 this is Schrage & Miller
(1966). Derived here; checked by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.preemption.resumption import Tries
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


@dataclass(frozen=True)
class Resumptions:
    """E[H] = alpha A + beta B and E[H^2] = alpha^2 C + alpha beta D + beta^2 (E + V E'), each column over r.

    For requests of size x: beta = 1 / (1 - rho~(x)), alpha = 1 + beta lambda E[e(S); S <= x] and
    V = lambda E[e(S)^2; S <= x].
    """

    mean: tuple[Floats, Floats]
    square: tuple[Floats, Floats, Floats, Floats]

    @classmethod
    def of(cls, mu: Floats, first: Floats, second: Floats, cost: float) -> Resumptions:
        """At rates mu(r) of arrivals, `first` and `second` lambda E[e(S)^k; S <= r] for k = 1 and 2."""
        tries = Tries.of(mu, cost)
        q, failed, spent, once, twice = tries.parts
        own, own_square = first * tries.per_arrival, second * tries.per_arrival
        try_square = q * cost**2 + twice
        a = spent / q
        b = (failed * own - first * spent) / q
        c = (try_square + 2.0 * once * a) / q
        d = 2.0 * (once * (own + b - first * a) + failed * own * a - first * try_square) / q
        e = first**2 * try_square - second * spent + failed * own_square
        e += 2.0 * (failed * own * b - once * first * (own + b))
        return cls((a, b), (c, d, e / q, a))

    def moments(self, alpha: float, beta: float, spread: float) -> tuple[Floats, Floats]:
        """E[H] and E[H^2] at each r, `spread` being V."""
        c, d, e, more = self.square
        mean = alpha * self.mean[0] + beta * self.mean[1]
        return mean, alpha**2 * c + alpha * beta * d + beta**2 * (e + spread * more)

    def growth(self, mu: Floats, first: Floats) -> Floats:
        """w(r) in four columns: what alpha^2, alpha beta, beta^2 and beta^2 V multiply."""
        (a, b), (c, d, e, more) = self.mean, self.square
        return np.stack((mu * c, 2.0 * first * a + mu * d, 2.0 * first * b + mu * e, 1.0 + mu * more), axis=-1)


def _squares(
    grid: SizeGrid, arrivals: Floats, own: Floats, load: Floats, dense: Floats, cost: float
) -> tuple[Floats, Floats]:
    """Q and E[L(x)^2] at each x of the grid."""
    first, second = (grid.panels.integrals(dense * own**k)[0] for k in (1, 2))
    idle = 1.0 - load
    beta = 1.0 / idle
    alpha, spread = 1.0 + first * beta, second * beta**2
    parts = np.stack((alpha**2, alpha * beta, beta**2, spread), axis=-1)
    grown = grid.panels.columns(Resumptions.of(arrivals, first, second, cost).growth(arrivals, first))[0]
    fixed = own**2 * beta**2 + (parts * grown).sum(axis=1)
    total = spread + (parts * grid.panels.columns(dense[:, None] * grown)[0]).sum(axis=1)
    rest = (total - load * spread) / idle
    return rest, fixed + own * (rest - spread)
