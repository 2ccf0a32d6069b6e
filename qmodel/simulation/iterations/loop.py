"""The event loop of a batching engine: iteration after iteration, many at once where nothing changes between.

The order within an iteration is that of vLLM's V1 scheduler: the running requests first, in order of admission,
then the queue, within a budget of tokens. While the batch stays as it is and only decodes, the context grows by one
token a sequence, so that the times of m iterations sum to m t_0 + d m(m-1)/2: they are taken at one stride.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.simulation.iterations.admission import admit, first_chunk, has_memory, make_way
from qmodel.simulation.iterations.batch import find_soonest, one_by_one, release
from qmodel.simulation.iterations.columns import (
    FLUSH,
    GROW,
    MORE,
    NEVER,
    OVER,
    PREFILLING,
    REJECTED,
    THRASHING,
    Arrivals,
    Engine,
    Limits,
    Records,
    Sinks,
    Stages,
    Times,
)
from qmodel.simulation.iterations.compiling import inlined, loop, part, pasted
from qmodel.simulation.iterations.duration import duration, rise
from qmodel.simulation.iterations.heap import pop
from qmodel.simulation.iterations.memory import drop_kept_cache, hold_blocks, prefill_budget
from qmodel.simulation.iterations.passage import arrive, come_back, drop_impatient, end_service, record
from qmodel.simulation.iterations.prefix_cache import take_back
from qmodel.simulation.iterations.queue_condition import read_condition
from qmodel.simulation.iterations.ranks import copy_rank
from qmodel.simulation.iterations.rounds import (
    accept_drafts,
    continue_prompts,
    decode,
    emit_after_prefill,
    out_s,
    prompts_planned,
    work_left_by_exits,
)
from qmodel.simulation.iterations.strides import loses_patience_s, next_event_s, stride

THRASH = 1000
"""An engine thrashes when so many tokens are computed again for each one that is computed once."""
DECODE, PROMPTS, STUCK = range(3)
"""What the coming iteration does: decode (and prompts beside), prompts alone, nothing as nobody can run."""


@inlined
def fill_batch(engine: Engine, limits: Limits, form: Any, records: Records, budget: int) -> bool:
    """Admit from the queue while budget, cap and memory allow; returns whether anybody was admitted."""
    now = engine.now[0]
    admitted = False
    while now.waiting > 0 and budget > 0 and now.running < limits.max_batch:
        drop_impatient(engine, limits, records)
        if now.waiting == 0 or loses_patience_s(engine) <= now.now_s:
            break
        row = engine.wait_row[0]
        chunk = first_chunk(engine, limits, engine.live[row], budget)
        if chunk > budget:
            break
        if not has_memory(engine, limits, row, chunk):
            if now.running > 0 or not drop_kept_cache(engine, limits):
                break
            continue
        if limits.above < NEVER and not engine.live[row].start_s >= 0.0:
            read_condition(engine, limits, form, row)
        budget -= admit(engine, limits, budget)
        admitted = True
    return admitted


@pasted
def plan(engine: Engine, limits: Limits, form: Any, records: Records) -> tuple[int, bool]:
    """Decide what the coming iteration does, and whether the batch is as it was, so that a stride may begin."""
    now = engine.now[0]
    changed = False
    drop_impatient(engine, limits, records)
    if limits.preemptive and now.waiting > 0:
        changed = make_way(engine, limits, form)
    if limits.prefill_first:
        budget = continue_prompts(engine, limits, limits.max_tokens)
        changed |= fill_batch(engine, limits, form, records, budget)
        if prompts_planned(engine)[0] > 0:
            return PROMPTS, False
    short = hold_blocks(engine, limits, form)
    if short:
        find_soonest(engine)
    elif not limits.prefill_first:
        budget = continue_prompts(engine, limits, prefill_budget(engine, limits))
        changed |= fill_batch(engine, limits, form, records, budget)
    if short:
        continue_prompts(engine, limits, prefill_budget(engine, limits))
    if now.running == 0 and not short and now.waiting > 0 and loses_patience_s(engine) > now.now_s:
        return STUCK, False
    return DECODE, not (changed or short) and now.running == now.decoding


@inlined
def end_chunks(engine: Engine, limits: Limits, sinks: Sinks, taken_s: float) -> None:
    """The prompt tokens of this iteration are computed; prompts that are whole emit a token."""
    now = engine.now[0]
    place, prompts = now.running, now.running - now.decoding
    while prompts > 0:
        place -= 1
        request = engine.live[engine.running[place]]
        if request.state == PREFILLING:
            prompts -= 1
            request.computed += request.chunk
            request.chunk = 0
            if request.computed == request.prompt + request.generated:
                emit_after_prefill(engine, limits, sinks, place, now.now_s, taken_s)


@inlined
def end_services(engine: Engine, limits: Limits, stages: Stages, records: Records, taken_s: float) -> None:
    """Let those leave whose last token was emitted in the iteration that ends now and took so long."""
    now = engine.now[0]
    if now.soonest > now.tick:
        return
    place = 0
    while place < now.running:
        if engine.ends[place] == now.tick:
            request = engine.live[engine.running[place]]
            at_s = out_s(limits, request, request.output, now.now_s, taken_s)
            end_service(engine, limits, stages, records, place, at_s)
        else:
            place += 1
    find_soonest(engine)


@inlined
def account(engine: Engine, limits: Limits, rounds: int, spent_s: float, chunk: int, decoding: int) -> None:
    """Keep the books of so many iterations."""
    now = engine.now[0]
    now.now_s += spent_s
    now.busy_s += spent_s
    now.iterations += rounds
    now.peak_tokens = max(now.peak_tokens, chunk + decoding * (1 + limits.drafts))
    now.peak_running = max(now.peak_running, now.running)
    now.peak_blocks = max(now.peak_blocks, now.used)
    now.computed += chunk + decoding * rounds


@pasted
def iterate(
    engine: Engine, limits: Limits, times: Times, form: Any, arrivals: Arrivals, stages: Stages, records: Records,
    sinks: Sinks,
) -> None:  # fmt: skip
    """One iteration, or a stride of several in which nothing but the context changes."""
    now = engine.now[0]
    kind, steady = plan(engine, limits, form, records)
    if kind == STUCK:
        reject_first(engine, limits, records)
    if now.running == 0:
        return
    sequences, chunk, history = prompts_planned(engine)
    decoding = now.decoding if kind == DECODE else 0
    weight, context = float(decoding), float(now.context) if decoding > 0 else 0.0
    if decoding > 0 and limits.exit_stops:
        weight, context = work_left_by_exits(engine, limits)
    taken_s, inside = duration(times, weight, context, sequences, chunk, history, limits.drafts)
    taken_s += now.extra_s
    rounds, rise_s = 1, 0.0
    if steady and limits.jumps and now.extra_s == 0.0 and not one_by_one(limits):
        rise_s, straight = rise(times, weight, context, limits.drafts, taken_s)
        rounds = stride(engine, limits, arrivals, sinks, taken_s, rise_s, straight)
    begin_s, now.extra_s = now.now_s, 0.0
    now.outside += 0 if inside else rounds
    account(engine, limits, rounds, rounds * taken_s + rise_s * (0.5 * rounds * (rounds - 1)), chunk, decoding)
    if decoding > 0:
        decode(engine, limits, sinks, rounds, begin_s, taken_s, rise_s)
        if limits.drafts > 0:
            accept_drafts(engine, limits, sinks)
    elif now.decoding > 0:
        now.uneven = 1
    if chunk > 0:
        end_chunks(engine, limits, sinks, taken_s)
    end_services(engine, limits, stages, records, taken_s + rise_s * (rounds - 1))


@part
def reject_first(engine: Engine, limits: Limits, records: Records) -> None:
    """Nobody runs, and yet the first in the queue cannot be admitted: it never can, so it is rejected."""
    now = engine.now[0]
    row = engine.wait_row[0]
    now.waiting = pop(engine.wait_key, engine.wait_tie, engine.wait_row, now.waiting)
    if engine.live[row].cached > 0:
        take_back(engine, limits, row, False)
    release(engine, limits, engine.live[row])
    record(engine, limits, records, row, REJECTED, now.now_s)


@part
def sample(engine: Engine, limits: Limits, sinks: Sinks) -> None:
    """Write down the state at the sampling times that have passed."""
    now = engine.now[0]
    while now.sample_s <= now.now_s and now.samples < sinks.sampled_s.size:
        sinks.sampled_s[now.samples] = now.sample_s
        sinks.sampled[now.samples, 0] = now.running
        sinks.sampled[now.samples, 1] = now.waiting
        sinks.sampled[now.samples, 2] = now.used
        now.samples += 1
        now.sample_s += limits.sample_s


@inlined
def thrashes(engine: Engine, limits: Limits) -> bool:
    """Whether the order throws caches away so fast that an end is not in sight."""
    now = engine.now[0]
    return now.recomputed > limits.most_anew and now.recomputed > THRASH * (now.computed - now.recomputed)


@loop
def run(
    engine: Engine, limits: Limits, times: Times, form: Any, arriving: Any, arrivals: Arrivals, is_last: bool,
    stages: Stages, records: Records, sinks: Sinks,
) -> int:  # fmt: skip
    """Go on until all is done (OVER) or will not be (THRASHING), or arrivals, rows or room for records run out.

    `arriving` has the ranks of the arrivals, `form` those of the live rows.
    """
    now = engine.now[0]
    most = min(limits.max_batch, engine.live.size) + 1
    while True:
        while now.next < arrivals.arrival_s.size and arrivals.arrival_s[now.next] <= now.now_s:
            if now.free_rows == 0:
                return GROW
            if now.records == records.request.size:
                return FLUSH
            copy_rank(form, engine.free[now.free_rows - 1], arriving, now.next)
            arrive(engine, limits, form, arrivals, stages, records, sinks, engine.free[now.free_rows - 1])
        if now.next == arrivals.arrival_s.size and not is_last and now.now_s >= arrivals.until_s:
            return MORE
        if records.request.size - now.records < 2 * most:
            return FLUSH
        if limits.timeline and sinks.token_s.size - now.spoken < 2 * most * (1 + limits.drafts):
            return FLUSH
        while now.paused > 0 and engine.back_key[0] <= now.now_s:
            come_back(engine, limits, form, stages)
        if limits.sample_s > 0.0:
            sample(engine, limits, sinks)
        if now.running == 0 and now.waiting == 0:
            until_s = next_event_s(engine, arrivals)
            if until_s == np.inf:
                return OVER
            now.now_s = until_s
        else:
            iterate(engine, limits, times, form, arrivals, stages, records, sinks)
            if thrashes(engine, limits):
                return THRASHING
