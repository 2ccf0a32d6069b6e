"""Round robin: turns of a fixed length in cyclic order; new arrivals join behind all that wait."""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.columns import Control, Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.servers import (
    IDLE,
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


@compiled
def serve_in_turns(demand: Demand, turn_s: Floats, control: Control, server_count: int, log: Log) -> None:
    """Serve all requests in turns of `turn_s` seconds (one entry a request). Fills the log.

    A request whose turn ends at the instant of an arrival goes behind that arrival.
    """
    servers, requests = idle_servers(server_count), request_rows(demand)
    count = requests.size
    ring = np.empty(count, dtype=np.int64)
    first = queued = arrived = departed = 0
    long = False
    while departed < count:
        upcoming = requests[arrived].arrival_s if arrived < count else np.inf
        now = min(upcoming, next_stop(servers))
        for server in range(server_count):
            if servers[server].stop_s == now:
                departed += reach_stop(servers, requests, server, now)
        while arrived < count and requests[arrived].arrival_s <= now:
            ring[(first + queued) % count] = arrived
            queued += 1
            arrived += 1
        for server in range(server_count):
            if servers[server].stop_s == now and queued > 0:
                request = servers[server].request
                requests[request].preemptions += 1
                ring[(first + queued) % count] = request
                queued += 1
                lay_down(servers, server)
        while queued > 0:
            server = idle_server(servers)
            if server == IDLE:
                break
            request = ring[first]
            first, queued = (first + 1) % count, queued - 1
            long = take_up(servers, requests, control, server, request, now, arrived - departed, long)
        for server in range(server_count):
            request = servers[server].request
            if request != IDLE:
                work_until(servers, requests, server, requests[request].attained_s + turn_s[request])
    write_log(requests, log)
