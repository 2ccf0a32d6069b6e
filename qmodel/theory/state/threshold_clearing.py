"""Two priorities and a queue threshold: what happens while the high class is being cleared.

State (n, m): n high requests, the server at work on them, and m low ones waiting (or laid down). A high
service is long if n + m > K. Clearing ends when n = 0; by then m has grown to M. Wanted of it, as one vector:

    P(M = j) for j < L = K + 1;  E[M];  E[M^2];  high services begun;  sum of high requests each leaves behind;
    those of them that were long.

Where all services are long (m >= L) this has a closed form `far`: each high request starts a busy period of
long services with J low arrivals. What is computed is the difference from it: zero for m >= L; for n + m > K
carried down one busy period at a time, delta(n, m) = sum_j P(J = j) delta(n - 1, m + j); where n + m <= K,
the few states of short services, a linear system. So beyond n = K the differences are powers of the operator J
applied to those at K: of the arrivals in a service nothing is left out but terms below 1e-15.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.one_server.busy_period import busy_period_moments, prolonged
from qmodel.theory.state.poisson_sums import joint_counts, vanishing
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN, SQUARE, BEGUN, LEFT, LONG = -5, -4, -3, -2, -1
"""Places in the vector, after P(M = 0..K)."""


@dataclass(frozen=True)
class Stream:
    """A priority: its rate, and its service law in the short-queue and the long-queue mode."""

    rate: float
    short: Distribution
    long: Distribution


class Arrivals:
    """How many high and low arrivals fall into one service: first and second moments, and probabilities."""

    def __init__(self, service: Distribution, high: float, low: float) -> None:
        self.service, self._rates = service, (high, low)
        first, second = service.mean, service.moment(2)
        self.high, self.low = high * first, low * first
        self.high_squared = high**2 * second + self.high
        self.low_squared = low**2 * second + self.low
        self.both = high * low * second


class Clearing:
    """The functional above for all states; `size` is the length of the vectors."""

    def __init__(self, high: Stream, low: Stream, above: int) -> None:
        self.high, self.low, self.above = high, low, above
        self.limit = above + 1
        self.size = self.limit + 5
        self.during_high = Arrivals(high.short, high.rate, low.rate)
        self.during_low = Arrivals(low.short, high.rate, low.rate)
        busy, busy_squared = busy_period_moments(high.rate, high.long)
        self.joined = low.rate * busy
        self.joined_variance = low.rate**2 * (busy_squared - busy**2) + self.joined
        self.begun = 1.0 / (1.0 - high.rate * high.long.mean)
        waiting = high.rate**2 * high.long.moment(2) * self.begun / 2.0
        self.left = self.begun * (waiting + high.rate * high.long.mean)

    def far(self, n: float, n_squared: float, m: float, m_squared: float, both: float) -> NDArray[np.float64]:
        """E of the closed form at random (n, m) with these moments; both = E[n m]."""
        out = np.zeros(self.size)
        out[MEAN] = m + n * self.joined
        out[SQUARE] = m_squared + 2 * both * self.joined + n_squared * self.joined**2 + n * self.joined_variance
        out[BEGUN] = out[LONG] = n * self.begun
        out[LEFT] = n * self.left + self.begun * (n_squared - n) / 2.0
        return out

    def at(self, n: int, m: int) -> NDArray[np.float64]:
        """The functional at (n, m)."""
        far = self.far(n, n * n, m, m * m, n * m)
        return far + self.delta[m][n] if m < self.limit else far

    def after_low(self, m: int) -> NDArray[np.float64]:
        """The functional after a short low service that leaves m low and no high requests, and its arrivals."""
        reached = self._reached_in_low[: self.limit - m]
        return self.far_after(self.during_low, 0, m) + np.tensordot(reached, self.delta[m:], 2)

    @cached_property
    def _reached_in_low(self) -> NDArray[np.float64]:
        return self._reached(self.during_low)[0]

    @cached_property
    def delta(self) -> NDArray[np.float64]:
        """Difference from the closed form at m, n = 0..K, as [m, n, place in the vector]."""
        found = np.zeros((self.limit, self.limit, self.size))
        reached = self._reached(self.during_high)
        for m in range(self.above, -1, -1):
            found[m] = self._row(m, found, reached)
        return found

    def _reached(self, arrivals: Arrivals) -> NDArray[np.float64]:
        """E[delta(n + high, m + low)] = sum_lk reached[n, l, k] delta(k, m + l), for n = 0..K."""
        steps, size = vanishing(self._join), self.limit
        counts = joint_counts(arrivals.service, self.high.rate, self.low.rate, self.above, steps)
        reached = np.zeros((size, size, size))
        beyond = np.zeros(size)
        for p in counts[:size:-1]:
            beyond = self._join @ (p + beyond)
        for n in range(size):
            reached[n, :, n:] = counts[: size - n].T
        for n in range(size):
            beyond = self._join @ (counts[size - n] + beyond) if len(counts) > size - n else beyond
            reached[n, :, -1] += beyond
        return reached

    @cached_property
    def _join(self) -> NDArray[np.float64]:
        """The operator J, lower triangular: of power series in the number of low requests, up to K."""
        places = np.subtract.outer(np.arange(self.limit), np.arange(self.limit))
        return np.where(places >= 0, self._join_probabilities[np.maximum(places, 0)], 0.0)

    @cached_property
    def _join_probabilities(self) -> NDArray[np.float64]:
        """P(J = j), j < L, of low arrivals in one busy period of long high services."""

        def busy(s: NDArray) -> NDArray:
            return self.high.long.lst(prolonged(s, self.high.rate, self.high.long))

        return count_probabilities(busy, self.low.rate, self.above)

    def far_after(self, arrivals: Arrivals, n: int, m: int) -> NDArray[np.float64]:
        a = arrivals
        return self.far(
            n + a.high,
            n * n + 2 * n * a.high + a.high_squared,
            m + a.low,
            m * m + 2 * m * a.low + a.low_squared,
            n * m + n * a.low + m * a.high + a.both,
        )

    def _row(self, m: int, found: NDArray[np.float64], reached: NDArray[np.float64]) -> NDArray[np.float64]:
        """delta(., m) from those of more low requests: short services up to n = K - m, long ones beyond."""
        shorts, none = self.above - m, self._join_probabilities[0]
        out = np.zeros((self.limit, self.size))
        joined = self._join_probabilities[1 : self.limit - m]
        out[shorts + 1 :] = np.tensordot(joined, found[m + 1 :, shorts:-1], (0, 0))
        for n in range(shorts + 1, self.limit):
            out[n] += none * out[n - 1]
        out[0] += np.eye(self.size)[m]
        carried = none ** np.maximum(np.arange(self.limit) - shorts, 0.0)
        if shorts:
            out[1 : shorts + 1] = self._short_states(m, out, carried, found, reached[:shorts])
        out[shorts + 1 :] += np.outer(carried[shorts + 1 :], out[shorts])
        return out

    def _short_states(
        self,
        m: int,
        fixed: NDArray[np.float64],
        carried: NDArray[np.float64],
        found: NDArray[np.float64],
        reached: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """delta(1..K-m, m): a linear system, since longer queues come down through n = K - m."""
        shorts = self.above - m
        right = reached[:, 0] @ fixed + self._sources(m)
        right += np.tensordot(reached[:, 1 : shorts + 1], found[m + 1 :], 2)
        system = np.eye(shorts) - reached[:, 0, 1 : shorts + 1]
        system[:, -1] -= reached[:, 0, shorts + 1 :] @ carried[shorts + 1 :]
        return np.asarray(np.linalg.solve(system, right), dtype=float)

    def _sources(self, m: int) -> NDArray[np.float64]:
        """What one short service that starts with n = 1..K-m high requests changes against the closed form."""
        return np.array([self._source(n, m) for n in range(1, self.limit - m)])

    def _source(self, n: int, m: int) -> NDArray[np.float64]:
        """What one short service changes against the closed form."""
        cost = np.zeros(self.size)
        cost[BEGUN] = 1.0
        cost[LEFT] = n - 1 + self.during_high.high
        return cost + self.far_after(self.during_high, n - 1, m) - self.far(n, n * n, m, m * m, n * m)
