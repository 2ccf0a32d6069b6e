"""Pools of servers that each do some of the stages of a request: encode, prefill, decode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from qmodel.errors import InputError, nearest
from qmodel.policy.routing import Routing

Stage = Literal["encode", "prefill", "decode"]
STAGES: tuple[Stage, ...] = get_args(Stage)
COUNTS = ("servers", "max_batch", "max_batched_tokens", "kv_capacity_tokens")


@dataclass(frozen=True)
class Pool:
    """So many servers for these stages, each with its own queue and bounds (None: those of the system).

    `routing`: which server a request joins. When the pool is done with it, what it made (the embeddings of an
    encoder, the KV cache of a prompt) moves on: `transfer_s` plus the prompt's tokens at `transfer_tokens_per_s`.

    >>> Pool(("prefill",), transfer_s=0.01, transfer_tokens_per_s=1e5).moving_s(2000)
    0.03
    """

    stages: tuple[Stage, ...]
    servers: int = 1
    routing: str = "round-robin"
    max_batch: int | None = None
    max_batched_tokens: int | None = None
    kv_capacity_tokens: int | None = None
    transfer_s: float = 0.0
    transfer_tokens_per_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        place = "system.engine.pools"
        for stage in self.stages:
            if stage not in STAGES:
                raise InputError(f"{place}, stages", f"{stage!r} is unknown", nearest(str(stage), list(STAGES)))
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{place}, {name}", f"{value} is below 1", "give 1 or more")
        if not (math.isfinite(self.transfer_s) and self.transfer_s >= 0):
            raise InputError(f"{place}, transfer_s", f"{self.transfer_s} is no time", "give seconds >= 0")
        speed = self.transfer_tokens_per_s
        if speed is not None and not speed > 0:
            raise InputError(f"{place}, transfer_tokens_per_s", f"{speed} is no speed", "give more than 0")
        if Routing.parse(self.routing).kind == "shared" and self.servers > 1:
            fault = "'shared' is not simulated: each server of a pool has a queue of its own"
            raise InputError(f"{place}, routing", fault, "give random, round-robin, jsq, jsq:2 or least-work")
        if self.encodes_only and (self.max_batch is not None or self.kv_capacity_tokens is not None):
            fault = "has no meaning where only encoders run, one request at a time"
            raise InputError(f"{place}, max_batch or kv_capacity_tokens", fault, "leave it out")

    @property
    def encodes_only(self) -> bool:
        """Whether nothing but the encoder runs here."""
        return self.stages == ("encode",)

    def moving_s(self, prompt: Any) -> Any:
        """Seconds until what was made of a prompt of so many tokens (one, or an array) is where it is needed."""
        return self.transfer_s + prompt / (self.transfer_tokens_per_s or math.inf)


def check_order(pools: Sequence[Pool]) -> None:
    """Raise InputError unless the pools do each stage once, in order; encoding may be left to where prompts start.

    >>> check_order([Pool(("encode", "prefill")), Pool(("decode",))])
    """
    place = "system.engine.pools"
    passed = [stage for pool in pools for stage in pool.stages]
    if passed not in (list(STAGES), list(STAGES[1:])) or not all(pool.stages for pool in pools):
        fault = "do " + (", ".join(passed) or "nothing")
        raise InputError(place, fault, "spread encode, prefill, decode over them in this order, each once")
    if pools[-1].transfer_s or pools[-1].transfer_tokens_per_s:
        raise InputError(f"{place}, transfer", "nothing moves on from the last pool", "leave it out")
