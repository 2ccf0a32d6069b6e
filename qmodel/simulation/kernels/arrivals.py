"""Merging the arrivals of several classes into one stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Floats
from qmodel.simulation.kernels.compiled import compiled


@compiled
def merged_order(times: Floats, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order by time of several increasing stretches of `times`; stretch c is first[c] to first[c + 1].

    Equal times go to the earlier stretch.
    """
    streams = first.size - 1
    at = first[:-1].copy()
    order = np.empty(times.size, dtype=np.int64)
    place = 0
    if streams == 2:  # most often, and a processor cannot foresee which comes next: no branch on it
        one, other = at[0], at[1]
        while one < first[1] and other < first[2]:
            behind = times[other] < times[one]
            order[place] = other if behind else one
            other += behind
            one += 1 - behind
            place += 1
        at[0], at[1] = one, other
    for rest in range(place, times.size):
        best, earliest = -1, np.inf
        for stream in range(streams):
            if at[stream] < first[stream + 1] and (best < 0 or times[at[stream]] < earliest):
                best, earliest = stream, times[at[stream]]
        order[rest] = at[best]
        at[best] += 1
    return order
