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

PSJF is the same with a continuum of priorities. Sources of the parts: Gaver, *J. R. Statist. Soc.* B 24 (1962)
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
    """PSJF, for a law of sizes without point masses: u' = r E[C] (1 + u), v' = r (E[C^2] (1 + u) + 2 v E[C])."""
    rate, law = merged(classes)
    grid = SizeGrid(rate, law)
    stretched = grid.sizes * np.exp(np.minimum(rate * cost * np.asarray(law.cdf(grid.sizes)), 700.0))
    load = rate * float(grid.weights(law) @ stretched)
    if load >= 1.0:
        return {served.name: math.inf for served in classes}, load
    x = np.concatenate(([0.0], grid.nodes))
    middle = 0.5 * (x[1:] + x[:-1])
    density = [rate * np.asarray(law.pdf(ages), dtype=float) for ages in (np.maximum(x, 1e-300), middle)]
    below = [rate * np.asarray(law.cdf(ages), dtype=float) for ages in (x, middle)]
    density[0][0] = density[0][0] if np.isfinite(density[0][0]) else density[0][1]
    state = np.zeros(2)
    times = np.empty(len(grid.nodes))
    for i in range(len(grid.nodes)):
        first, last = ((x[j], density[0][j], below[0][j]) for j in (i, i + 1))
        state = _step(state, x[i + 1] - x[i], (first, (middle[i], density[1][i], below[1][i]), last), cost)
        busy = Busy(below[0][i + 1], state[0], state[1])
        times[i] = busy.wait + busy.completion(x[i + 1], 0.0, cost)[0]
    means = {}
    for served in classes:
        weights = grid.weights(served.size)
        held = weights > 0
        means[served.name] = float(weights[held] @ times[held])
    return means, load


Place = tuple[float, float, float]


def _step(state: Floats, width: float, places: tuple[Place, ...], cost: float) -> Floats:
    """One step of Runge and Kutta from the first place over the second to the third."""
    start, middle, end = places
    k1 = _growth(state, start, cost)
    k2 = _growth(state + 0.5 * width * k1, middle, cost)
    k3 = _growth(state + 0.5 * width * k2, middle, cost)
    k4 = _growth(state + width * k3, end, cost)
    return state + width / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def _growth(state: Floats, place: Place, cost: float) -> Floats:
    size, density, below = place
    u, v = float(state[0]), float(state[1])
    mean, square = Busy(below, u, v).completion(size, size**2, cost)
    return density * np.array([mean * (1.0 + u), square * (1.0 + u) + 2.0 * v * mean])


def last_come_means(classes: Sequence[ServedClass], cost: float) -> tuple[Means, float]:
    """Preemptive LCFS: E[T] = x exp(lambda c) / (1 - lambda E[S] exp(lambda c))."""
    rate, law = merged(classes)
    stretch = math.exp(min(rate * cost, 700.0))
    load = rate * law.mean * stretch
    return {each.name: each.size.mean * stretch / (1.0 - load) for each in classes}, min(load, 1.0)
