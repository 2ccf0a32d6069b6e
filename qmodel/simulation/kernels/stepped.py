"""Service step by step on one server, as a live loop gives it: decisions are taken between steps only.

After every step the arrivals up to then join; then the request of lowest (rank, arrival, id) gets the next step.
A policy that is not preemptive keeps the one in service to its end. Sharing policies go by *level*, the service
received per weight; a newcomer starts level with the least served of those present (start-time fair queueing:
Goyal, Vin & Cheng, *IEEE/ACM Trans. Netw.* 5 (1997) 690-704), and the queue condition is read as it joins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qmodel.simulation.kernels.columns import Control, Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.heap import pop, precedes, push
from qmodel.simulation.kernels.rank import Form, Own, rank_of, shrink
from qmodel.simulation.kernels.servers import is_long

NOBODY = -1
# A share of a step: a delivery due up to this much after a step's end is at its end.
ROUNDING = 1e-9


class Steps(NamedTuple):
    """Steps of each request, and the size that the policy sees, in the two modes; weights for sharing.

    A step takes service / steps seconds of time and size / steps seconds of size.
    """

    steps: Floats
    long_steps: Floats
    size_s: Floats
    long_size_s: Floats
    weight: Floats


@compiled
def serve(
    demand: Demand,
    steps: Steps,
    form: Form | Own,
    sharing: bool,
    preemptive: bool,
    turn_s: float,
    control: Control,
    log: Log,
) -> None:
    """Serve all requests; fills the log.

    With a finite `turn_s` (round robin) requests have numbers in place of ranks: one as they join, and a new one,
    behind those that joined meanwhile, when the service attained reaches a multiple of the turn.
    """
    count = demand.arrival_s.size
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    done, level, own_rank_now = np.zeros(count), np.zeros(count), np.zeros(count)
    step_s, total, size = np.zeros(count), np.zeros(count), steps.size_s.copy()
    queued = arrived = departed = number = 0
    serving, now, is_over = NOBODY, 0.0, False
    long, marked = False, demand.mark.size > 0
    while departed < count:
        if serving == NOBODY and queued == 0:
            now = max(now, demand.arrival_s[arrived])
        while arrived < count and demand.arrival_s[arrived] <= now:
            request = arrived
            arrived += 1
            if sharing:
                least = np.inf
                if serving != NOBODY:
                    least = level[serving]
                if queued > 0:
                    least = min(least, ranks[0])
                level[request] = least if least < np.inf else 0.0
                long = is_long(arrived - departed, long, control)
                log.reduced[request] = long
                own_rank_now[request] = level[request]
            elif turn_s < np.inf:
                number += 1
                own_rank_now[request] = number
            else:
                own_rank_now[request] = rank_of(form, request, 0.0)
            queued = push(ranks, waiting, queued, own_rank_now[request], request)
        if is_over:
            number += 1
            own_rank_now[serving] = number
            is_over = False
        first = waiting[0]
        if serving == NOBODY:
            queued = pop(ranks, waiting, queued)
            serving = first
        elif (sharing or preemptive) and queued > 0 and precedes(ranks[0], first, own_rank_now[serving], serving):
            log.preemptions[serving] += 1
            queued = pop(ranks, waiting, queued)
            queued = push(ranks, waiting, queued, own_rank_now[serving], serving)
            serving = first
        if np.isnan(log.start_s[serving]):
            log.start_s[serving] = now
            if not sharing:
                long = is_long(arrived - departed, long, control)
                log.reduced[serving] = long
            work, total[serving] = demand.service_s[serving], steps.steps[serving]
            if log.reduced[serving]:
                work, total[serving] = demand.long_s[serving], steps.long_steps[serving]
                size[serving] = steps.long_size_s[serving]
                shrink(form, serving, steps.long_size_s[serving] / steps.size_s[serving])
            step_s[serving] = work / total[serving]
        attained = size[serving] * done[serving] / total[serving]
        now += step_s[serving]
        done[serving] += 1
        due = total[serving]
        if marked:
            mark = demand.long_mark[serving] if log.reduced[serving] else demand.mark[serving]
            due = np.ceil(mark * due - ROUNDING)
        if done[serving] == max(1.0, due):
            log.delivered_s[serving] = now
        if done[serving] >= total[serving]:
            log.done_s[serving] = now
            departed += 1
            serving = NOBODY
            continue
        further = size[serving] * done[serving] / total[serving]
        if sharing:
            level[serving] += (further - attained) / steps.weight[serving]
            own_rank_now[serving] = level[serving]
        elif turn_s < np.inf:
            is_over = np.floor(further / turn_s + ROUNDING) > np.floor(attained / turn_s + ROUNDING)
        elif preemptive:
            own_rank_now[serving] = rank_of(form, serving, further)
