"""Requests on their way in and out: arrival, rejection, the end of a service, pauses, the record that stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.simulation.iterations.batch import (
    blocks_for,
    lose_cache,
    release,
    settle,
    take_off,
    wait,
)
from qmodel.simulation.iterations.columns import (
    ABANDONED,
    DISCARD,
    FREE,
    NEVER,
    PAUSED,
    REJECTED,
    SERVED,
    SWAP,
    Arrivals,
    Engine,
    Limits,
    Records,
    Sinks,
    Stages,
)
from qmodel.simulation.iterations.compiling import inlined, part
from qmodel.simulation.iterations.heap import pop, push
from qmodel.simulation.iterations.prefix_cache import leave
from qmodel.simulation.iterations.voice import experience, is_heard, speak


@part
def record(engine: Engine, limits: Limits, records: Records, row: int, ended: int, done_s: float) -> None:
    """Write down what became of a request; its row is free from now on."""
    now, request = engine.now[0], engine.live[row]
    at = now.records
    records.request[at] = request.request
    records.class_index[at] = request.class_index
    records.ended[at] = ended
    records.arrival_s[at] = request.arrival_s
    records.start_s[at] = request.start_s
    records.first_s[at] = request.first_s
    records.done_s[at] = done_s
    records.away_s[at] = request.away_s
    records.prompt[at] = request.prompt
    records.output[at] = request.generated
    records.preemptions[at] = request.preemptions
    records.recomputed[at] = request.recomputed
    records.reduced[at] = request.reduced
    records.qoe[at] = experience(limits, request) if ended == SERVED else np.nan
    now.records = at + 1
    request.state = FREE
    engine.free[now.free_rows] = row
    now.free_rows += 1
    now.live -= 1


@part
def most_tokens(arrivals: Arrivals, stages: Stages, at: int) -> int:
    """Tokens in the KV cache when the request's last service ends."""
    total = arrivals.prompt[at] + arrivals.output[at] - 1
    for later in range(arrivals.stages[at]):
        total += stages.prompt[arrivals.stage[at] + later] + stages.output[arrivals.stage[at] + later]
    return total


@part
def arrive(
    engine: Engine, limits: Limits, form: Any, arrivals: Arrivals, stages: Stages, records: Records, sinks: Sinks,
    row: int,
) -> None:  # fmt: skip
    """The next arrival enters its row, whose rank is in place, and the queue; or is rejected."""
    now = engine.now[0]
    at = now.next
    now.next += 1
    now.free_rows -= 1
    now.live += 1
    request = engine.live[row]
    request.request = arrivals.first + at
    request.class_index = arrivals.class_index[at]
    request.arrival_s = arrivals.born_s[at]
    request.patience_s = arrivals.patience_s[at]
    request.prompt, request.output = arrivals.prompt[at], arrivals.output[at]
    request.prefix, request.generated = arrivals.prefix[at], arrivals.generated[at]
    request.computed = request.prompt + request.generated - 1 if request.generated > 0 else 0
    request.last_s = arrivals.spoke_s[at]
    request.stage, request.stages = arrivals.stage[at], arrivals.stages[at]
    request.blocks = request.reserved = request.chunk = request.swapped = 0
    request.late = request.resumed = request.preemptions = request.recomputed = 0
    request.farthest = request.cached = request.mark = request.reduced = 0
    request.encode_s = arrivals.encode_s[at]
    request.start_s = request.first_s = np.nan
    request.away_s = request.digest_s = request.digested_s = 0.0
    full = now.live > limits.buffer
    most = most_tokens(arrivals, stages, at) + limits.drafts
    if full or (limits.blocks != NEVER and blocks_for(most, limits.block_tokens) > limits.blocks):
        record(engine, limits, records, row, REJECTED, request.arrival_s)
        return
    if request.generated > 0 and is_heard(limits, request):
        speak(engine, limits, sinks, request, 1, request.last_s)
    wait(engine, limits, form, row)


@inlined
def drop_impatient(engine: Engine, limits: Limits, records: Records) -> None:
    """Take those whose patience has run out, before any service, from the head of the queue."""
    now = engine.now[0]
    while now.waiting > 0 and now.records < records.request.size - now.running - 1:
        row = engine.wait_row[0]
        request = engine.live[row]
        leaves_s = request.arrival_s + request.patience_s
        if request.start_s >= 0.0 or leaves_s > now.now_s:
            return
        now.waiting = pop(engine.wait_key, engine.wait_tie, engine.wait_row, now.waiting)
        record(engine, limits, records, row, ABANDONED, leaves_s)


@part
def end_service(engine: Engine, limits: Limits, stages: Stages, records: Records, place: int, out_s: float) -> None:
    """The request at this place has emitted the last token of its service: it leaves, or pauses.

    Its last token is out at `out_s`; the engine is free of it now.
    """
    now = engine.now[0]
    settle(engine, limits, place)
    row = engine.running[place]
    request = engine.live[row]
    take_off(engine, limits, place)
    if request.stages == 0:
        release(engine, limits, request)
        now.reserved -= request.reserved
        record(engine, limits, records, row, SERVED, out_s)
        return
    kind = limits.kv_of_pause[request.class_index]
    if limits.blocks != NEVER and kind != 0:
        if kind == SWAP:
            request.swapped = 1
            now.swapped += request.computed
            now.extra_s += request.computed * limits.swap_s
        elif limits.caching:
            leave(engine, limits, row)
        release(engine, limits, request)
        now.reserved -= request.reserved
        request.reserved = 0
    if kind == DISCARD:
        full = request.computed - request.computed % limits.block_tokens
        lose_cache(engine, request, full if limits.caching and limits.blocks == NEVER else 0)
    pause_s = stages.pause_s[request.stage]
    request.state = PAUSED
    request.away_s += pause_s
    now.paused = push(
        engine.back_key, engine.back_tie, engine.back_row, now.paused, now.now_s + pause_s, request.request, row
    )


@part
def come_back(engine: Engine, limits: Limits, form: Any, stages: Stages) -> None:
    """The first paused request is back for its next service, with its rank by what it has attained."""
    now = engine.now[0]
    row = engine.back_row[0]
    request = engine.live[row]
    request.last_s = engine.back_key[0]
    now.paused = pop(engine.back_key, engine.back_tie, engine.back_row, now.paused)
    request.prompt += stages.prompt[request.stage]
    request.output += stages.output[request.stage]
    request.stage += 1
    request.stages -= 1
    wait(engine, limits, form, row)
