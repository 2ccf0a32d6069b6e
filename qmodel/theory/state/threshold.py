"""FCFS with service chosen by the queue's length: the embedded chain at departures, exact.

Poisson arrivals. A service that starts with more than K in the system, itself included, is of the long-queue
law, else of the short-queue law; with hysteresis, once long it stays so until a service starts with fewer
than `below`. A change costs `swap_time_s` before the service. State at departures: (mode m of the last
service, number n left).

Beyond K all services are long, and the chain comes back to K through the state (long, K) only. So the chain
watched while n <= K is finite; above K the generating function Q(z) = sum_{n>K} pi(long, n) z^n obeys

    Q(z) (1 - a(z)/z) = R(z) - u z^K,   a(z) = S_long~(lambda (1 - z)),

where R is what the states below throw above K and u = R(1) its mass; its derivatives at 1 give mass and mean.
E[T] = E[N]/lambda; the wait is the same for all classes, the mode is read at the start of service and
independent of the request's own class: E[T_k] = E[W] + sum_m P(m) E[D_{k,m}]. Sources: chains of M/G/1 type,
Neuts, *Structured Stochastic Matrices of M/G/1 Type* (1989); service chosen by the queue's length, Federgruen
& Tijms, *J. Appl. Prob.* 17 (1980) 758-773.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.transform import QueueCondition
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.numerics.stationary import stationary_law
from qmodel.theory.state.modes import LONG, SHORT, mode_of
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray


ROUNDING = 1e-14


@dataclass(frozen=True)
class Tail:
    """Mass, mean and second factorial moment of a measure on the numbers above K."""

    mass: float
    first: float
    second: float


@dataclass(frozen=True)
class ThresholdChain:
    """Stationary law at departures.

    `boundary[m, n]`: probability of (m, n), n <= K, before normalising; `total`: of everything, in the same unit;
    `started[m]`: probability that a service is of mode m; `swapped`: that it begins with a swap; `mean_number`:
    E[N] at departures, arrivals and any time.
    """

    boundary: NDArray[np.float64]
    total: float
    started: tuple[float, float]
    swapped: float
    mean_number: float

    @property
    def idle(self) -> float:
        """Share of time that the server is idle."""
        return float(self.boundary[:, 0].sum() / self.total)


def threshold_chain(
    rate: float, short: Distribution, long: Distribution, condition: QueueCondition
) -> ThresholdChain:
    """Solve the chain; the load of the long-queue service must be below 1."""
    above = condition.above
    laws = {
        (last, mode): (short, long)[mode].shifted(condition.swap_time_s if last != mode else 0.0)
        for last in (SHORT, LONG)
        for mode in (SHORT, LONG)
    }
    counts = {key: _beyond_rounding(count_probabilities(law.lst, rate, above)) for key, law in laws.items()}
    states = [(last, n) for last in (SHORT, LONG) for n in range(above + 1)]
    modes = [mode_of(max(n, 1), last, condition) for last, n in states]
    watched = np.zeros((len(states), len(states)))
    for i, (last, n) in enumerate(states):
        base = max(n, 1) - 1
        reached = counts[last, modes[i]][: above + 1 - base]
        watched[i, modes[i] * (above + 1) + base : (modes[i] + 1) * (above + 1)] = reached
        watched[i, -1] += _rest(1.0, float(reached.sum()))
    law = stationary_law(watched)
    thrown = [Tail(0.0, 0.0, 0.0), Tail(0.0, 0.0, 0.0)]
    for i, (last, n) in enumerate(states):
        part = _overflow(rate, laws[last, modes[i]], counts[last, modes[i]], max(n, 1) - 1, above)
        thrown[modes[i]] = _add(thrown[modes[i]], part, law[i])
    return _whole(rate, above, law.reshape(2, -1), modes, thrown, laws)


def _overflow(rate: float, law: Distribution, counts: NDArray[np.float64], base: int, above: int) -> Tail:
    """Of base + A, the part above K: all of it less the part up to K."""
    numbers = base + np.arange(above + 1 - base)
    kept = counts[: above + 1 - base]
    mean, pairs = rate * law.mean, rate**2 * law.moment(2)
    return Tail(
        _rest(1.0, float(kept.sum())),
        _rest(base + mean, float(kept @ numbers)),
        _rest(base * (base - 1) + 2 * base * mean + pairs, float(kept @ (numbers * (numbers - 1)))),
    )


def _beyond_rounding(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(counts > ROUNDING, counts, 0.0)


def _rest(whole: float, part: float) -> float:
    """What a part leaves of the whole; 0 if that is no more than rounding: at tiny rates it would outweigh all."""
    rest = whole - part
    return rest if rest > ROUNDING * whole else 0.0


def _add(tail: Tail, part: Tail, weight: float) -> Tail:
    return Tail(
        tail.mass + weight * part.mass, tail.first + weight * part.first, tail.second + weight * part.second
    )


def _whole(
    rate: float,
    above: int,
    boundary: NDArray[np.float64],
    modes: Sequence[int],
    thrown: Sequence[Tail],
    laws: dict[tuple[int, int], Distribution],
) -> ThresholdChain:
    """Add the states above K: those left by a short service are known, those left by a long one from Q(z)."""
    short_tail, long_tail = thrown
    upward = short_tail.mass + long_tail.mass
    next_first, next_second = _served(rate, laws[SHORT, LONG], short_tail)
    gain = long_tail.first + next_first - upward * above
    bend = long_tail.second + next_second - upward * above * (above - 1)
    drift = 1.0 - rate * laws[LONG, LONG].mean
    mass = gain / drift
    curvature = -(rate**2 * laws[LONG, LONG].moment(2) - 2 * rate * laws[LONG, LONG].mean + 2)
    first = (bend - mass * curvature) / (2 * drift)
    numbers = np.arange(above + 1)
    total = float(boundary.sum()) + short_tail.mass + mass
    flat = boundary.reshape(-1)
    begun = [math.fsum(p for p, m in zip(flat, modes, strict=True) if m == mode) for mode in (SHORT, LONG)]
    begun[LONG] += short_tail.mass + mass
    changed = math.fsum(p for i, p in enumerate(flat) if modes[i] != i // (above + 1)) + short_tail.mass
    return ThresholdChain(
        boundary=boundary,
        total=total,
        started=(begun[SHORT] / total, begun[LONG] / total),
        swapped=changed / total,
        mean_number=float(boundary.sum(axis=0) @ numbers + short_tail.first + first) / total,
    )


def _served(rate: float, law: Distribution, tail: Tail) -> tuple[float, float]:
    """First and second factorial moment of n - 1 + A over the tail's n."""
    mean, pairs = rate * law.mean, rate**2 * law.moment(2)
    first = tail.first - tail.mass + mean * tail.mass
    below = tail.second - 2 * tail.first + 2 * tail.mass
    return first, below + 2 * mean * (tail.first - tail.mass) + pairs * tail.mass
