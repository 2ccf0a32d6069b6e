"""Two priorities and a queue threshold: what happens while the high class is being cleared.

State (n, m): n high requests, the server at work on them, and m low ones waiting (or laid down). A high
service is long if n + m > K. Clearing ends when n = 0; by then m has grown to M. Wanted of it, as one vector:

    P(M = j) for j < L = K + 1;  E[M];  E[M^2];  high services begun;  sum of high requests each leaves behind;
    those of them that were long.

Where all services are long (m >= L) this has a closed form `far`: each high request starts a busy period of
long services with J low arrivals. What is computed is the difference from it: zero for m >= L; for n + m > K
carried down one busy period at a time, delta(n, m) = sum_j P(J = j) delta(n - 1, m + j); where n + m <= K,
the few states of short services, a linear system. Nothing is cut off but numbers of arrivals of probability
below 1e-15.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.one_server.busy_period import busy_period_moments, prolonged
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEGLIGIBLE = 1e-15
MOST_ARRIVALS = 4096
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

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """P(A = i) of all arrivals, up to where they are negligible."""
        most = 32
        while True:
            found = count_probabilities(self.service.lst, sum(self._rates), most)
            if 1.0 - found.sum() < NEGLIGIBLE * len(found) or most >= MOST_ARRIVALS:
                return found
            most *= 2

    def split(self, low: int) -> NDArray[np.float64]:
        """P(high = i, low = this many), for all i that matter."""
        from scipy.special import gammaln

        totals = self.totals[low:]
        high = np.arange(len(totals))
        share = [rate / sum(self._rates) for rate in self._rates]
        chosen = gammaln(high + low + 1) - gammaln(high + 1) - gammaln(low + 1)
        return totals * np.exp(chosen + high * np.log(share[0]) + low * np.log(share[1]))


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

    def after(self, arrivals: Arrivals, n: int, m: int) -> NDArray[np.float64]:
        """The functional after a service that leaves n high and m low requests behind, and its arrivals."""
        return self.far_after(arrivals, n, m) + self._near_after(arrivals, n, m, 0, self.delta)

    @cached_property
    def delta(self) -> dict[int, NDArray[np.float64]]:
        """Difference from the closed form at (0..N, m), one row a number of high requests, for m < L."""
        found: dict[int, NDArray[np.float64]] = {}
        for m in range(self.above, -1, -1):
            found[m] = self._row(m, found)
        return found

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

    def _near_after(
        self, arrivals: Arrivals, n: int, m: int, first: int, delta: dict[int, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """E[delta(n + high, m + low); low >= first]."""
        out = np.zeros(self.size)
        for low in range(first, min(self.limit - m, len(arrivals.totals))):
            p = arrivals.split(low)
            out += p @ delta[m + low][n : n + len(p)]
        return out

    def _row(self, m: int, found: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
        """delta(., m) from those of more low requests: short services up to n = K - m, long ones beyond."""
        rows = self.limit + max(len(self.during_high.totals), len(self.during_low.totals))
        shorts = self.above - m
        none = self._join_probabilities[0]
        fixed = np.zeros((rows, self.size))
        for j in range(1, self.limit - m):
            fixed[shorts + 1 :] += self._join_probabilities[j] * found[m + j][shorts:-1]
        for n in range(shorts + 1, rows):
            fixed[n] += none * fixed[n - 1]
        carried = none ** np.maximum(np.arange(rows) - shorts, 0.0)
        out = fixed
        out[0] += np.eye(self.size)[m]
        if shorts:
            out[1 : shorts + 1] = self._short_states(m, out, carried, found)
        out[shorts + 1 :] += np.outer(carried[shorts + 1 :], out[shorts])
        return out

    def _short_states(
        self,
        m: int,
        fixed: NDArray[np.float64],
        carried: NDArray[np.float64],
        found: dict[int, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """delta(1..K-m, m): a linear system, since longer queues come down through n = K - m."""
        shorts = self.above - m
        alone = self.during_high.split(0)
        system = np.eye(shorts)
        right = np.zeros((shorts, self.size))
        for n in range(1, shorts + 1):
            reached = np.arange(n - 1, n - 1 + len(alone))
            right[n - 1] = alone @ fixed[reached] + self._near_after(self.during_high, n - 1, m, 1, found)
            right[n - 1] += self._source(n, m)
            inside = (reached >= 1) & (reached <= shorts)
            np.subtract.at(system[n - 1], reached[inside] - 1, alone[inside])
            system[n - 1, -1] -= alone[reached > shorts] @ carried[reached[reached > shorts]]
        return np.asarray(np.linalg.solve(system, right), dtype=float)

    def _source(self, n: int, m: int) -> NDArray[np.float64]:
        """What one short service changes against the closed form."""
        cost = np.zeros(self.size)
        cost[BEGUN] = 1.0
        cost[LEFT] = n - 1 + self.during_high.high
        return cost + self.far_after(self.during_high, n - 1, m) - self.far(n, n * n, m, m * m, n * m)
