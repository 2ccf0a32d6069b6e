"""A cost c each time a preempted request goes on: exact means for priority, PSJF, SRPT and LCFS, M/G/1.

A resumption takes c seconds before the request's own work; a newcomer that outranks the request may interrupt it,
and then it is spent anew. While outranking requests arrive at rate mu, the server's own time for a size S grows to
S exp(mu c) in the mean.

Priorities, highest first, u = Lambda E[B] and v = Lambda E[B^2] of the busy periods B that the higher ones start at
rate Lambda, q = exp(-Lambda c): an interruption D (busy period and resumption, with its repetitions) has

    E[D] = (E[B] + (1 - q) / Lambda) / q,
    q E[D^2] = E[B^2] + 2 E[B] (E[D] - E[B]) + q c^2 + E[X^2; X < c] + 2 E[X; X < c] E[D],  X ~ exp(Lambda),

a service lasts C = S + the interruptions of Poisson(Lambda S), and by the decomposition of queues with vacations

    E[T] = lambda E[C^2] / (2 (1 - lambda E[C])) + v / (2 (1 + u)) + E[C],
    u' = (u + lambda E[C]) / (1 - lambda E[C]),
    v' = (v + lambda E[C^2]) / (1 - lambda E[C])^2 + lambda E[C^2] (u + lambda E[C]) / (1 - lambda E[C])^3.

PSJF is the same with a continuum of priorities, lambda dF(x) at size x, for which both equations integrate: with
rho~(x) = lambda E[S exp(lambda F(S) c); S <= x], u = rho~ / (1 - rho~) and G = q Lambda E[D^2] - v,

    v(x) = lambda E[S^2 / q^2 + (1 - rho~)^2 S G / q; S <= x] / (1 - rho~(x))^3.

Sources of the parts: Gaver, *J. R. Statist. Soc.* B 24 (1962)
73-90 (completion times); Fuhrmann & Cooper, *Oper. Res.* 33 (1985) 1117-1129 (decomposition).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.preemption.resumption import Tries
from qmodel.theory.supply import levels, merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Means = dict[str, float]


@dataclass(frozen=True)
class Busy:
    """Busy periods of the requests that go first: rate Lambda of their arrivals, u and v of the module's text."""

    rate: float = 0.0
    first: float = 0.0
    second: float = 0.0

    def interruptions(self, cost: float) -> tuple[float, float]:
        """Lambda E[D] and Lambda E[D^2].

        >>> Busy(0.5, 1.0, 8.0).interruptions(0.0)
        (1.0, 8.0)
        """
        if self.rate == 0.0:
            return 0.0, 0.0
        failed, once, twice = spent(self.rate, cost)
        q = 1.0 - failed
        first = (self.first + failed) / q
        mean_busy = self.first / self.rate
        second = self.second + 2.0 * mean_busy * (first - self.first)
        second += self.rate * (q * cost**2 + twice) + 2.0 * once * first
        return first, second / q

    def completion(self, mean: float, square: float, cost: float) -> tuple[float, float]:
        """E[C] and E[C^2] of a service with these moments."""
        first, second = self.interruptions(cost)
        return mean * (1.0 + first), square * (1.0 + first) ** 2 + mean * second

    @property
    def wait(self) -> float:
        """Mean rest of a busy period that an arrival finds when no request of its own priority is there."""
        return 0.5 * self.second / (1.0 + self.first)

    def joined(self, rate: float, mean: float, square: float) -> Busy:
        """With a lower priority of this rate and these moments of completion; infinite if it is unstable."""
        idle = 1.0 - rate * mean
        if idle <= 0.0:
            return Busy(self.rate + rate, math.inf, math.inf)
        start = self.first + rate * mean
        second = (self.second + rate * square) / idle**2 + rate * square * start / idle**3
        return Busy(self.rate + rate, start / idle, second)


def spent(rate: float, cost: float) -> tuple[float, float, float]:
    """P(X < c), E[X; X < c] and E[X^2; X < c] for X exponential of this rate.

    >>> [round(x, 6) for x in spent(1.0, 1.0)]
    [0.632121, 0.264241, 0.160603]
    """
    from scipy.special import gammainc

    x = rate * cost
    return -math.expm1(-x), float(gammainc(2, x)) / rate, 2.0 * float(gammainc(3, x)) / rate**2


def priority_means(classes: Sequence[ServedClass], cost: float) -> tuple[Means, float]:
    """Mean response of each class under preemptive priority, and the share of time that the server is busy.

    A priority that is unstable, and those below it, have infinite means and load 1.
    """
    means: Means = {}
    busy = Busy()
    for own in levels(classes):
        rate, law = merged(own)
        mean, square = busy.completion(law.mean, law.moment(2), cost)
        stretch = mean / law.mean
        idle = 1.0 - rate * mean
        wait = 0.5 * rate * square / idle + busy.wait if idle > 0.0 else math.inf
        means |= {served.name: wait + served.size.mean * stretch for served in own}
        busy = busy.joined(rate, mean, square)
    return means, 1.0 if math.isinf(busy.first) else busy.first / (1.0 + busy.first)


def smallest_first_means(classes: Sequence[ServedClass], cost: float) -> tuple[Means, float]:
    """PSJF, for a law of sizes without point masses: 1 + u = 1 / (1 - rho~), and v by its integral."""
    rate, law = merged(classes)
    grid = SizeGrid(rate, law)
    x = grid.nodes
    before = rate * np.asarray(law.cdf(x), dtype=float)
    tries = Tries.of(before, cost)
    dense = rate * np.asarray(law.pdf(x), dtype=float)
    stretched = x / tries.succeeded
    load, at_edges = grid.panels.integrals(dense * stretched)
    if at_edges[-1] >= 1.0:
        return {served.name: math.inf for served in classes}, float(at_edges[-1])
    idle = 1.0 - load
    growth = stretched**2 + idle**2 * stretched * _interrupted(tries, load / idle, before, cost)
    second = grid.panels.integrals(dense * growth)[0] / idle**3
    times = 0.5 * second * idle + stretched / idle
    means = {}
    for served in classes:
        weights = grid.weights(served.size)
        held = weights > 0
        means[served.name] = float(weights[held] @ times[held])
    return means, float(at_edges[-1])


def _interrupted(tries: Tries, u: Floats, rates: Floats, cost: float) -> Floats:
    """q Lambda E[D^2] - v, for busy periods with Lambda E[B] = u."""
    first = (u + tries.failed) / tries.succeeded
    again = rates * (tries.succeeded * cost**2 + tries.twice) + 2.0 * tries.once * first
    return 2.0 * u * tries.per_arrival * (first - u) + again


def last_come_means(classes: Sequence[ServedClass], cost: float) -> tuple[Means, float]:
    """Preemptive LCFS: E[T] = x exp(lambda c) / (1 - lambda E[S] exp(lambda c))."""
    rate, law = merged(classes)
    stretch = math.exp(min(rate * cost, 700.0))
    load = rate * law.mean * stretch
    return {each.name: each.size.mean * stretch / (1.0 - load) for each in classes}, min(load, 1.0)
