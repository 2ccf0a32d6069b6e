"""From a system and a policy to what the loop reads: limits, times, and how the engine decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.policy.routing import Routing
from qmodel.service.composed import AttentionTable, ComposedTime, Curve
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import prompt_token_s
from qmodel.service.transform import EarlyExit, QueueCondition

if TYPE_CHECKING:
    from qmodel.policy import Policy
    from qmodel.simulation.iterations.columns import Limits, Times
    from qmodel.workload import RequestClass

Time = IterationTime | ComposedTime
UNBOUNDED = np.iinfo(np.int64).max
MOST_ANEW = 1 << 30
"""Tokens that a run may compute again before it is asked whether it computes anything else."""
AHEAD = {"none": 0, "reserve": 1, "future": 2}
CACHES = {"keep": 0, "discard": 1, "swap": 2}


@dataclass(frozen=True)
class Rules:
    """What runs the iterations: their time, the engine, and its bounds (None: no bound).

    `max_batch` is bounded by the token budget too, for every decoding request takes its tokens in every iteration.
    `resume_s`: time that each resumption of a preempted request costs. `early_exit`: at which share of an
    iteration's work a token leaves; None: at the end. `servers`: so many engines, each with these bounds and a
    queue of its own, which `routing` feeds. `condition`: while it holds, a service that starts makes `clip` tokens
    at most. `context`: tokens at which sizes are told in seconds; None: the mean of the requests served.
    """

    time: Time
    engine: Engine = field(default_factory=Engine)
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    buffer: int | None = None
    resume_s: float = 0.0
    early_exit: EarlyExit | None = None
    servers: int = 1
    routing: Routing = field(default_factory=Routing)
    condition: QueueCondition | None = None
    clip: int = UNBOUNDED
    context: float | None = None

    def __post_init__(self) -> None:
        tokens = 1 + self.engine.speculative_tokens
        if self.engine.max_batched_tokens < tokens * (self.max_batch or 1):
            raise InputError(
                "system.engine, max_batched_tokens",
                f"{self.engine.max_batched_tokens} does not let {self.max_batch or 1} requests decode",
                f"give at least {tokens * (self.max_batch or 1)}",
            )
        if self.servers > 1:
            self._check_routing()
        if self.buffer is not None and len(self.engine.pipeline) > 1:
            raise InputError("system, buffer", "is not simulated with separate pools", "leave it out")
        if self.condition is not None and (self.servers > 1 or len(self.engine.pipeline) > 1):
            fault = "is not simulated with several engines"
            raise InputError("transform, above_queue", fault, "take one engine, or leave it out")
        stops = self.early_exit is not None and self.early_exit.delivery == "stop"
        if stops and not isinstance(self.time, IterationTime):
            fault = "cannot be told from a table of whole iterations"
            raise InputError("transform early-exit, delivery = 'stop'", fault, "give system.iteration_time")
        if stops and isinstance(self.time, IterationTime) and self.time.per_query_key:
            fault = "cannot be told where pairs of queries and keys cost time: tokens leave at different layers"
            raise InputError("transform early-exit, delivery = 'stop'", fault, "leave per_query_key out")
        if self.kv_capacity_tokens is not None and self.kv_capacity_tokens < self.engine.kv_block_tokens:
            raise InputError("system, kv_capacity_tokens", "is less than one block", "give more")

    def _check_routing(self) -> None:
        if self.routing.kind == "shared":
            fault = "is missing: each engine has a queue of its own"
            raise InputError("system, routing", fault, "give random, round-robin, jsq, jsq:2 or least-work")
        if self.buffer is not None:
            raise InputError("system, buffer", "is not simulated with several engines", "leave it out")
        if len(self.engine.pipeline) > 1:
            raise InputError(
                "system, servers", "is not simulated with separate pools", "give each pool its servers"
            )

    @property
    def batch_limit(self) -> int:
        """Most requests running at once."""
        most = self.engine.max_batched_tokens // (1 + self.engine.speculative_tokens)
        return most if self.max_batch is None else min(most, self.max_batch)

    def alone_s(self, context: float) -> tuple[float, float]:
        """Seconds that a prompt token and an output token take a request alone: the unit of sizes.

        At the rules' own context, else at this one: the mean of a sample.
        """
        context = context if self.context is None else self.context
        chunk = self.engine.max_batched_tokens
        if isinstance(self.time, IterationTime):
            prompt = prompt_token_s(self.time, chunk, context)
        else:
            prompt = self.time.seconds(0, 0.0, chunk, prefills=1) / chunk
        each = self.time.seconds(1, context) / self.engine.tokens_per_iteration
        return prompt, each


def times_of(rules: Rules) -> Times:
    """The iteration time as the loop reads it."""
    from qmodel.simulation.iterations.columns import Times

    time, draft = rules.time, float(rules.engine.draft_s)
    if isinstance(time, IterationTime):
        columns: list[Any] = [*map(float, vars(time).values()), draft, *_curve(None), *_curve(None), *_grid(None)]
    else:
        columns = [float(time.base_s), 0.0, 0.0, 0.0, 0.0, draft]
        columns += [*_curve(time.dense), *_curve(time.head), *_grid(time.attention)]
    return Times(*columns)


def _curve(curve: Curve | None) -> list[Any]:
    return [np.empty(0), np.empty(0)] if curve is None else [np.array(curve.at), np.array(curve.taken_s)]


def _grid(table: AttentionTable | None) -> list[Any]:
    if table is None:
        nothing = np.empty((0, 0, 0, 0))
        return [*(np.empty(0) for _ in range(4)), nothing, nothing.astype(np.bool_)]
    return [np.array(column) for column in (*table.axes, table.filled_s, table.measured)]


def limits_of(
    rules: Rules,
    policy: Policy,
    classes: Sequence[RequestClass],
    *,
    volatile: bool,
    context: float,
    seed: int,
    jumps: bool = True,
    sample_s: float = 0.0,
    timeline: bool = False,
) -> Limits:
    """What bounds the engine and how it decides, as the loop reads it."""
    from qmodel.simulation.iterations.columns import Limits

    engine, leaving, when = rules.engine, rules.early_exit, rules.condition
    prompt_s, token_s = rules.alone_s(context)
    readers = [reader(each) for each in classes]
    capacity = rules.kv_capacity_tokens
    return Limits(
        max_batch=rules.batch_limit,
        max_tokens=engine.max_batched_tokens,
        blocks=UNBOUNDED if capacity is None else capacity // engine.kv_block_tokens,
        block_tokens=engine.kv_block_tokens,
        buffer=UNBOUNDED if rules.buffer is None else rules.buffer,
        prefill_first=engine.prefill == "first",
        whole_prompt=engine.whole_prompt or engine.prefill == "first",
        lookahead=AHEAD[engine.lookahead],
        preemptive=policy.preemptive,
        volatile=volatile,
        swap=engine.eviction == "swap",
        caching=engine.prefix_caching,
        swap_s=1.0 / engine.swap_tokens_per_s if engine.swap_tokens_per_s else 0.0,
        resume_s=float(rules.resume_s),
        most_anew=MOST_ANEW,
        drafts=engine.speculative_tokens,
        acceptance=float(engine.acceptance),
        exit_at=np.empty(0) if leaving is None else np.array(leaving.fractions, dtype=float),
        exit_until=np.empty(0) if leaving is None else np.cumsum(leaving.probabilities).astype(float),
        exit_stops=leaving is not None and leaving.delivery == "stop",
        kv_of_pause=np.array([0 if c.pause is None else CACHES[c.pause.kv] for c in classes], dtype=np.int64),
        reader_s=np.array([each for _, each in readers]),
        awaited_s=np.array([awaited for awaited, _ in readers]),
        prompt_s=prompt_s,
        token_s=token_s,
        seed=seed,
        jumps=jumps,
        sample_s=float(sample_s),
        timeline=timeline,
        above=UNBOUNDED if when is None else when.above,
        below=UNBOUNDED if when is None or when.below is None else when.below,
        clip=rules.clip,
    )


def reader(request_class: RequestClass) -> tuple[float, float]:
    """Expected time to first token and seconds a token of a class's reader: its TTFT and TPOT limits; NaN without.

    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("a", Poisson(1.0), Exponential(1.0), slo={"ttft_s": 1.0, "tpot_p95_s": 0.2})
    >>> reader(chat)
    (1.0, 0.2)
    """
    from qmodel.workload.slo import limit_of

    ttft, tpot = limit_of(request_class.slo, "ttft"), limit_of(request_class.slo, "tpot")
    return (ttft, tpot) if math.isfinite(ttft) and math.isfinite(tpot) else (math.nan, math.nan)
