"""One server in order of a rank that never gets worse with age: the short way for most presets.

The same order as in `ordered`, without what that allows beyond it: several servers, queue conditions, delivery
before the end, and ranks that rise.
"""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.columns import Demand, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.heap import pop, precedes, push
from qmodel.simulation.kernels.rank import Form, Own, rank_of

NOBODY = -1


@compiled
def serve_on_one(demand: Demand, order: Form | Own, preemptive: bool, log: Log) -> None:
    """Serve all requests, lowest rank first. Fills the log."""
    count = demand.arrival_s.size
    left = demand.service_s.copy()
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    queued = arrived = 0
    serving, end = NOBODY, np.inf
    while arrived < count or serving != NOBODY:
        now = demand.arrival_s[arrived] if arrived < count else np.inf
        if serving != NOBODY and end < now:
            log.done_s[serving] = log.delivered_s[serving] = end
            serving = NOBODY
            if queued == 0:
                continue
            now = end
        else:
            if serving != NOBODY and end == now:
                log.done_s[serving] = log.delivered_s[serving] = end
                serving = NOBODY
            while arrived < count and demand.arrival_s[arrived] == now:
                queued = push(ranks, waiting, queued, rank_of(order, arrived, 0.0), arrived)
                arrived += 1
            if serving != NOBODY:
                if not preemptive:
                    continue
                rank = rank_of(order, serving, demand.service_s[serving] - (end - now))
                if not precedes(ranks[0], waiting[0], rank, serving):
                    continue
                left[serving] = end - now
                log.preemptions[serving] += 1
                stopped, serving = serving, waiting[0]
                queued = pop(ranks, waiting, queued)
                queued = push(ranks, waiting, queued, rank, stopped)
        if serving == NOBODY:
            serving = waiting[0]
            queued = pop(ranks, waiting, queued)
        end = now + left[serving]
        if left[serving] == demand.service_s[serving]:
            log.start_s[serving] = now
