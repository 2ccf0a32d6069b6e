"""Free KV blocks hold what a request computed until they are needed: what one that resumes finds again.

vLLM's V1 scheduler keeps free blocks in a queue. Full blocks join its end when a request gives them back, the last
of its context first; blocks are taken from its head, where those that are not full are put. So what is left of a
request's cache is always its first blocks, and they lie together in the queue. It is enough to know where: the head
of the queue stands at the number of blocks taken so far less those put back there (`used + freed`, where `freed`
counts full blocks given back less those found again), its end at `freed + limits.blocks`, and a request's full
blocks from `mark` on. What lies before the farthest place that the head has reached (`reached`) is lost.
"""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.columns import Engine, Limits
from qmodel.simulation.iterations.compiling import inlined, part


@inlined
def head(engine: Engine) -> int:
    """How far in the queue blocks have been taken."""
    return max(engine.now[0].reached, engine.now[0].used + engine.now[0].freed)


@inlined
def found(engine: Engine, request: Any) -> int:
    """Blocks of the request's cache that have not been taken by others yet."""
    if request.cached == 0:
        return 0
    return min(request.cached, max(0, request.cached - (head(engine) - request.mark)))


@part
def leave(engine: Engine, limits: Limits, row: int) -> None:
    """Note where the full blocks of the request will lie in the queue; call it before they are given back."""
    now, request = engine.now[0], engine.live[row]
    request.cached = min(request.blocks, request.computed // limits.block_tokens)
    if request.cached > 0:
        drop_overwritten(engine)
        request.mark = now.freed + limits.blocks
        engine.cached[now.caching] = row
        now.caching += 1


@part
def drop_overwritten(engine: Engine) -> None:
    """Forget those at the head of the queue of whose caches nothing is left."""
    now = engine.now[0]
    gone = 0
    while gone < now.caching and found(engine, engine.live[engine.cached[gone]]) == 0:
        engine.live[engine.cached[gone]].cached = 0
        gone += 1
    if gone > 0:
        now.caching -= gone
        for at in range(now.caching):
            engine.cached[at] = engine.cached[at + gone]


@part
def take_back(engine: Engine, limits: Limits, row: int, keeps: bool) -> None:
    """The request takes what is left of its cache out of the queue (`keeps`), or will never ask for it.

    Those behind move up by what it takes. It was charged with the whole cache when it lost it.
    """
    now, request = engine.now[0], engine.live[row]
    blocks = found(engine, request) if keeps else 0
    at = now.caching - 1
    while engine.cached[at] != row:
        engine.live[engine.cached[at]].mark -= blocks
        at -= 1
    now.caching -= 1
    for later in range(at, now.caching):
        engine.cached[later] = engine.cached[later + 1]
    request.cached = 0
    if blocks > 0:
        now.freed -= blocks
        now.used += blocks
        request.blocks += blocks
        request.computed = blocks * limits.block_tokens
        recovered = max(0, request.computed - request.prefix)
        request.recomputed -= recovered
        now.recomputed -= recovered
