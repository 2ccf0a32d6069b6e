"""The plain queue: first come, first served on one server (Lindley's recursion)."""

from __future__ import annotations

from qmodel.simulation.kernels.columns import Demand, Log
from qmodel.simulation.kernels.compiled import compiled


@compiled
def serve_in_turn_of_arrival(demand: Demand, log: Log) -> None:
    """Each request starts at its arrival or at the departure before it, whichever is later. Fills the log."""
    free, marked = 0.0, demand.mark.size > 0
    for request in range(demand.arrival_s.size):
        start = max(free, demand.arrival_s[request])
        free = start + demand.service_s[request]
        log.start_s[request], log.done_s[request] = start, free
        log.delivered_s[request] = free
        if marked and demand.mark[request] < 1.0:
            log.delivered_s[request] = start + demand.mark[request] * demand.service_s[request]
