"""One server and few priority levels: a first-come queue for each level, and no heap.

The same order, to the bit, as `single` with the levels as ranks. Who is interrupted stays at the head of its queue,
so that a level has at most one request whose service has begun.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Demand, Log
from qmodel.simulation.kernels.compiled import compiled

NOT_BEGUN = -1.0


@compiled
def serve_by_level(
    demand: Demand,
    level_of: NDArray[np.int64],
    class_index: NDArray[np.int64],
    levels: int,
    preemptive: bool,
    log: Log,
) -> None:
    """Serve all requests, the lowest `level_of` class first. Fills the log.

    First the services that end before an arrival end one after another. At the instant of an arrival, the service
    that ends there leaves, then all that come then join, then the server takes up whom the order names.

    A queue is a chain: `behind` names who came next, starting at who left the level last (at first, nobody: an
    entry of its own a level). A level is empty when who left last came last.
    """
    count = demand.arrival_s.size
    behind = np.empty(count + levels, dtype=np.int32)
    last = np.arange(count, count + levels)
    newest = last.copy()
    left = np.full(levels, NOT_BEGUN)  # of the service at the head of each level
    arrived, own, end = 0, levels, np.inf  # nobody is served: `own` is no level
    while arrived < count or own < levels:
        now = demand.arrival_s[arrived] if arrived < count else np.inf
        vacated = False
        while end <= now and own < levels:
            done, ended = np.int64(behind[last[own]]), end
            log.done_s[done] = log.delivered_s[done] = ended
            last[own], left[own], end = done, NOT_BEGUN, np.inf
            vacated = ended == now
            if vacated:
                own = levels
                break
            own = own if preemptive else 0  # nobody waits at a better level than one that may interrupt
            while own < levels and last[own] == newest[own]:
                own += 1
            if own < levels:
                begun = left[own]
                first = np.int64(behind[last[own]])
                if begun == NOT_BEGUN:
                    log.start_s[first] = ended
                    begun = demand.service_s[first]
                end = ended + begun
        if arrived == count:
            continue
        best = levels  # of those that come now
        while arrived < count and demand.arrival_s[arrived] == now:
            level = level_of[class_index[arrived]]
            behind[newest[level]] = arrived
            newest[level] = arrived
            best = min(best, level)
            arrived += 1
        if own < levels:
            if not preemptive or best >= own:
                continue
            left[own] = end - now
            log.preemptions[behind[last[own]]] += 1
        own = 0 if vacated else best
        while last[own] == newest[own]:
            own += 1
        first = np.int64(behind[last[own]])
        begun = left[own]
        if begun == NOT_BEGUN:
            log.start_s[first] = now
            begun = demand.service_s[first]
        end = now + begun
