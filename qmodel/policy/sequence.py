"""Orders of a given set of jobs on one machine: how many are in time, and which order is best.

Jobs are there at time 0 and need `work` seconds each; `due` are their deadlines (s). These are the exact answers to
one batch, against which orders that decide one request at a time can be held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Seconds = Sequence[float] | NDArray[np.float64]


def in_time_per_latency(order: Sequence[int], work: Seconds, due: Seconds) -> float:
    """Jobs in time over the sum of latencies, n / t, when they are done in this order (1/s).

    >>> in_time_per_latency([0, 1], [1.0, 2.0], [1.0, 2.5])
    0.25
    """
    now, met, total = 0.0, 0, 0.0
    for job in order:
        now += work[job]
        met += now <= due[job]
        total += now
    return met / total


def most_in_time(work: Seconds, due: Seconds) -> list[int]:
    """The largest set of jobs that can all be in time, in the order in which to do them (Moore & Hodgson 1968).

    By deadline; whenever one would be late, the longest so far is left out.

    >>> most_in_time([3.0, 1.0, 1.0], [3.0, 2.0, 3.0])
    [1, 2]
    """
    chosen: list[int] = []
    for job in sorted(range(len(work)), key=lambda j: due[j]):
        chosen.append(job)
        if math.fsum(work[j] for j in chosen) > due[job]:
            chosen.remove(max(chosen, key=lambda j: work[j]))
    return chosen


def all_in_time(work: Seconds, due: Seconds) -> bool:
    """Whether some order has every job in time: for each deadline t, the work due by t is at most t.

    The processor demand criterion for jobs that are all there; earliest deadline first then is such an order.

    >>> all_in_time([1.0, 2.0], [3.0, 3.0]), all_in_time([1.0, 2.5], [3.0, 3.0])
    (True, False)
    """
    return all(math.fsum(w for w, d in zip(work, due, strict=True) if d <= t) <= t for t in due)


def annealed(work: Seconds, due: Seconds, *, seed: int = 1, steps: int = 4_000, hottest: float = 0.1) -> list[int]:
    """An order with a high n / t, by simulated annealing over swaps of two places.

    Starts at shortest first; the temperature, relative to the start's value, falls geometrically to a thousandth.

    >>> annealed([2.0, 1.0], [9.0, 9.0])
    [1, 0]
    """
    if len(work) == 0:
        raise InputError("annealed, work", "holds no job", "give at least one")
    rng = np.random.default_rng(seed)
    order = sorted(range(len(work)), key=lambda j: work[j])
    value = in_time_per_latency(order, work, due)
    best, found = value, list(order)
    scale = hottest * max(value, 1.0 / math.fsum(work) / len(work))
    for step in range(steps):
        heat = scale * 1e-3 ** (step / steps)
        i, j = rng.integers(len(work), size=2)
        order[i], order[j] = order[j], order[i]
        changed = in_time_per_latency(order, work, due)
        if changed >= value or rng.random() < math.exp((changed - value) / heat):
            value = changed
            if value > best:
                best, found = value, list(order)
        else:
            order[i], order[j] = order[j], order[i]
    return found
