"""KV blocks of those that run: what the next iteration needs, and who gives way when blocks run out."""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.batch import (
    blocks_for,
    chunk_for,
    forget,
    last_in_order,
    one_by_one,
    preempt,
    settle,
)
from qmodel.simulation.iterations.columns import DECODING, FREE, NEVER, WAITING, Engine, Limits
from qmodel.simulation.iterations.compiling import inlined, part
from qmodel.simulation.iterations.prefix_cache import head


@part
def wanted(engine: Engine, limits: Limits, place: int, budget: int) -> int:
    """Blocks that a settled running request must hold in the coming iteration."""
    request = engine.live[engine.running[place]]
    if request.state == DECODING:
        return blocks_for(request.computed + 1 + limits.drafts, limits.block_tokens)
    return blocks_for(request.computed + chunk_for(engine, place, budget), limits.block_tokens)


@inlined
def prefill_budget(engine: Engine, limits: Limits) -> int:
    """Prompt tokens that fit beside the decoding requests."""
    return limits.max_tokens - engine.now[0].decoding * (1 + limits.drafts)


@inlined
def decodes_need(engine: Engine, limits: Limits, ahead: int) -> int:
    """New blocks that the decoding requests take `ahead` iterations from now."""
    return engine.shift[-(engine.now[0].tick + ahead) % limits.block_tokens]


@inlined
def hold_blocks(engine: Engine, limits: Limits, form: Any) -> bool:
    """Give all running requests the blocks of the coming iteration; returns whether somebody had to be preempted.

    In order of admission, as vLLM's scheduler: while blocks are short, the last in the order is preempted.
    """
    now = engine.now[0]
    if limits.blocks == NEVER:
        return False
    if now.running == now.decoding and not one_by_one(limits):
        need = decodes_need(engine, limits, 0)
        if need <= limits.blocks - now.used:
            now.used += need
            return False
    place, short = 0, False
    while place < now.running:
        settle(engine, limits, place)
        request = engine.live[engine.running[place]]
        while True:
            more = wanted(engine, limits, place, prefill_budget(engine, limits)) - request.blocks
            if more <= limits.blocks - now.used:
                break
            if now.running == 1 and drop_cache_for(engine, limits, engine.running[place]):
                continue
            short = True
            victim = last_in_order(engine, limits, form)
            give_back_grant(engine, limits, victim, place)
            preempt(engine, limits, form, victim)
            if victim == place:
                more = 0
            if victim <= place:
                place -= 1
            if more == 0:
                break
        if more > 0:
            request.blocks += more
            now.used += more
        place += 1
    return short


@part
def give_back_grant(engine: Engine, limits: Limits, victim: int, place: int) -> None:
    """Return the block that a request to be preempted was given for the coming iteration.

    Preempting settles the request, which states the blocks of what it has computed so far; only those are then
    given back. Nothing is in the others yet: they are at the head of the queue again.
    """
    now, request = engine.now[0], engine.live[engine.running[victim]]
    if victim < place and request.state == DECODING and not one_by_one(limits):
        now.reached = head(engine)
        now.used -= request.blocks - blocks_for(request.computed, limits.block_tokens)


@inlined
def lasts(engine: Engine, limits: Limits, most: int) -> int:
    """For how many more iterations, at most `most`, blocks suffice when all that run decode; takes these blocks."""
    now = engine.now[0]
    if limits.blocks == NEVER:
        return most
    for ahead in range(1, most + 1):
        need = decodes_need(engine, limits, ahead)
        if need > limits.blocks - now.used:
            return ahead - 1
        now.used += need
    return most


@part
def fits_for_good(engine: Engine, limits: Limits, row: int, left: int) -> bool:
    """Whether, with this request admitted, memory suffices until all that run have ended, come who may not.

    Looked at when each of them ends, its blocks then highest. A prompt still to be computed counts in full at
    once and delays its request's end as long as it might.
    """
    for ending in range(-1, engine.now[0].running):
        at = remaining(engine, limits, ending, row, left)
        held = 0
        for other in range(-1, engine.now[0].running):
            if remaining(engine, limits, other, row, left) >= at:
                slot = row if other == -1 else engine.running[other]
                request = engine.live[slot]
                generated = request.generated
                if other >= 0 and request.state == DECODING:
                    generated = request.output - (engine.ends[other] - engine.now[0].tick)
                if other == -1 or request.state != DECODING:
                    generated += 1
                tokens = request.prompt + min(generated + at, request.output) - 1
                held += blocks_for(tokens + limits.drafts, limits.block_tokens)
        if held > limits.blocks:
            return False
    return True


@part
def remaining(engine: Engine, limits: Limits, place: int, row: int, left: int) -> int:
    """Most iterations until the request at this place ends; -1: the one in `row`, with `left` tokens to compute."""
    request = engine.live[row if place == -1 else engine.running[place]]
    if place >= 0 and request.state == DECODING:
        return engine.ends[place] - engine.now[0].tick
    slowest = max(1, limits.max_tokens - limits.max_batch * (1 + limits.drafts))
    if place >= 0:
        left = request.prompt + request.generated - request.computed
    return 1 + (left + slowest - 1) // slowest + request.output - request.generated - 1


@part
def drop_kept_cache(engine: Engine, limits: Limits) -> bool:
    """With nobody running and no room for the first in the queue: evict the cache that somebody else keeps.

    Of those that wait or pause, the one that came last. Returns whether there was one.
    """
    first = engine.wait_row[0]
    chosen = last_with_cache(engine, first)
    if chosen == -1:
        if engine.live[first].state == WAITING and engine.live[first].blocks > 0:
            chosen = first
        else:
            return False
    drop_cache(engine, limits, chosen)
    return True


@part
def drop_cache_for(engine: Engine, limits: Limits, row: int) -> bool:
    """The only request that runs lacks memory: evict the cache that somebody keeps who does not run.

    It would otherwise give way to nobody, and again each time it comes back. Returns whether there was one.
    """
    chosen = last_with_cache(engine, row)
    if chosen != -1:
        drop_cache(engine, limits, chosen)
    return chosen != -1


@part
def last_with_cache(engine: Engine, but: int) -> int:
    """Row of the request that came last of those who hold blocks, this one left out; -1 where there is none."""
    chosen, number = -1, -1
    for row in range(engine.live.size):
        request = engine.live[row]
        if request.state != FREE and row != but and request.blocks > 0 and request.request > number:
            chosen, number = row, request.request
    return chosen


@part
def drop_cache(engine: Engine, limits: Limits, row: int) -> None:
    """Evict what a request holds that does not run."""
    forget(engine, limits, row)
    engine.now[0].reserved -= engine.live[row].reserved
    engine.live[row].reserved = 0
