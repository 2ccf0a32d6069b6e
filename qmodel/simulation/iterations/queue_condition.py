"""Shorter outputs while the queue is long: the condition is read as the first service of a request starts."""

from __future__ import annotations

from typing import Any

from qmodel.simulation.iterations.columns import Engine, Limits
from qmodel.simulation.iterations.compiling import part
from qmodel.simulation.kernels.rank import shrink


@part
def read_condition(engine: Engine, limits: Limits, form: Any, row: int) -> None:
    """The request in this row is admitted: it makes fewer tokens if more than `above` are there, itself included.

    With hysteresis also, once the condition held, until one is admitted with fewer than `below` there. Its size, by
    which the policy may go, shrinks with its output.
    """
    now, request = engine.now[0], engine.live[row]
    present = now.live - now.paused
    if present > limits.above or (now.long_queue == 1 and present >= limits.below):
        now.long_queue = 1
        shorter = min(request.output, limits.clip)
        prompt_s = limits.prompt_s * request.prompt
        shrink(form, row, (prompt_s + limits.token_s * shorter) / (prompt_s + limits.token_s * request.output))
        request.output, request.reduced = shorter, 1
    else:
        now.long_queue = 0
