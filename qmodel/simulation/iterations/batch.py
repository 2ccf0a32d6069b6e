"""Who runs: joining and leaving the batch, and the KV blocks that its requests hold.

A decoding request's tokens are not counted one by one: it emits one in every decoding iteration, so the tick at
which it ends says how many it has. It needs another block whenever its cache is a whole number of blocks, so it is
enough to know how many decoding requests have each remainder (`shift`, turned by the tick). With drafts, whose
acceptance is random, and with tokens that stop early, requests are looked at one by one (`one_by_one`).
"""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.columns import DECODING, NEVER, WAITING, Engine, Limits
from qmodel.simulation.iterations.compiling import inlined, part
from qmodel.simulation.iterations.heap import push
from qmodel.simulation.iterations.prefix_cache import head, leave
from qmodel.simulation.iterations.voice import last_token_s
from qmodel.simulation.kernels.rank import rank_of


@inlined
def blocks_for(tokens: int, block_tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block_tokens - 1) // block_tokens


@inlined
def one_by_one(limits: Limits) -> bool:
    """Whether decoding requests must be looked at one by one."""
    return limits.drafts > 0 or limits.exit_stops


@part
def settle(engine: Engine, limits: Limits, place: int) -> None:
    """Write into the row of a running request what its end tick says."""
    request = engine.live[engine.running[place]]
    if request.state == DECODING:
        request.generated = request.output - (engine.ends[place] - engine.now[0].tick)
        request.computed = request.prompt + request.generated - 1
        request.last_s = last_token_s(engine, request)
        if limits.blocks != NEVER and not one_by_one(limits):
            request.blocks = blocks_for(request.computed, limits.block_tokens)


@inlined
def start_decoding(engine: Engine, limits: Limits, place: int) -> None:
    """The request at this place has its prompt computed and `generated` tokens: it decodes from now on."""
    now = engine.now[0]
    request = engine.live[engine.running[place]]
    request.state = DECODING
    engine.ends[place] = now.tick + request.output - request.generated
    now.soonest = min(now.soonest, engine.ends[place])
    now.decoding += 1
    now.context += request.prompt + request.generated
    engine.shift[(request.computed - now.tick) % limits.block_tokens] += 1


@part
def take_off(engine: Engine, limits: Limits, place: int) -> None:
    """Take a settled request off the batch; its KV blocks stay its own."""
    now = engine.now[0]
    request = engine.live[engine.running[place]]
    if request.state == DECODING:
        now.decoding -= 1
        now.context -= request.prompt + request.generated
        if not one_by_one(limits):
            engine.shift[(request.computed - now.tick) % limits.block_tokens] -= 1
    now.running -= 1
    for at in range(place, now.running):
        engine.running[at] = engine.running[at + 1]
        engine.ends[at] = engine.ends[at + 1]


@inlined
def find_soonest(engine: Engine) -> None:
    """Find the tick at which the next request ends."""
    soonest = NEVER
    for place in range(engine.now[0].running):
        soonest = min(soonest, engine.ends[place])
    engine.now[0].soonest = soonest


@part
def release(engine: Engine, limits: Limits, request: Any) -> None:
    """Give back the request's KV blocks; full ones may be found again until they are needed."""
    now = engine.now[0]
    now.reached = head(engine)
    now.used -= request.blocks
    now.freed += min(request.blocks, request.computed // limits.block_tokens)
    request.blocks = 0


@part
def forget(engine: Engine, limits: Limits, row: int) -> None:
    """Evict a request's KV cache: swapped to the host, or dropped to be computed anew where it is not found."""
    request = engine.live[row]
    if limits.caching and not limits.swap:
        leave(engine, limits, row)
    release(engine, limits, request)
    if limits.swap:
        request.swapped = 1
        engine.now[0].swapped += request.computed
        engine.now[0].extra_s += request.computed * limits.swap_s
    else:
        lose_cache(engine, request, 0)


@part
def lose_cache(engine: Engine, request: Any, kept: int) -> None:
    """What a request has computed must be computed anew, save `kept` tokens and what a prefix cache holds."""
    lost = max(0, request.computed - max(kept, request.prefix))
    request.recomputed += lost
    engine.now[0].recomputed += lost
    request.farthest = max(request.farthest, request.computed)
    request.computed = kept


@part
def attained(limits: Limits, request: Any) -> float:
    """Service received, in seconds of service alone: progress through prompt and output, work done twice once.

    It does not go back when a cache is lost: an order by age would give the request the first place again, and two
    long prompts could evict each other for ever.
    """
    farthest = max(request.computed, request.farthest)
    prompt = request.prompt if request.generated > 0 else min(farthest, request.prompt)
    return limits.prompt_s * prompt + limits.token_s * request.generated


@part
def rank_now(engine: Engine, limits: Limits, form: Any, place: int) -> float:
    """The rank of a running request at this moment."""
    row = engine.running[place]
    request = engine.live[row]
    if limits.preemptive and request.state == DECODING:
        request.generated = request.output - (engine.ends[place] - engine.now[0].tick)
    return rank_of(form, row, attained(limits, request) if limits.preemptive else 0.0)


@part
def wait(engine: Engine, limits: Limits, form: Any, row: int) -> None:
    """Put a request that is off the batch into the queue."""
    request = engine.live[row]
    request.state = WAITING
    rank = rank_of(form, row, attained(limits, request) if limits.preemptive else 0.0)
    engine.now[0].waiting = push(
        engine.wait_key, engine.wait_tie, engine.wait_row, engine.now[0].waiting, rank, request.request, row
    )


@part
def preempt(engine: Engine, limits: Limits, form: Any, place: int) -> None:
    """Take a running request back to the queue; where memory binds, its KV cache is evicted."""
    settle(engine, limits, place)
    row = engine.running[place]
    request = engine.live[row]
    take_off(engine, limits, place)
    if limits.blocks != NEVER:
        forget(engine, limits, row)
    engine.now[0].reserved -= request.reserved
    request.reserved = 0
    request.preemptions += 1
    request.resumed = 1
    engine.now[0].preemptions += 1
    wait(engine, limits, form, row)


@part
def last_in_order(engine: Engine, limits: Limits, form: Any) -> int:
    """Place of the running request that goes last in the order."""
    worst, worst_rank, worst_number = 0, 0.0, 0
    for place in range(engine.now[0].running):
        rank = rank_now(engine, limits, form, place)
        number = engine.live[engine.running[place]].request
        if place == 0 or rank > worst_rank or (rank == worst_rank and number > worst_number):
            worst, worst_rank, worst_number = place, rank, number
    return worst


@inlined
def chunk_for(engine: Engine, place: int, budget: int) -> int:
    """Prompt tokens that a running request whose prompt is not computed yet computes, within the budget."""
    request = engine.live[engine.running[place]]
    return min(request.prompt + request.generated - request.computed, budget)
