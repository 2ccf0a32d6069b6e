"""Hand-written numba loops for four queues, as short as they can be: what the machine can do.

Each draws its own exponential gaps and sizes as it goes and keeps one number, the mean response time.

`numba_loops` draw from numba's `np.random.exponential`, as such loops are mostly written; `generator_loops` from a
numpy Generator, whose ziggurat is several times faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit


@njit(cache=True)
def _push(keys: np.ndarray, data: np.ndarray, size: int, key: float, datum: float) -> None:
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if keys[parent] <= key:
            break
        keys[at], data[at] = keys[parent], data[parent]
        at = parent
    keys[at], data[at] = key, datum


@njit(cache=True)
def _pop(keys: np.ndarray, data: np.ndarray, size: int) -> None:
    size -= 1
    key, datum, at = keys[size], data[size], 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], data[at] = keys[child], data[child]
        at = child
    keys[at], data[at] = key, datum


def loops_drawing(exponential: Callable, uniform: Callable) -> dict[str, Callable]:
    """The loops, drawing by these compiled functions of a generator."""

    @njit
    def fcfs(rng: np.random.Generator, rate: float, count: int) -> float:
        wait = total = 0.0
        for _ in range(count):
            size = exponential(rng)
            total += wait + size
            wait = max(0.0, wait + size - exponential(rng) / rate)
        return total / count

    @njit
    def ps(rng: np.random.Generator, rate: float, count: int) -> float:
        tags, came = np.empty(1_000_000), np.empty(1_000_000)
        inside = arrived = departed = 0
        now = virtual = total = 0.0
        upcoming = exponential(rng) / rate
        while departed < count:
            leaving = now + (tags[0] - virtual) * inside if inside else math.inf
            if leaving <= upcoming:
                now, virtual = leaving, tags[0]
                total += now - came[0]
                _pop(tags, came, inside)
                inside -= 1
                departed += 1
            else:
                if inside:
                    virtual += (upcoming - now) / inside
                now = upcoming
                _push(tags, came, inside, virtual + exponential(rng), now)
                inside += 1
                arrived += 1
                upcoming = now + exponential(rng) / rate if arrived < count else math.inf
        return total / count

    @njit
    def srpt(rng: np.random.Generator, rate: float, count: int) -> float:
        left, came = np.empty(1_000_000), np.empty(1_000_000)
        inside = arrived = departed = 0
        now = total = 0.0
        upcoming = exponential(rng) / rate
        while departed < count:
            if inside and now + left[0] <= upcoming:
                now += left[0]
                total += now - came[0]
                _pop(left, came, inside)
                inside -= 1
                departed += 1
            else:
                if inside:
                    left[0] -= upcoming - now
                now = upcoming
                _push(left, came, inside, exponential(rng), now)
                inside += 1
                arrived += 1
                upcoming = now + exponential(rng) / rate if arrived < count else math.inf
        return total / count

    @njit
    def preemptive_priority(rng: np.random.Generator, rate: float, count: int) -> float:
        """Two classes, three requests in eight of the first."""
        length = 1 << 20
        came, left = np.empty((2, length)), np.empty((2, length))
        first, queued = np.zeros(2, np.int64), np.zeros(2, np.int64)
        arrived = departed = 0
        now = total = 0.0
        upcoming = exponential(rng) / rate
        while departed < count:
            kind = 0 if queued[0] else 1
            at = first[kind] & (length - 1)
            if queued[kind] and now + left[kind, at] <= upcoming:
                now += left[kind, at]
                total += now - came[kind, at]
                first[kind] += 1
                queued[kind] -= 1
                departed += 1
            else:
                if queued[kind]:
                    left[kind, at] -= upcoming - now
                now = upcoming
                new = 0 if uniform(rng) < 0.375 else 1
                at = (first[new] + queued[new]) & (length - 1)
                came[new, at], left[new, at] = now, exponential(rng)
                queued[new] += 1
                arrived += 1
                upcoming = now + exponential(rng) / rate if arrived < count else math.inf
        return total / count

    return {"FCFS": fcfs, "PS": ps, "SRPT": srpt, "preemptive priority": preemptive_priority}


generator_loops = loops_drawing(njit(lambda rng: rng.standard_exponential()), njit(lambda rng: rng.random()))
numba_loops = loops_drawing(njit(lambda rng: np.random.exponential(1.0)), njit(lambda rng: np.random.random()))  # noqa: NPY002
