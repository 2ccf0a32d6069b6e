"""One server and few priority levels: a first-come queue for each level, and no heap.

The same order, to the bit, as `single` with the levels as ranks. Who is interrupted stays at the head of its queue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Demand, Log
from qmodel.simulation.kernels.compiled import compiled

NOBODY = -1


@compiled
def serve_by_level(
    demand: Demand,
    level_of: NDArray[np.int64],
    class_index: NDArray[np.int64],
    levels: int,
    preemptive: bool,
    log: Log,
) -> None:
    """Serve all requests, the lowest `level_of` class first. Fills the log."""
    count = demand.arrival_s.size
    left = demand.service_s.copy()
    behind = np.empty(count, dtype=np.int64)
    head, tail = np.full(levels, NOBODY), np.full(levels, NOBODY)
    arrived, serving, own = 0, NOBODY, levels
    end = np.inf
    while arrived < count or serving != NOBODY:
        now = demand.arrival_s[arrived] if arrived < count else np.inf
        first = levels  # of those that come now
        if serving != NOBODY and end <= now:
            log.done_s[serving] = log.delivered_s[serving] = end
            head[own] = behind[serving] if serving != tail[own] else NOBODY
            serving = NOBODY
        if serving == NOBODY and end < now:
            now = end
        else:
            while arrived < count and demand.arrival_s[arrived] == now:
                level = level_of[class_index[arrived]]
                if head[level] == NOBODY:
                    head[level] = arrived
                else:
                    behind[tail[level]] = arrived
                tail[level] = arrived
                first = min(first, level)
                arrived += 1
        if serving != NOBODY:
            if not preemptive or first >= own:
                continue
            left[serving] = end - now
            log.preemptions[serving] += 1
        end, own = np.inf, 0
        while own < levels and head[own] == NOBODY:
            own += 1
        serving = head[own] if own < levels else NOBODY
        if serving != NOBODY:
            end = now + left[serving]
            if left[serving] == demand.service_s[serving]:
                log.start_s[serving] = now
