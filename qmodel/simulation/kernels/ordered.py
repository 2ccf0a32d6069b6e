"""Service in order of rank, lowest first: any number of servers, with or without preemption.

Every stop and arrival is an event. At an event, first the services that end there leave, then the arrivals of
that instant join, then the servers take up whom the order names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmodel.simulation.kernels.columns import Control, Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled, inlined
from qmodel.simulation.kernels.heap import pop, precedes, push
from qmodel.simulation.kernels.rank import Form, Own, rank_of, shrink
from qmodel.simulation.kernels.servers import (
    IDLE,
    NOT_BEGUN,
    age,
    attain,
    idle_server,
    idle_servers,
    lay_down,
    next_stop,
    reach_stop,
    request_rows,
    take_up,
    work_until,
    write_log,
)

# A share of a look: one reached up to this much too early by rounding is reached.
ROUNDING = 1e-9


class Order(NamedTuple):
    """How ranks are used.

    `preemptive`: a better rank interrupts. `thresholds`: ages at which a rank changes. `look_s`: a rank that may
    get worse at any age is looked at at multiples of this (infinity: it never gets worse with age).
    """

    preemptive: bool
    thresholds: Floats
    look_s: float


@inlined
def worst_running(servers: Any, requests: Any, form: Form | Own, now: float) -> tuple[int, float]:
    """The server whose request goes last in the order, and that request's rank."""
    worst, last, worst_rank = IDLE, IDLE, -np.inf
    for server in range(servers.size):
        request = servers[server].request
        its_rank = rank_of(form, request, age(servers, requests, server, now))
        if worst == IDLE or precedes(worst_rank, last, its_rank, request):
            worst, last, worst_rank = server, request, its_rank
    return worst, worst_rank


@inlined
def next_review(
    servers: Any, requests: Any, form: Form | Own, order: Order, server: int, now: float, until: float,
    best: float, best_request: int,
) -> float:  # fmt: skip
    """Age at which the server's request might have to give way to the best of those waiting.

    Ages reached after `until`, the next arrival, are not searched: the question is asked again then.
    """
    request = servers[server].request
    here, target = age(servers, requests, server, now), requests[request].work_s
    for level in range(order.thresholds.size):
        if here < order.thresholds[level] < target:
            return order.thresholds[level]
    if order.look_s == np.inf:
        return target
    looked = order.look_s * (np.floor(here / order.look_s + ROUNDING) + 1.0)
    last = min(target, here + until - now)
    while looked < last and not precedes(best, best_request, rank_of(form, request, looked), request):
        looked += order.look_s
    return min(looked, target)


@compiled
def serve(demand: Demand, form: Form | Own, order: Order, control: Control, server_count: int, log: Log) -> None:
    """Serve all requests; fills the log."""
    servers, requests = idle_servers(server_count), request_rows(demand)
    count = requests.size
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    queued = arrived = departed = 0
    long = False
    while departed < count:
        upcoming = requests[arrived].arrival_s if arrived < count else np.inf
        now = min(upcoming, next_stop(servers))
        for server in range(server_count):
            if servers[server].stop_s == now:
                departed += reach_stop(servers, requests, server, now)
        while arrived < count and requests[arrived].arrival_s <= now:
            queued = push(ranks, waiting, queued, rank_of(form, arrived, 0.0), arrived)
            arrived += 1
        while queued > 0:
            first, server = waiting[0], idle_server(servers)
            if server != IDLE:
                queued = pop(ranks, waiting, queued)
            else:
                if not order.preemptive:
                    break
                server, its_rank = worst_running(servers, requests, form, now)
                stopped = servers[server].request
                if not precedes(ranks[0], first, its_rank, stopped):
                    break
                attain(servers, requests, server, age(servers, requests, server, now))
                lay_down(servers, server)
                requests[stopped].preemptions += 1
                queued = pop(ranks, waiting, queued)
                queued = push(ranks, waiting, queued, its_rank, stopped)
            new = requests[first].work_s == NOT_BEGUN
            long = take_up(servers, requests, control, server, first, now, arrived - departed, long)
            if new and long:
                shrink(form, first, requests[first].long_s / requests[first].service_s)
        upcoming = requests[arrived].arrival_s if arrived < count else np.inf
        for server in range(server_count):
            if servers[server].request != IDLE:
                target = np.inf
                if order.preemptive and queued > 0:
                    target = next_review(
                        servers, requests, form, order, server, now, upcoming, ranks[0], waiting[0]
                    )
                work_until(servers, requests, server, target)
    write_log(requests, log)
