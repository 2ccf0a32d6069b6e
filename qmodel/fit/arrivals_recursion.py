"""The forward and backward recursions of a Markovian arrival process over its gaps, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(nogil=True, error_model="numpy")(function)


@_compiled
def forward(levels: Indices, ends: Indices, steps: Floats, d1: Floats, start: Floats, states: Floats) -> float:
    """Log-likelihood of gaps, each given by its level; `states[n]` becomes the law of the state before gap n.

    `steps[g]` is exp(D0 x_g), scaled (the caller adds the scales back); a block ends before each of `ends`, and
    the next begins with `start` again. Minus infinity where gaps cannot be.
    """
    size = start.size
    total = 0.0
    begin = 0
    before, row = np.empty(size), np.empty(size)
    for end in ends:
        before[:] = start
        for n in range(begin, end):
            states[n] = before
            step = steps[levels[n]]
            for j in range(size):
                row[j] = 0.0
                for i in range(size):
                    row[j] += before[i] * step[i, j]
            mass = 0.0
            for j in range(size):
                before[j] = 0.0
                for i in range(size):
                    before[j] += row[i] * d1[i, j]
                mass += before[j]
            if not mass > 0.0:
                return -np.inf
            total += np.log(mass)
            for j in range(size):
                before[j] /= mass
        begin = end
    return total


@_compiled
def backward(
    levels: Indices, ends: Indices, steps: Floats, d1: Floats, states: Floats, moves: Floats, inner: Floats
) -> None:
    """Adds up what expectation needs: `moves[i, j]` jumps with an arrival, `inner[g]` = sum of b a' over gaps of g.

    a is the law of the state before the gap, b = D1 times what follows, both scaled so that a exp(D0 x) b = 1.
    """
    size = d1.shape[0]
    after, b, row = np.empty(size), np.empty(size), np.empty(size)
    for block in range(ends.size - 1, -1, -1):
        begin = ends[block - 1] if block > 0 else 0
        after[:] = 1.0
        for n in range(ends[block] - 1, begin - 1, -1):
            step = steps[levels[n]]
            for i in range(size):
                b[i] = 0.0
                for j in range(size):
                    b[i] += d1[i, j] * after[j]
            mass = 0.0
            for j in range(size):
                row[j] = 0.0
                for i in range(size):
                    row[j] += states[n, i] * step[i, j]
                mass += row[j] * b[j]
            for i in range(size):
                for j in range(size):
                    moves[i, j] += row[i] * d1[i, j] * after[j] / mass
                    inner[levels[n], i, j] += b[i] * states[n, j] / mass
            largest = 0.0
            for i in range(size):
                after[i] = 0.0
                for j in range(size):
                    after[i] += step[i, j] * b[j]
                largest = max(largest, after[i])
            for i in range(size):
                after[i] /= largest
