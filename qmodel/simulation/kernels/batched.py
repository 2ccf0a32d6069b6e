"""Dynamic and static batching: a free server takes up to `limit` that wait, and serves them together to the end.

Requests wait in bins; a batch is of one bin, and starts no smaller than `least`, unless nobody will come any more.
Bins go in the order in which the last of the least that make a batch joined.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Demand, Floats, Log
from qmodel.simulation.kernels.compiled import compiled, inlined
from qmodel.simulation.kernels.heap import pop, push

FREE = np.inf
WAITING, SERVED, REJECTED, ABANDONED = range(4)


class Batching(NamedTuple):
    """How batches are formed: a batch's least and largest number, most in the system, and the bins.

    `bin_of` each request; bin b has room for its requests in places first[b] to first[b + 1].
    """

    least: int
    limit: int
    buffer: int
    bin_of: NDArray[np.int64]
    first: NDArray[np.int64]


class Iteration(NamedTuple):
    """One iteration takes base + each n + context c + prefill p + pair q k seconds, of q queries and k keys.

    A batch has as many as its longest output; all leave together, shorter outputs are padded. Without lengths (no
    entries) a batch is one iteration.
    """

    base_s: float
    each_s: float
    context_s: float
    prefill_s: float
    pair_s: float
    inputs: Floats
    outputs: Floats


@inlined
def batch_seconds(taken: Iteration, together: int, inputs: float, longest: float) -> float:
    """Time of a batch: one prefill iteration, and one for each further token of the longest output."""
    steps = longest - 1.0
    context = steps * inputs + together * longest * steps / 2.0
    counted = taken.prefill_s * inputs + taken.context_s * context
    pairs = taken.pair_s * (inputs * inputs + together * context)
    return longest * (taken.base_s + taken.each_s * together) + counted + pairs


@compiled
def serve_in_batches(
    demand: Demand,
    key: Floats,
    patience_s: Floats,
    batching: Batching,
    taken: Iteration,
    server_count: int,
    log: Log,
    state: NDArray[np.int64],
) -> None:
    """Serve all requests, those of lowest key first. Fills the log, and what became of each in `state`.

    `patience_s`: how long each waits unserved (no entries: for ever).
    """
    count, bins = demand.arrival_s.size, batching.first.size - 1
    ranks, waiting = np.empty(count), np.empty(count, dtype=np.int64)
    entries, alive = np.zeros(bins, dtype=np.int64), np.zeros(bins, dtype=np.int64)
    joined, gone = np.empty(count), batching.first[:-1].copy()
    latest = batching.first[:-1].copy()
    batch = np.empty(count, dtype=np.int64)
    ends, leaving = np.empty(count), np.empty(count, dtype=np.int64)
    end_s, inside = np.full(server_count, FREE), np.zeros(server_count, dtype=np.int64)
    arrived = settled = present = impatient = 0
    least, now = batching.least, 0.0
    while settled < count:
        upcoming = demand.arrival_s[arrived] if arrived < count else np.inf
        if impatient > 0:
            upcoming = min(upcoming, ends[0])
        for server in range(server_count):
            upcoming = min(upcoming, end_s[server])
        if upcoming == np.inf:  # too few are left for a batch, and nobody comes any more
            least = 1
        else:
            now = upcoming
        for server in range(server_count):
            if end_s[server] <= now:
                present -= inside[server]
                end_s[server] = FREE
        while arrived < count and demand.arrival_s[arrived] <= now:
            if present >= batching.buffer:
                state[arrived] = REJECTED
                settled += 1
            else:
                own = batching.bin_of[arrived]
                start, stop = batching.first[own], batching.first[own + 1]
                entries[own] = push(ranks[start:stop], waiting[start:stop], entries[own], key[arrived], arrived)
                alive[own] += 1
                joined[latest[own]] = now
                latest[own] += 1
                present += 1
                if patience_s.size > 0 and patience_s[arrived] < np.inf:
                    impatient = push(ends, leaving, impatient, now + patience_s[arrived], arrived)
            arrived += 1
        for server in range(server_count):
            if end_s[server] < FREE:
                continue
            best, ready = -1, np.inf
            for own in range(bins):
                if alive[own] >= least and joined[gone[own] + least - 1] < ready:
                    best, ready = own, joined[gone[own] + least - 1]
            if best < 0:
                continue
            start, stop = batching.first[best], batching.first[best + 1]
            together = min(batching.limit, alive[best])
            inputs, longest, chosen = 0.0, 1.0, 0
            while chosen < together:
                request = waiting[start]
                entries[best] = pop(ranks[start:stop], waiting[start:stop], entries[best])
                if state[request] != WAITING:
                    continue
                state[request] = SERVED
                log.start_s[request], log.batch[request] = now, together
                if taken.outputs.size > 0:
                    inputs += taken.inputs[request]
                    longest = max(longest, taken.outputs[request])
                batch[chosen] = request
                chosen += 1
            end_s[server] = now + batch_seconds(taken, together, inputs, longest)
            for request in batch[:together]:
                log.done_s[request] = log.delivered_s[request] = end_s[server]
            inside[server] = together
            alive[best] -= together
            gone[best] += together
            settled += together
        while impatient > 0 and ends[0] <= now:
            request = leaving[0]
            impatient = pop(ends, leaving, impatient)
            if state[request] == WAITING:
                state[request], log.done_s[request] = ABANDONED, now
                alive[batching.bin_of[request]] -= 1
                gone[batching.bin_of[request]] += 1
                settled += 1
                present -= 1
