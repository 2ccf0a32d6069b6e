"""Dynamic batching: a free server takes all that wait, up to a limit, and serves them together to the end."""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.columns import Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled
from qmodel.simulation.kernels.heap import pop, push

NO_BATCH = np.inf


@compiled
def serve_in_batches(
    demand: Demand, key: Floats, base_s: float, each_s: float, limit: int, server_count: int, log: Log
) -> None:
    """Serve all requests; a batch of b takes base_s + each_s * b, those of lowest key first. Fills the log."""
    count = demand.arrival_s.size
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    end_s = np.full(server_count, NO_BATCH)
    queued = arrived = begun = 0
    while begun < count:
        now = demand.arrival_s[arrived] if arrived < count else np.inf
        for server in range(server_count):
            now = min(now, end_s[server])
        while arrived < count and demand.arrival_s[arrived] <= now:
            queued = push(ranks, waiting, queued, key[arrived], arrived)
            arrived += 1
        for server in range(server_count):
            if end_s[server] <= now:
                end_s[server] = NO_BATCH
            if end_s[server] == NO_BATCH and queued > 0:
                together = min(limit, queued)
                end_s[server] = now + base_s + each_s * together
                for _ in range(together):
                    request = waiting[0]
                    queued = pop(ranks, waiting, queued)
                    log.start_s[request] = now
                    log.done_s[request] = log.delivered_s[request] = end_s[server]
                    log.batch[request] = together
                begun += together
