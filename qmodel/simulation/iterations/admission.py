"""Who is admitted to the batch, and who gives way to a request that goes first."""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.batch import (
    blocks_for,
    find_soonest,
    preempt,
    rank_now,
    settle,
    start_decoding,
)
from qmodel.simulation.iterations.columns import (
    FUTURE,
    NEVER,
    PREFILLING,
    RESERVE,
    Engine,
    Limits,
)
from qmodel.simulation.iterations.compiling import inlined, part
from qmodel.simulation.iterations.heap import pop
from qmodel.simulation.iterations.memory import fits_for_good
from qmodel.simulation.iterations.prefix_cache import found, take_back


@inlined
def computed_at_admission(engine: Engine, limits: Limits, request: Any) -> int:
    """Tokens that need not be computed: in its own cache, held, swapped out or found, or in a prefix cache."""
    return max(request.computed, max(request.prefix, found(engine, request) * limits.block_tokens))


@inlined
def is_prefilled(engine: Engine, limits: Limits, request: Any) -> bool:
    """Whether a waiting request goes on decoding at once."""
    held = computed_at_admission(engine, limits, request)
    return request.generated > 0 and request.prompt + request.generated - held == 1


@inlined
def first_chunk(engine: Engine, limits: Limits, request: Any, budget: int) -> int:
    """Tokens that a waiting request would compute in its first iteration."""
    left = request.prompt + request.generated - computed_at_admission(engine, limits, request)
    return 1 + limits.drafts if is_prefilled(engine, limits, request) else min(left, budget)


@inlined
def blocks_to_admit(engine: Engine, limits: Limits, request: Any, chunk: int) -> int:
    """New blocks that admission takes; with prefill first, those of its whole prompt."""
    if limits.blocks == NEVER:
        return 0
    held, whole = computed_at_admission(engine, limits, request), request.prompt + request.generated
    tokens = held + chunk
    if limits.prefill_first:  # decoding requests are given their next block afterwards
        tokens = held if is_prefilled(engine, limits, request) else max(tokens, whole)
    return max(0, blocks_for(tokens, limits.block_tokens) - request.blocks)


@inlined
def has_memory(engine: Engine, limits: Limits, row: int, chunk: int) -> bool:
    """Whether memory lets the waiting request in."""
    if limits.blocks == NEVER:
        return True
    now, request = engine.now[0], engine.live[row]
    tokens = computed_at_admission(engine, limits, request) + chunk
    if limits.whole_prompt:
        tokens = max(tokens, request.prompt + request.generated)
    if blocks_for(tokens, limits.block_tokens) - request.blocks > limits.blocks - now.used:
        return False
    if limits.lookahead == RESERVE:
        return now.reserved - request.reserved + full_length(limits, request) <= limits.blocks
    if limits.lookahead == FUTURE:
        left = request.prompt + request.generated - computed_at_admission(engine, limits, request)
        return fits_for_good(engine, limits, row, left)
    return True


@part
def full_length(limits: Limits, request: Any) -> int:
    """Blocks that the request holds in its last iteration."""
    return blocks_for(request.prompt + request.output - 1 + limits.drafts, limits.block_tokens)


@part
def make_way(engine: Engine, limits: Limits, form: Any) -> bool:
    """Preempt those that go after the first waiting request, as far as that lets it in; returns whether any was."""
    now = engine.now[0]
    now.balked = 0
    preempted = False
    while now.waiting > 0 and now.running > 0:
        row = engine.wait_row[0]
        request = engine.live[row]
        fits = has_memory(engine, limits, row, first_chunk(engine, limits, request, limits.max_tokens))
        if now.running < limits.max_batch and fits:
            now.balked = 1  # unless those that run need the memory first
            break
        worst, worst_rank = -1, engine.wait_key[0]
        could_free = 0
        for place in range(now.running):
            rank = rank_now(engine, limits, form, place)
            if rank > engine.wait_key[0]:
                settle(engine, limits, place)
                could_free += engine.live[engine.running[place]].blocks
            if rank > worst_rank:
                worst, worst_rank = place, rank
        needed = (
            blocks_for(request.prompt + request.generated + limits.drafts, limits.block_tokens) - request.blocks
        )
        if worst == -1:
            break
        if limits.blocks != NEVER and needed > limits.blocks - now.used + could_free:
            now.balked = 1
            break
        preempt(engine, limits, form, worst)
        preempted = True
    if preempted:
        find_soonest(engine)
    return preempted


@part
def admit(engine: Engine, limits: Limits, budget: int) -> int:
    """Admit the first waiting request; returns the tokens that it computes in the coming iteration."""
    now = engine.now[0]
    row = engine.wait_row[0]
    request = engine.live[row]
    now.waiting = pop(engine.wait_key, engine.wait_tie, engine.wait_row, now.waiting)
    if request.cached > 0:
        take_back(engine, limits, row, True)
    chunk = first_chunk(engine, limits, request, budget)
    more = blocks_to_admit(engine, limits, request, chunk)
    now.used += more
    request.blocks += more
    if request.swapped:
        now.extra_s += request.computed * limits.swap_s
        now.swapped += request.computed
        request.swapped = 0
    if request.resumed:
        now.extra_s += limits.resume_s
        request.resumed = 0
    if limits.lookahead == RESERVE and limits.blocks != NEVER:
        now.reserved += full_length(limits, request) - request.reserved
        request.reserved = full_length(limits, request)
    if not request.start_s >= 0.0:
        request.start_s = now.now_s
        now.extra_s += request.encode_s
    engine.running[now.running] = row
    now.running += 1
    if is_prefilled(engine, limits, request):
        request.late = 1
        now.uneven = 1
        start_decoding(engine, limits, now.running - 1)
        return chunk
    request.computed = computed_at_admission(engine, limits, request)
    request.state = PREFILLING
    engine.ends[now.running - 1] = NEVER
    request.chunk = chunk
    return chunk
