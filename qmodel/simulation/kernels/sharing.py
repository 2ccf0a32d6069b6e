"""Processor sharing by virtual time: PS, DPS and limited processor sharing.

Virtual time V runs at the service speed of a request of weight 1, so a request of weight w that begins at V
leaves at V + work/w, whatever comes after it: one heap holds all departures in order.
"""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.columns import Control, Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.heap import pop, push
from qmodel.simulation.kernels.servers import is_long


@compiled
def speed(server_count: int, inside: int, weight_inside: float, weighted: bool) -> float:
    """Rate of virtual time: service speed per unit of weight."""
    if weighted:
        return 1.0 / weight_inside
    return min(1.0, server_count / inside)


@compiled
def serve_by_sharing(
    demand: Demand,
    weight: Floats,
    weighted: bool,
    admission: Floats,
    limit: int,
    server_count: int,
    control: Control,
    log: Log,
) -> None:
    """Serve all requests, at most `limit` at once; the others wait, lowest `admission` first. Fills the log.

    Each request in service runs at speed min(1, servers / number inside), or, weighted (one server), in proportion
    to its weight.
    """
    count = demand.arrival_s.size
    tags, sharers = np.empty(count), np.empty(count, dtype=np.int64)
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    work = np.zeros(count)
    inside = queued = arrived = departed = 0
    weight_inside = virtual = now = 0.0
    long, marked = False, demand.mark.size > 0
    while departed < count:
        upcoming = demand.arrival_s[arrived] if arrived < count else np.inf
        rate = speed(server_count, inside, weight_inside, weighted) if inside > 0 else 1.0
        leaving = now + (tags[0] - virtual) / rate if inside > 0 else np.inf
        if leaving <= upcoming:
            virtual, now = tags[0], max(leaving, now)
            request = sharers[0]
            inside = pop(tags, sharers, inside)
            mark = 1.0
            if marked:
                mark = demand.long_mark[request] if log.reduced[request] else demand.mark[request]
            if mark < 1.0 and np.isnan(log.delivered_s[request]):
                log.delivered_s[request] = now
                rest = (1.0 - mark) * work[request] / weight[request]
                inside = push(tags, sharers, inside, virtual + rest, request)
                continue
            log.done_s[request] = now
            if mark == 1.0:
                log.delivered_s[request] = now
            departed += 1
            weight_inside -= weight[request]
        else:
            virtual += (upcoming - now) * rate
            now = upcoming
        while arrived < count and demand.arrival_s[arrived] <= now:
            queued = push(ranks, waiting, queued, admission[arrived], arrived)
            arrived += 1
        if inside == 0:  # start afresh, so that rounding does not build up over busy periods
            virtual = weight_inside = 0.0
        while queued > 0 and inside < limit:
            request = waiting[0]
            queued = pop(ranks, waiting, queued)
            long = is_long(arrived - departed, long, control)
            log.start_s[request], log.reduced[request] = now, long
            work[request] = demand.long_s[request] if long else demand.service_s[request]
            first = work[request] / weight[request]
            if marked:
                first *= demand.long_mark[request] if long else demand.mark[request]
            inside = push(tags, sharers, inside, virtual + first, request)
            weight_inside += weight[request]
