"""Dynamic batching, M/G^[a,K]/1: a free server takes all that wait, at least a and at most K, and serves them.

Let n be the number present as a batch starts, b = min(n, K) its size, tau_b its time and A_b the Poisson arrivals
during it. The next batch starts with n' = max(n - b + A_b, a): an embedded Markov chain, solved for its stationary
pi. With q = n - b + A_b left behind and idle until a are there,

    E[T] = (1/lambda) sum_n pi_n (n E[tau_b] + lambda E[tau_b^2] / 2 + E[sum_{k=q}^{a-1} k / lambda])
           / sum_n pi_n (E[tau_b] + E[(a - q)^+] / lambda),

by Little's law over one cycle. It holds for every order in which waiting requests join a batch, as long as their
times play no part. With a = 1, K without bound and tau_b = alpha b + tau_0 a closed bound is known:

    E[T] <= min(phi_0, phi_1),  r = lambda alpha,
    phi_0 = (alpha + tau_0) / (2 (1 - r)) (1 + 2 lambda tau_0 + (1 - lambda tau_0) / (1 + r)),
    phi_1 = 3 tau_0 / (2 (1 - r)) + (alpha / 2) (r + 2) / (1 - r^2).

Sources: Neuts, *Ann. Math. Stat.* 38 (1967) 759-770 (general bulk service); Inoue, *Perf. Eval.* 147 (2021) 102183
(the bound, for inference servers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from qmodel.service.batch_time import BatchTime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-17
MOST_STATES = 40_000
"""The chain is cut where its tail is below NEGLIGIBLE; loads that need more states are refused."""


class TooManyStates(Exception):
    """The chain's tail is too long to be solved."""


@dataclass(frozen=True)
class BulkService:
    """The queue: Poisson `rate`, `taken` a batch's time, batches of `smallest` to `largest` (None: unbounded).

    >>> from qmodel.service.iteration_time import IterationTime
    >>> queue = BulkService(0.5 / 0.1438, BatchTime.of_size(IterationTime(1.8874, 0.1438).seconds))
    >>> round(queue.mean_response, 9)
    5.901864569
    """

    rate: float
    taken: BatchTime
    smallest: int = 1
    largest: int | None = None

    def size(self, present: int) -> int:
        """Size of a batch that starts with so many present."""
        return present if self.largest is None else min(present, self.largest)

    @cached_property
    def load(self) -> float:
        """Share of its greatest throughput that is asked for; the queue is stable below 1.

        With unbounded batches that throughput is taken at a size past which it hardly grows.
        """
        size = self.largest or 1 << 20
        return self.rate * self.taken.mean(size) / size

    @cached_property
    def chain(self) -> tuple[Floats, list[Floats]]:
        """Stationary law of the number present as a batch starts (`smallest` on); by that number the law of A."""
        counts = self._counts()
        return _stationary(self, counts), counts

    def _counts(self) -> list[Floats]:
        """By number present at the start: P(A = k), k = 0, 1, ...; equal lists where the size is at its cap."""
        by_size: dict[int, Floats] = {}
        found = []
        for present in range(self.smallest, self._states() + self.smallest):
            size = self.size(present)
            if size not in by_size:
                by_size[size] = arrivals_during(self.taken, size, self.rate)
            found.append(by_size[size])
        return found

    def _states(self) -> int:
        states = self._reach()
        if states > MOST_STATES:
            raise TooManyStates
        return states

    def _reach(self) -> int:
        """Number of states that hold all but a negligible probability."""
        if self.largest is None:
            return self._unbounded_reach()
        during = arrivals_during(self.taken, self.largest, self.rate)
        most = max(self.largest, self.smallest) + during.size
        decay = self._decay(during)
        return most + (0 if decay >= 1.0 else int(math.log(NEGLIGIBLE) / -decay) if decay > 0 else MOST_STATES)

    def _decay(self, during: Floats) -> float:
        """Rate theta at which P(n) falls, exp(-theta n): the root of E[exp(theta A)] = exp(theta K)."""
        counts, cap = np.arange(during.size), float(self.largest or 1)

        def excess(theta: float) -> float:
            return math.log(float(during @ np.exp(theta * (counts - cap))))

        low, high = 0.0, 1.0
        if excess(high) < 0:
            return high
        low = 1e-7
        if excess(low) >= 0:
            return 0.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        return low

    def _unbounded_reach(self) -> int:
        """Fixed point of the number of arrivals in a batch, twelve standard deviations above the mean."""
        size = float(self.smallest)
        for _ in range(10_000):
            grown = self.rate * self.taken.mean(max(1, math.ceil(size)))
            if abs(grown - size) < 0.5 or grown > MOST_STATES:
                break
            size = grown
        spread = math.sqrt(max(size, 1.0) / max(1.0 - self.load**2, 1e-9))
        return int(size + 12.0 * spread + 60.0) + self.smallest

    @cached_property
    def _cycle(self) -> tuple[float, float, float, float]:
        """Means per batch: its time, idle time after it, integral of the number present, and its size."""
        stationary, counts = self.chain
        totals = np.zeros(4)
        for i, probability in enumerate(stationary):
            if probability > 0:
                totals += probability * np.array(self._one_cycle(self.smallest + i, counts[i]))
        time, idle, integral, size = totals.tolist()
        return time, idle, integral, size

    def _one_cycle(self, present: int, during: Floats) -> tuple[float, float, float, float]:
        size = self.size(present)
        time, square = self.taken.moment(size, 1), self.taken.moment(size, 2)
        left = present - size
        missing = during[: max(0, self.smallest - left)]
        behind = left + np.arange(missing.size)
        idle = float(missing @ (self.smallest - behind)) / self.rate
        waiting = float(missing @ (self.smallest * (self.smallest - 1) - behind * (behind - 1)) / 2) / self.rate
        return time, idle, present * time + self.rate * square / 2 + waiting, float(size)

    @property
    def utilisation(self) -> float:
        """Share of time in which a batch is served."""
        time, idle, _, _ = self._cycle
        return time / (time + idle)

    @property
    def mean_response(self) -> float:
        """E[T], seconds."""
        time, idle, integral, _ = self._cycle
        return integral / (time + idle) / self.rate

    @property
    def mean_batch(self) -> float:
        """Mean size of a batch, counted by batches."""
        return self._cycle[3]

    @cached_property
    def seen_by_requests(self) -> tuple[float, float]:
        """Mean size and mean time (s) of the batch that a request is served in."""
        stationary, _ = self.chain
        sizes = [self.size(self.smallest + i) for i in range(stationary.size)]
        weights = stationary * np.array(sizes, dtype=float)
        time = math.fsum(w * self.taken.mean(b) for w, b in zip(weights, sizes, strict=True) if w > 0)
        return float(weights @ np.array(sizes)) / float(weights.sum()), time / float(weights.sum())


def arrivals_during(taken: BatchTime, size: int, rate: float) -> Floats:
    """P(k arrivals during a batch of `size`), k = 0, 1, ... while it matters; Poisson arrivals of `rate`."""
    times, probabilities = taken.atoms(size)
    means = rate * np.asarray(times)
    largest = float(means.max())
    counts = np.arange(int(largest + 12.0 * math.sqrt(largest) + 40.0))
    logs = counts * np.log(means)[:, None] - means[:, None] - gammaln(counts + 1.0)
    law: Floats = probabilities @ np.exp(logs)
    return law / law.sum()


def _stationary(queue: BulkService, counts: list[Floats]) -> Floats:
    """Stationary law of the embedded chain, by a sparse solution with one state's weight fixed."""
    from scipy.sparse import csc_array, identity
    from scipy.sparse.linalg import splu

    states = len(counts)
    rows, columns, values = [], [], []
    for i, during in enumerate(counts):
        present = queue.smallest + i
        after = present - queue.size(present) + np.arange(during.size)
        rows.append(np.clip(after - queue.smallest, 0, states - 1))
        columns.append(np.full(during.size, i))
        values.append(during)
    where = (np.concatenate(rows), np.concatenate(columns))
    moves = csc_array((np.concatenate(values), where), shape=(states, states))
    fixed = _balance(queue, states)
    others = np.delete(np.arange(states), fixed)
    system = (identity(states, format="csc") - moves)[others][:, others]
    weights = np.ones(states)
    weights[others] = splu(csc_array(system)).solve(moves[:, [fixed]].toarray()[others, 0])
    weights = np.clip(weights, 0.0, None)
    return np.asarray(weights / weights.sum())


def _balance(queue: BulkService, states: int) -> int:
    """The state from which a batch leaves as many as it took: none is visited much more often."""
    starts = range(queue.smallest, queue.smallest + states)
    served = (queue.size(present) - queue.rate * queue.taken.mean(queue.size(present)) for present in starts)
    return next((i for i, more in enumerate(served) if more >= 0), 0)


def closed_bound(rate: float, alpha: float, tau_0: float) -> float:
    """Inoue's bound on E[T] when all that wait are taken and a batch of b takes alpha b + tau_0.

    >>> round(closed_bound(0.5 / 0.1438, 0.1438, 1.8874), 6)
    5.901867
    """
    r = rate * alpha
    few = (alpha + tau_0) / (2 * (1 - r)) * (1 + 2 * rate * tau_0 + (1 - rate * tau_0) / (1 + r))
    many = 1.5 * tau_0 / (1 - r) + alpha / 2 * (r + 2) / (1 - r * r)
    return min(few, many)
