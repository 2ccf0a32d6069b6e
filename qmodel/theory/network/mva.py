"""Mean value analysis of closed networks: exact, and approximate for large populations.

R classes of N_r requests go round: delays (infinite servers), queues with FCFS or processor sharing, one or several
servers. With D_rk the time class r asks of queue k on one round, Z_r its delays, and n a population vector,

    T_rk(n) = D_rk (1 + Q_k(n - e_r)),    X_r(n) = n_r / (Z_r + sum_k T_rk(n)),    Q_k(n) = sum_r X_r(n) T_rk(n)

(an arrival sees the network without itself). A queue with k_k servers carries its probabilities of holding j < k_k:

    T_rk(n) = D_rk / k_k (1 + Q_k(n - e_r) + sum_{j < k_k - 1} (k_k - 1 - j) p_k(j | n - e_r)).

Exact in product form: exponential services with one mean for all classes at FCFS queues, any law at sharing
queues and delays. Beyond `MOST_VECTORS` populations Schweitzer's fixed point replaces Q_k(n - e_r) by Q_k(n) -
Q_rk(n) / n_r, with a queue of several servers as one k times as fast after a delay (Seidmann). Bounds, for one
class: X <= min(N / (Z + D), 1 / max_k D_k / k_k).

Sources: Reiser & Lavenberg, *J. ACM* 27 (1980) 313-322; Schweitzer, *Int. Conf. Stochastic Control* (1979); Bard,
*4th Perf. Eval. Int. Symp.* (1979); Seidmann, Schweitzer & Shalev-Oren, *Large Scale Systems* 12 (1987) 91-107;
Denning & Buzen, *ACM Comput. Surv.* 10 (1978) 225-261 (bounds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from qmodel.errors import InputError

Vector = tuple[int, ...]

MOST_VECTORS = 20_000
"""Population vectors, times 2 for each queue of several servers, beyond which the recursion takes too long."""
STILL, MOST_ROUNDS = 1e-12, 10_000


@dataclass(frozen=True)
class Queue:
    """A place with a queue: seconds that each class asks of it on one round, and its servers."""

    demands: tuple[float, ...]
    servers: int = 1


@dataclass(frozen=True)
class Network:
    """Throughput of each class (rounds/s) and its mean time at each queue (s), in the order given."""

    throughput: tuple[float, ...]
    times: tuple[tuple[float, ...], ...]
    exact: bool

    def response(self, r: int) -> float:
        """Mean time of a round of class r, delays left out."""
        return math.fsum(self.times[r])


def closed_network(populations: Sequence[int], delays: Sequence[float], queues: Sequence[Queue]) -> Network:
    """Exact where the populations are small enough, else Schweitzer's approximation. Raises InputError.

    >>> one = closed_network([3], [0.0], [Queue((1.0,)), Queue((1.0,))])
    >>> round(one.throughput[0], 12)  # balanced: N / (N + K - 1)
    0.75
    """
    if not queues or any(len(queue.demands) != len(populations) for queue in queues):
        raise InputError("closed network", "has no queue, or a queue without a class", "give each demand")
    if all(delay == 0 for delay in delays) and all(d == 0 for queue in queues for d in queue.demands):
        raise InputError("closed network", "takes no time at all", "give think_s or a service above 0")
    several = sum(queue.servers > 1 for queue in queues)
    if math.prod(n + 1 for n in populations) * 2**several <= MOST_VECTORS:
        return _recursion(populations, delays, queues)
    return _fixed_point(populations, delays, queues)


@dataclass(frozen=True)
class State:
    """The network with one population.

    Throughputs, times (class, queue), numbers and, for j below the servers of each queue, P(it holds j).
    """

    rates: np.ndarray
    times: np.ndarray
    numbers: np.ndarray
    held: list[np.ndarray]


def _recursion(populations: Sequence[int], delays: Sequence[float], queues: Sequence[Queue]) -> Network:
    last = _states(tuple(populations), tuple(delays), tuple(queues))[tuple(populations)]
    return Network(tuple(last.rates.tolist()), tuple(map(tuple, last.times.tolist())), exact=True)


def _states(populations: Vector, delays: tuple[float, ...], queues: tuple[Queue, ...]) -> dict[Vector, State]:
    """Of all population vectors, small ones first; a vector needs those with one request less.

    P(queue k empty) follows from the network without queue k (Reiser 1981): a difference would lose all digits.
    """
    without = {
        k: _states(populations, delays, (*queues[:k], *queues[k + 1 :]))
        for k, queue in enumerate(queues)
        if queue.servers > 1
    }
    shape = (len(populations), len(queues))
    start = State(
        np.zeros(shape[0]), np.zeros(shape), np.zeros(shape[1]), [np.eye(1, q.servers)[0] for q in queues]
    )
    known = {(0,) * shape[0]: start}
    for vector in product(*(range(n + 1) for n in populations)):
        if any(vector):
            fewer = {r: known[_less(vector, r)] for r in range(shape[0]) if vector[r]}
            rates, times = np.zeros(shape[0]), np.zeros(shape)
            for r, before in fewer.items():
                times[r] = _seen(before, r, queues)
                round_ = delays[r] + times[r].sum()
                rates[r] = vector[r] / round_ if round_ > 0 else math.inf
            empty = {k: _empty(k, rates, fewer, states[vector]) for k, states in without.items()}
            with np.errstate(invalid="ignore"):
                numbers = np.nan_to_num(rates @ times)
            known[vector] = State(rates, times, numbers, _held(rates, fewer, queues, empty))
    return known


def _less(vector: Vector, r: int) -> Vector:
    return (*vector[:r], vector[r] - 1, *vector[r + 1 :])


def _seen(before: State, r: int, queues: Sequence[Queue]) -> list[float]:
    """Time at each queue of an arrival of class r that finds the network as `before`."""
    out = []
    for k, queue in enumerate(queues):
        idle = sum((queue.servers - 1 - j) * before.held[k][j] for j in range(queue.servers - 1))
        out.append(queue.demands[r] / queue.servers * (1.0 + before.numbers[k] + idle))
    return out


def _empty(k: int, rates: np.ndarray, fewer: dict[int, State], without: State) -> float:
    """P(queue k is empty) = P(it was, with one request less) times the throughput over that without the queue."""
    r, before = next((r, before) for r, before in fewer.items())
    return float(before.held[k][0] * rates[r] / without.rates[r])


def _held(
    rates: np.ndarray, fewer: dict[int, State], queues: Sequence[Queue], empty: dict[int, float]
) -> list[np.ndarray]:
    """P(j at the queue) for j below its servers: flow up from j - 1 balances flow down from j."""
    out = []
    for k, queue in enumerate(queues):
        held = np.zeros(queue.servers)
        held[0] = empty.get(k, 0.0)
        for r, before in fewer.items():
            for j in range(1, queue.servers):
                held[j] += rates[r] * queue.demands[r] * before.held[k][j - 1] / j
        out.append(held)
    return out


def _fixed_point(populations: Sequence[int], delays: Sequence[float], queues: Sequence[Queue]) -> Network:
    """Schweitzer's: an arrival of class r sees the others, and its own class one request smaller in proportion."""
    n = np.array(populations, dtype=float)
    demands = np.array([queue.demands for queue in queues]).T
    servers = np.array([queue.servers for queue in queues])
    fast, aside = demands / servers, demands * (servers - 1) / servers
    delay = np.array(delays) + aside.sum(axis=1)
    numbers = np.repeat((n / len(queues))[:, None], len(queues), axis=1)
    for _ in range(MOST_ROUNDS):
        seen = numbers.sum(axis=0) - numbers / n[:, None]
        times = fast * (1.0 + seen)
        rates = n / (delay + times.sum(axis=1))
        moved = rates[:, None] * times
        if np.abs(moved - numbers).max() < STILL * n.max():
            break
        numbers = moved
    return Network(tuple(rates.tolist()), tuple(map(tuple, (times + aside).tolist())), exact=False)


def throughput_bound(population: int, delay: float, queues: Sequence[Queue]) -> float:
    """Asymptotic upper bound of one class's throughput (rounds/s).

    >>> throughput_bound(10, 0.0, [Queue((0.5,)), Queue((1.0,), servers=4)])
    2.0
    """
    slowest = max(queue.demands[0] / queue.servers for queue in queues)
    alone = delay + math.fsum(queue.demands[0] for queue in queues)
    return min(population / alone, 1.0 / slowest)
