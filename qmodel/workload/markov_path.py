"""The path of a Markovian arrival process, jump by jump, compiled: exact arrival times in a horizon."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def arrival_times(d0: Floats, d1: Floats, start: Floats, rng: np.random.Generator, horizon_s: float) -> Floats:
    """Arrival times in [0, horizon_s) when the state at 0 has the law `start`.

    The number of draws asked for at a time depends on the expected number of jumps alone, so that the same seed at
    another rate, over the same number of arrivals, gives the same path on another scale.
    """
    leave = -np.diag(d0)
    moves = np.hstack((d0 + np.diag(leave), d1))
    cumulative = np.cumsum(moves, axis=1) / leave[:, None]
    jumps = float(start @ leave) * horizon_s
    chunk = int(min(jumps + 6.0 * math.sqrt(jumps) + 16.0, 1e6))
    state, now, found = int(np.searchsorted(np.cumsum(start)[:-1], rng.random(), side="right")), 0.0, []
    while now < horizon_s:
        clocks, choices = rng.standard_exponential(chunk), rng.random(chunk)
        reached = np.empty(chunk)
        state, now, count = walk(state, now, horizon_s, leave, cumulative, clocks, choices, reached)
        found.append(reached[:count])
    return np.concatenate(found)


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True)(function)


@_compiled
def walk(
    state: int,
    now: float,
    horizon: float,
    leave: Floats,
    cumulative: Floats,
    clocks: Floats,
    choices: Floats,
    reached: Floats,
) -> tuple[int, float, int]:
    """Jump until the clocks run out or the horizon is passed; arrivals go to `reached`.

    Returns state, time and number of arrivals.
    """
    states, count = leave.size, 0
    for i in range(clocks.size):
        now += clocks[i] / leave[state]
        if now >= horizon:
            return state, now, count
        target = 0
        while target < 2 * states - 1 and choices[i] >= cumulative[state, target]:
            target += 1
        if target >= states:
            reached[count] = now
            count += 1
            target -= states
        state = target
    return state, now, count
