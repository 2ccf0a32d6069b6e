"""The engine of continuous batching: how it fills an iteration, keeps its memory, and guesses ahead."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from qmodel.errors import InputError, nearest
from qmodel.service.pool import Pool, check_order

Prefill = Literal["mixed", "first", "separate"]
Encode = Literal["mixed", "separate"]
Eviction = Literal["recompute", "swap"]
Lookahead = Literal["none", "reserve", "future"]
COUNTS = ("max_batched_tokens", "kv_block_tokens", "prefill_servers", "encode_servers")
AMOUNTS = ("draft_s", "transfer_s", "encode_transfer_s", "power_w", "idle_power_w")
KINDS = (("prefill", Prefill), ("encode", Encode), ("eviction", Eviction), ("lookahead", Lookahead))
SPEEDS = ("swap_tokens_per_s", "transfer_tokens_per_s")


@dataclass(frozen=True)
class Engine:
    """[system.engine]; the default is what vLLM's V1 scheduler does.

    `max_batched_tokens`: tokens of one iteration, decoding ones first. `prefill`: prompts in chunks beside decoding
    requests ("mixed"), in iterations of their own that go first ("first", as vLLM V0), or on servers of their own
    ("separate": `prefill_servers` of them; the KV cache then moves at `transfer_tokens_per_s` after `transfer_s`).
    `encode`: the encoder of images and the like (a class's `encode_s`) runs in the iteration in which the request
    is admitted ("mixed"), or on `encode_servers` of their own, one request at a time, whose embeddings move in
    `encode_transfer_s` ("separate"). `pools` says all this in full: each `Pool`, in the order of their stages.

    `kv_block_tokens`: tokens of a KV block. `whole_prompt`: a request is admitted only while the blocks of its
    whole prompt are free, though it takes them chunk by chunk. `eviction`: what preemption does with a KV cache,
    thrown away and computed anew ("recompute") or moved out and in at `swap_tokens_per_s` between iterations
    ("swap"). `prefix_caching`: blocks that are given back keep what they hold until they are needed, those given
    back longest ago first, so that a request that resumes computes only the rest anew. `lookahead`: admission looks
    at free blocks only ("none"), keeps full lengths reserved ("reserve"), or makes sure that memory suffices at
    every future completion ("future"); the last two know output lengths, and nobody is evicted for want of memory.

    `speculative_tokens`: tokens drafted for each sequence in each iteration, `draft_s` seconds each; each is
    accepted with probability `acceptance` if those before it were. `power_w`: power while an iteration runs,
    `idle_power_w` otherwise.

    >>> Engine(speculative_tokens=3, acceptance=0.5).tokens_per_iteration
    1.875
    """

    max_batched_tokens: int = 2048
    prefill: Prefill = "mixed"
    kv_block_tokens: int = 16
    whole_prompt: bool = True
    eviction: Eviction = "recompute"
    swap_tokens_per_s: float | None = None
    prefix_caching: bool = True
    lookahead: Lookahead = "none"
    speculative_tokens: int = 0
    acceptance: float = 0.0
    draft_s: float = 0.0
    prefill_servers: int = 1
    transfer_tokens_per_s: float | None = None
    transfer_s: float = 0.0
    encode: Encode = "mixed"
    encode_servers: int = 1
    encode_transfer_s: float = 0.0
    pools: tuple[Pool, ...] = ()
    power_w: float | None = None
    idle_power_w: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pools", tuple(self.pools))
        self._check_words()
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"system.engine, {name}", f"{getattr(self, name)} is below 1", "give 1 or more")
        for name in (*AMOUNTS, *SPEEDS):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"system.engine, {name}", f"{value} is out of range", "give a number >= 0")
        for name in SPEEDS:
            if getattr(self, name) == 0:
                raise InputError(f"system.engine, {name}", "is 0: nothing would ever arrive", "give more than 0")
        if not 0 <= self.speculative_tokens <= 64:
            fault = f"{self.speculative_tokens} is out of range"
            raise InputError("system.engine, speculative_tokens", fault, "give 0 to 64")
        if not 0 <= self.acceptance <= 1:
            raise InputError("system.engine, acceptance", f"{self.acceptance} is no probability", "give 0 to 1")
        self._check_combinations()

    def _check_words(self) -> None:
        for name, known in KINDS:
            value = getattr(self, name)
            if value not in get_args(known):
                raise InputError(
                    f"system.engine, {name}", f"{value!r} is unknown", nearest(value, list(get_args(known)))
                )

    def _check_combinations(self) -> None:
        if self.eviction == "swap" and self.swap_tokens_per_s is None:
            raise InputError("system.engine, swap_tokens_per_s", "is missing", "swapping needs its speed")
        if self.prefill != "separate" and (
            self.transfer_s or self.transfer_tokens_per_s or self.prefill_servers > 1
        ):
            fault = f"has no meaning with prefill = '{self.prefill}'"
            raise InputError("system.engine, transfer or prefill_servers", fault, "set prefill = 'separate'")
        if self.encode != "separate" and (self.encode_transfer_s or self.encode_servers > 1):
            fault = f"has no meaning with encode = '{self.encode}'"
            raise InputError("system.engine, encode_servers or encode_transfer_s", fault, "set encode = 'separate'")
        if self.pools:
            if "separate" in (self.prefill, self.encode):
                raise InputError("system.engine, pools", "come beside 'separate'", "give one of the two")
            check_order(self.pools)
        if self.idle_power_w is not None and self.power_w is None:
            raise InputError("system.engine, power_w", "is missing", "give the power of a busy engine too")

    @property
    def tokens_per_iteration(self) -> float:
        """Mean tokens that a decoding sequence emits in an iteration: 1 + a + a^2 + ... + a^k."""
        return math.fsum(self.acceptance**drafted for drafted in range(self.speculative_tokens + 1))

    @property
    def pipeline(self) -> tuple[Pool, ...]:
        """The pools that requests pass, in order; one alone where nothing is separate.

        >>> [pool.stages for pool in Engine(encode="separate", prefill="separate").pipeline]
        [('encode',), ('prefill',), ('decode',)]
        """
        if self.pools:
            return self.pools
        prefill: tuple[Pool, ...] = (Pool(("prefill", "decode")),)
        if self.prefill == "separate":
            moving = {"transfer_s": self.transfer_s, "transfer_tokens_per_s": self.transfer_tokens_per_s}
            prefill = (Pool(("prefill",), self.prefill_servers, **moving), Pool(("decode",)))  # type: ignore[arg-type]
        if self.encode == "separate":
            return (Pool(("encode",), self.encode_servers, transfer_s=self.encode_transfer_s), *prefill)
        return prefill

    @property
    def alone(self) -> Engine:
        """The same engine on one pool, which does all that it is given."""
        prefill: Prefill = "mixed" if self.prefill == "separate" else self.prefill
        return replace(
            self, prefill=prefill, prefill_servers=1, transfer_s=0.0, transfer_tokens_per_s=None, encode="mixed",
            encode_servers=1, encode_transfer_s=0.0, pools=(),
        )  # fmt: skip
