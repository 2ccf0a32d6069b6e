"""What servers do whatever the order: take a request up, work on it, lay it down.

A server's *slice* begins at `begin_s` and is next looked at at `stop_s`, when its request has attained `target_s`
seconds of service. Ages are set to the target at a stop, never summed up, so that no work is lost by rounding.

Requests and servers are rows of records here: the small functions of a loop then pass two arrays, not twenty, and
what belongs to one request lies side by side in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.simulation.kernels.columns import NO_HYSTERESIS, Control, Demand, Log
from qmodel.simulation.kernels.compiled import inlined

IDLE = -1
NOT_BEGUN = -1.0

# np.record, so that rows have attributes without the compiler too
SERVER = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("request", np.int64),  # IDLE without one
                ("begin_s", np.float64),
                ("stop_s", np.float64),
                ("target_s", np.float64),
                ("loaded", np.bool_),  # the mode of the model it has loaded
            ],
            align=True,
        ),
    )
)
REQUEST = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("arrival_s", np.float64),
                ("service_s", np.float64),
                ("long_s", np.float64),
                ("mark", np.float64),
                ("long_mark", np.float64),
                ("attained_s", np.float64),
                ("work_s", np.float64),  # service needed; NOT_BEGUN until its start
                ("start_s", np.float64),
                ("done_s", np.float64),
                ("delivered_s", np.float64),
                ("preemptions", np.int64),
                ("reduced", np.bool_),
            ],
            align=True,
        ),
    )
)


@inlined
def idle_servers(count: int) -> Any:
    """Rows of SERVER that have nothing to do."""
    servers = np.empty(count, dtype=SERVER)
    for server in range(count):
        servers[server].request = IDLE
        servers[server].begin_s = 0.0
        servers[server].stop_s = np.inf
        servers[server].target_s = 0.0
        servers[server].loaded = False
    return servers


@inlined
def request_rows(demand: Demand) -> Any:
    """Rows of REQUEST that have not begun."""
    requests = np.empty(demand.arrival_s.size, dtype=REQUEST)
    for i in range(requests.size):
        row = requests[i]
        row.arrival_s, row.service_s, row.long_s = demand.arrival_s[i], demand.service_s[i], demand.long_s[i]
        row.mark = row.long_mark = 1.0
        if demand.mark.size > 0:
            row.mark, row.long_mark = demand.mark[i], demand.long_mark[i]
        row.attained_s, row.work_s = 0.0, NOT_BEGUN
        row.start_s = row.done_s = row.delivered_s = np.nan
        row.preemptions, row.reduced = 0, False
    return requests


@inlined
def write_log(requests: Any, log: Log) -> None:
    """Copy what became of the requests into the columns of the log."""
    for i in range(requests.size):
        row = requests[i]
        log.start_s[i], log.done_s[i], log.delivered_s[i] = row.start_s, row.done_s, row.delivered_s
        log.preemptions[i], log.reduced[i] = row.preemptions, row.reduced


@inlined
def is_long(present: int, was_long: bool, control: Control) -> bool:
    """Whether the queue counts as long for a service that starts with `present` in the system, itself included."""
    if was_long and control.below != NO_HYSTERESIS:
        return present >= control.below
    return present > control.above


@inlined
def next_stop(servers: Any) -> float:
    """The earliest stop of any server; infinity when all are idle."""
    earliest = np.inf
    for server in range(servers.size):
        earliest = min(earliest, servers[server].stop_s)
    return earliest


@inlined
def idle_server(servers: Any) -> int:
    """The first free server, or IDLE."""
    for server in range(servers.size):
        if servers[server].request == IDLE:
            return server
    return IDLE


@inlined
def age(servers: Any, requests: Any, server: int, now: float) -> float:
    """Service that the server's request has attained by now."""
    row = requests[servers[server].request]
    return min(row.attained_s + max(0.0, now - servers[server].begin_s), row.work_s)


@inlined
def attain(servers: Any, requests: Any, server: int, attained: float) -> None:
    """Credit the server's request with `attained` seconds in all; note when its result came out on the way."""
    row = requests[servers[server].request]
    mark = (row.long_mark if row.reduced else row.mark) * row.work_s
    if row.attained_s < mark <= attained:
        row.delivered_s = servers[server].begin_s + (mark - row.attained_s)
    row.attained_s = attained


@inlined
def lay_down(servers: Any, server: int) -> None:
    """The server is free."""
    servers[server].request = IDLE
    servers[server].stop_s = np.inf


@inlined
def reach_stop(servers: Any, requests: Any, server: int, now: float) -> bool:
    """Close the slice of a server at its stop; True if its request is done (the server is then free)."""
    row = requests[servers[server].request]
    attain(servers, requests, server, servers[server].target_s)
    servers[server].begin_s = now
    if row.attained_s < row.work_s:
        return False
    row.done_s = now
    if (row.long_mark if row.reduced else row.mark) == 1.0 or np.isnan(row.delivered_s):
        row.delivered_s = now
    lay_down(servers, server)
    return True


@inlined
def take_up(
    servers: Any,
    requests: Any,
    control: Control,
    server: int,
    request: int,
    now: float,
    present: int,
    was_long: bool,
) -> bool:
    """A free server begins or resumes a request; returns whether the queue counts as long from now on."""
    row, long = requests[request], was_long
    if row.work_s == NOT_BEGUN:
        long = is_long(present, was_long, control)
        row.start_s, row.reduced = now, long
        row.work_s = row.long_s if long else row.service_s
    servers[server].request = request
    servers[server].begin_s = now + (control.swap_s if servers[server].loaded != row.reduced else 0.0)
    servers[server].loaded = row.reduced
    return long


@inlined
def work_until(servers: Any, requests: Any, server: int, target: float) -> None:
    """Set the server's next stop: when its request has attained `target` seconds, or is done."""
    row = requests[servers[server].request]
    servers[server].target_s = min(target, row.work_s)
    servers[server].stop_s = servers[server].begin_s + (servers[server].target_s - row.attained_s)
