"""How many iterations pass before anything but the context changes."""

from __future__ import annotations

import math

import numpy as np

from qmodel.simulation.iterations.columns import FUTURE, NEVER, Arrivals, Engine, Limits, Sinks
from qmodel.simulation.iterations.compiling import inlined
from qmodel.simulation.iterations.memory import lasts

LONGEST_STRIDE = 1 << 20


@inlined
def next_event_s(engine: Engine, arrivals: Arrivals) -> float:
    """When the next request arrives, or comes back from a pause."""
    now = engine.now[0]
    upcoming = arrivals.arrival_s[now.next] if now.next < arrivals.arrival_s.size else arrivals.until_s
    return min(upcoming, engine.back_key[0]) if now.paused > 0 else upcoming


@inlined
def loses_patience_s(engine: Engine) -> float:
    """When the first in the queue leaves it, if nobody takes it up."""
    if engine.now[0].waiting == 0:
        return np.inf
    request = engine.live[engine.wait_row[0]]
    return np.inf if request.start_s >= 0.0 else request.arrival_s + request.patience_s


@inlined
def event_s(engine: Engine, limits: Limits, arrivals: Arrivals) -> float:
    """When something happens that the scheduler must see, whatever the batch does until then.

    With a full batch that nobody is taken from, arrivals only join the queue, and need not be seen at once, unless
    so many are there that they might be turned away.
    """
    now = engine.now[0]
    until_s = np.inf if now.next < arrivals.arrival_s.size else arrivals.until_s
    if now.running < limits.max_batch or limits.preemptive or limits.buffer < NEVER:
        until_s = min(next_event_s(engine, arrivals), loses_patience_s(engine))
    if limits.sample_s > 0.0:
        until_s = min(until_s, min(now.sample_s, next_event_s(engine, arrivals)))
    return until_s


@inlined
def iterations_until(now_s: float, until_s: float, taken_s: float, rise_s: float, most: int) -> int:
    """The fewest iterations of taken, taken + rise, ... seconds that end at `until_s` or later; at most `most`.

    By the root of the quadratic, then corrected for rounding: the ends are those that the loop computes.
    """
    span = until_s - now_s
    if span <= taken_s:
        return 1
    if now_s + (most * taken_s + rise_s * (0.5 * most * (most - 1))) < until_s:
        return most
    even = span / taken_s
    middle = taken_s / rise_s - 0.5 if rise_s > 0.0 else np.inf
    if middle < 1e6:
        even = math.sqrt(middle * middle + 2.0 * span / rise_s) - middle
    count = max(1, min(int(even), most))
    while count < most and now_s + (count * taken_s + rise_s * (0.5 * count * (count - 1))) < until_s:
        count += 1
    while count > 1 and now_s + ((count - 1) * taken_s + rise_s * (0.5 * (count - 1) * (count - 2))) >= until_s:
        count -= 1
    return count


@inlined
def stride(
    engine: Engine, limits: Limits, arrivals: Arrivals, sinks: Sinks, taken_s: float, rise_s: float, straight: int
) -> int:  # fmt: skip
    """For how many iterations nobody ends, nothing happens, and memory suffices; takes the blocks for them.

    Their times go up by `rise_s` from one to the next, `straight` times at most.
    """
    now = engine.now[0]
    if now.waiting > 0 and (
        limits.volatile or now.balked or (limits.lookahead == FUTURE and now.running < limits.max_batch)
    ):
        return 1
    most = min(now.soonest - now.tick, min(straight, LONGEST_STRIDE))
    most = iterations_until(now.now_s, event_s(engine, limits, arrivals), taken_s, rise_s, most)
    if limits.timeline:
        most = min(most, max(1, (sinks.token_s.size - now.spoken) // now.decoding - 1))
    return 1 + lasts(engine, limits, most - 1)
