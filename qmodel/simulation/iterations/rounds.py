"""What happens in an iteration: prompts go on, decoding requests emit tokens."""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.batch import chunk_for, start_decoding
from qmodel.simulation.iterations.chance import accepted, exit_share
from qmodel.simulation.iterations.columns import DECODING, NEVER, PREFILLING, Engine, Limits, Sinks
from qmodel.simulation.iterations.compiling import inlined, part
from qmodel.simulation.iterations.voice import (
    count_gap,
    count_rising_gaps,
    is_heard,
    last_token_s,
    speak,
)


@inlined
def continue_prompts(engine: Engine, limits: Limits, budget: int) -> int:
    """Let partly computed prompts go on, as far as their blocks reach; returns the budget that is left."""
    now = engine.now[0]
    place, prompts = now.running, now.running - now.decoding
    while prompts > 0:  # those that still compute their prompts were admitted last: look from there
        place -= 1
        request = engine.live[engine.running[place]]
        if request.state == PREFILLING:
            prompts -= 1
            request.chunk = chunk_for(engine, place, budget)
            if limits.blocks != NEVER:
                room = request.blocks * limits.block_tokens - request.computed
                request.chunk = min(request.chunk, room)
            budget -= request.chunk
    return budget


@inlined
def prompts_planned(engine: Engine) -> tuple[int, int, float]:
    """Of this iteration: sequences that prefill, their tokens, and the mean of what their caches hold already."""
    now = engine.now[0]
    sequences = tokens = history = 0
    place, prompts = now.running, now.running - now.decoding
    while prompts > 0:
        place -= 1
        request = engine.live[engine.running[place]]
        if request.state == PREFILLING:
            prompts -= 1
            if request.chunk > 0:
                sequences += 1
                tokens += request.chunk
                history += request.computed
    return sequences, tokens, history / sequences if sequences > 0 else 0.0


@inlined
def tokens_made(engine: Engine, place: int) -> int:
    """Tokens that the decoding request at this place has emitted."""
    return engine.live[engine.running[place]].output - (engine.ends[place] - engine.now[0].tick)


@part
def work_left_by_exits(engine: Engine, limits: Limits) -> tuple[float, float]:
    """Decoding sequences and context tokens, weighed with the share of the work that each token does."""
    sequences = context = 0.0
    for place in range(engine.now[0].running):
        request = engine.live[engine.running[place]]
        if request.state == DECODING:
            made = tokens_made(engine, place)
            share = exit_share(limits, request.request, made + 1)
            sequences += share
            context += share * (request.prompt + made)
    return sequences, context


@inlined
def out_s(limits: Limits, request: Any, token: int, end_s: float, taken_s: float) -> float:
    """When a token of an iteration is out: at its end, or, released by an early exit, before."""
    if limits.exit_at.size == 0 or limits.exit_stops:
        return end_s
    return end_s - (1.0 - exit_share(limits, request.request, token)) * taken_s


@inlined
def somebody_listens(limits: Limits) -> bool:
    """Whether token times are asked for at all."""
    listens = limits.timeline
    for reader_s in limits.reader_s:
        listens |= reader_s > 0.0
    return listens


@inlined
def decode(
    engine: Engine, limits: Limits, sinks: Sinks, rounds: int, begin_s: float, first_s: float, rise_s: float
) -> None:
    """Every decoding request emits a token in each of `rounds` iterations of first, first + rise, ... seconds."""
    now = engine.now[0]
    even = rounds
    if now.uneven:
        even = rounds - 1
        for place in range(now.running):
            request = engine.live[engine.running[place]]
            if request.state == DECODING:
                count_gap(engine, sinks, begin_s + first_s - last_token_s(engine, request), 1)
                request.late = 0
        now.uneven = 0
    if even > 0:
        count_rising_gaps(engine, sinks, first_s + rise_s * (rounds - even), rise_s, even, now.decoding)
    if somebody_listens(limits):
        tell_tokens(engine, limits, sinks, rounds, begin_s, first_s, rise_s)
    now.tick += rounds
    now.context += now.decoding * rounds
    now.tokens += now.decoding * rounds
    now.decoded_s = begin_s + rounds * first_s + rise_s * (0.5 * rounds * (rounds - 1))


@part
def tell_tokens(
    engine: Engine, limits: Limits, sinks: Sinks, rounds: int, begin_s: float, first_s: float, rise_s: float
) -> None:
    """Tell whoever listens the time of each token of these iterations."""
    for place in range(engine.now[0].running):
        request = engine.live[engine.running[place]]
        if request.state == DECODING and is_heard(limits, request):
            made = tokens_made(engine, place)
            for step in range(rounds):
                end_s = begin_s + (step + 1) * first_s + rise_s * (0.5 * step * (step + 1))
                at_s = out_s(limits, request, made + step + 1, end_s, first_s + rise_s * step)
                speak(engine, limits, sinks, request, made + step + 1, at_s)


@part
def accept_drafts(engine: Engine, limits: Limits, sinks: Sinks) -> None:
    """After an iteration: the drafted tokens that were accepted come out with its token."""
    now = engine.now[0]
    for place in range(now.running):
        request = engine.live[engine.running[place]]
        if request.state == DECODING:
            made = tokens_made(engine, place)
            more = min(accepted(limits, request.request, made), request.output - made)
            if more > 0:
                count_gap(engine, sinks, 0.0, more)
                engine.ends[place] -= more
                now.context += more
                now.tokens += more
                now.computed += more
                now.soonest = min(now.soonest, engine.ends[place])
                if is_heard(limits, request):
                    for extra in range(more):
                        speak(engine, limits, sinks, request, made + 1 + extra, now.decoded_s)


@part
def emit_after_prefill(
    engine: Engine, limits: Limits, sinks: Sinks, place: int, end_s: float, taken_s: float
) -> None:
    """The prompt at this place is computed: its request emits a token and decodes from now on."""
    now = engine.now[0]
    request = engine.live[engine.running[place]]
    request.generated += 1
    now.tokens += 1
    at_s = out_s(limits, request, request.generated, end_s, taken_s)
    if request.generated == 1:
        request.first_s = at_s
    else:
        count_gap(engine, sinks, end_s - request.last_s, 1)
    request.last_s = end_s
    request.late = 0
    if is_heard(limits, request):
        speak(engine, limits, sinks, request, request.generated, at_s)
    start_decoding(engine, limits, place)
