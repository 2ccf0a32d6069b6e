"""Continuous batching without a clock: who is in the coming iteration, how long it takes, and who emits a token.

The rules are those of vLLM's V1 scheduler, as the iteration-level simulation has them: those that run come first,
in order of admission, then the queue in the order of the policy, within a budget of tokens, a cap on sequences and
the blocks of KV memory. A preemptive policy takes the last in its order off the batch for one that goes before;
where memory binds, what is taken off gives its KV cache up, and computes anew what others have overwritten. Who
goes before whom is the business of `qmodel.live.waiting_line`, as with engines that count their memory themselves
(`qmodel.live.batch_scheduler`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qmodel.errors import InputError
from qmodel.live.kv_blocks import KVBlocks
from qmodel.live.scheduler import Key
from qmodel.live.waiting_line import WaitingLine
from qmodel.policy.base import Policy, Request
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import TokenWorth


@dataclass(slots=True, eq=False)
class Sequence:
    """A request as the batch sees it: `prompt` tokens in, `output` tokens to make, `computed` of them in its cache.

    `prefix` tokens are found in a prefix cache; `chunk` is what the coming iteration computes of a prompt;
    `farthest` tokens were computed once, before a cache was lost; `payload` belongs to the caller.
    """

    number: int
    request: Request
    prompt: int
    output: int
    prefix: int = 0
    payload: Any = None
    generated: int = 0
    computed: int = 0
    held: list[int] = field(default_factory=list)
    farthest: int = 0
    chunk: int = 0
    decoding: bool = False
    resumed: bool = False
    started: bool = False
    preemptions: int = 0
    gone: bool = False
    key: Key = field(default=(0.0, 0.0, 0))

    @property
    def context(self) -> int:
        """Prompt and what has been made."""
        return self.prompt + self.generated

    @property
    def reached(self) -> int:
        """Tokens of the prompt that were computed, if only once."""
        return self.prompt if self.generated else min(max(self.computed, self.farthest), self.prompt)

    @property
    def blocks(self) -> int:
        """KV blocks that it holds."""
        return len(self.held)


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one iteration does, and the seconds it takes; `tokens` are those computed."""

    seconds: float
    decoding: list[Sequence]
    prefilling: list[Sequence]
    tokens: int


@dataclass(frozen=True)
class Bounds:
    """What bounds the batch: sequences, tokens an iteration, KV blocks (None: none), tokens a block.

    `prefix_caching`: what free blocks hold is found again until they are needed.
    """

    max_batch: int
    max_tokens: int
    blocks: int | None
    block_tokens: int
    prefix_caching: bool = True

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens.

        >>> Bounds(8, 2048, 100, 16).blocks_for(17)
        2
        """
        return -(-tokens // self.block_tokens)


def bounds_of(engine: Engine, max_batch: int | None, kv_capacity_tokens: int | None) -> Bounds:
    """Bounds of an engine. Raises InputError for what this batch does not do."""
    for name, value, plain in (
        ("prefill", engine.prefill, ("mixed", "first")),
        ("encode", engine.encode, ("mixed",)),
        ("pools", engine.pools, ((),)),
        ("eviction", engine.eviction, ("recompute",)),
        ("lookahead", engine.lookahead, ("none",)),
        ("speculative_tokens", engine.speculative_tokens, (0,)),
    ):
        if value not in plain:
            known = " or ".join(repr(each) for each in plain)
            raise InputError(f"system.engine, {name}", f"{value!r} is not served live", f"use {known}")
    most = engine.max_batched_tokens if max_batch is None else min(max_batch, engine.max_batched_tokens)
    blocks = None if kv_capacity_tokens is None else kv_capacity_tokens // engine.kv_block_tokens
    return Bounds(most, engine.max_batched_tokens, blocks, engine.kv_block_tokens, engine.prefix_caching)


class Batch:
    """The sequences that run and those that wait.

    `worth`: seconds alone of a prompt token and an output token, in which a policy is told of progress;
    `resume_s`: what each resumption of a preempted sequence costs. Raises InputError for a policy that says nothing
    of who is admitted first.

    >>> from qmodel.policy import FCFS
    >>> batch = Batch(IterationTime(base=1.0), FCFS(), Bounds(2, 100, None, 16), TokenWorth(0.01, 1.0))
    >>> batch.add(Sequence(0, Request(0.0, 3.0, 3.0), prompt=10, output=2))
    >>> iteration = batch.begin(); iteration.seconds, iteration.tokens
    (1.0, 10)
    >>> [(one.generated, one.gone) for one in batch.finish(iteration)]
    [(1, False)]
    """

    def __init__(
        self, time: IterationTime, policy: Policy, bounds: Bounds, worth: TokenWorth, *,
        prefill_first: bool = False, whole_prompt: bool = True, resume_s: float = 0.0,
    ) -> None:  # fmt: skip
        if policy.timed:
            fault = "ranks change while requests wait: not run on a batch"
            raise InputError(f"policy '{policy.name}'", fault, "use fcfs or another order")
        self._line: WaitingLine[Sequence] = WaitingLine(policy, worth)
        self.time, self.policy, self.bounds = time, policy, bounds
        self.running: list[Sequence] = []
        self.memory = KVBlocks(bounds.blocks or 0, bounds.prefix_caching)
        self.preemptions = self.iterations = 0
        self._prefill_first, self._whole_prompt = prefill_first, whole_prompt or prefill_first
        self._resume_s, self._extra_s = resume_s, 0.0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    @property
    def idle(self) -> bool:
        """Whether nobody is there."""
        return not self.running and not self._waiting

    @property
    def used(self) -> int:
        """KV blocks in use."""
        return self.memory.used

    @property
    def memory_used(self) -> float:
        """Share of the KV memory in use; 0 where it does not bind."""
        return self.used / self.bounds.blocks if self.bounds.blocks else 0.0

    def fits(self, prompt: int, output: int) -> bool:
        """Whether a request of these lengths can ever be served."""
        blocks = self.bounds.blocks
        return blocks is None or self.bounds.blocks_for(prompt + output - 1) <= blocks

    def add(self, sequence: Sequence) -> None:
        """A request joins the queue."""
        self._wait(sequence)

    def remove(self, sequence: Sequence) -> None:
        """A request leaves unfinished; its slot and its memory are free for the next iteration."""
        if sequence.gone:
            return
        sequence.gone = True
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self._waiting -= 1
        self._release(sequence)

    def begin(self) -> Iteration:
        """Plan the coming iteration; call `finish` when its seconds are over. Somebody must be there."""
        self._extra_s = 0.0
        if self.policy.preemptive and self._waiting:
            self._make_way()
        if self._prefill_first:
            self._fill(self._continue_prompts(self.bounds.max_tokens))
            if any(one.chunk for one in self.running):
                return self._iteration([])
        short = self._hold_blocks()
        if not self._prefill_first or short:
            budget = self._continue_prompts(self._prefill_budget())
            if not short:
                self._fill(budget)
        return self._iteration([one for one in self.running if one.decoding])

    def finish(self, iteration: Iteration) -> list[Sequence]:
        """The iteration is over: those that emit a token, with `gone` set for those whose last it is."""
        emitting = []
        for one in iteration.decoding:
            if not one.gone:
                one.computed += 1
                emitting.append(one)
        for one in iteration.prefilling:
            if not one.gone:
                one.computed += one.chunk
                one.chunk = 0
                if one.computed == one.context:
                    one.decoding = True
                    emitting.append(one)
        for one in emitting:
            one.generated += 1
            if one.generated == one.output:
                self.remove(one)
        self.iterations += 1
        return emitting

    def _iteration(self, decoding: list[Sequence]) -> Iteration:
        prefilling = [one for one in self.running if one.chunk]
        chunk, context = sum(one.chunk for one in prefilling), sum(one.context for one in decoding)
        cached = sum(one.computed for one in prefilling)
        running, computing = len(decoding) + len(prefilling), len(prefilling)
        taken = self.time.seconds(running, context, chunk, prefills=computing, cached_tokens=cached)
        return Iteration(taken + self._extra_s, decoding, prefilling, len(decoding) + chunk)

    def _prefill_budget(self) -> int:
        return self.bounds.max_tokens - sum(one.decoding for one in self.running)

    def _continue_prompts(self, budget: int) -> int:
        """Prompts under way go on, as far as their blocks reach; returns what is left of the budget."""
        for one in self.running:
            if not one.decoding:
                one.chunk = min(one.context - one.computed, budget)
                if self.bounds.blocks is not None:
                    one.chunk = min(one.chunk, one.blocks * self.bounds.block_tokens - one.computed)
                budget -= one.chunk
        return budget

    def _fill(self, budget: int) -> None:
        """Admit from the queue while budget, cap and memory allow."""
        while budget > 0 and len(self.running) < self.bounds.max_batch:
            first = self._first()
            if first is None:
                return
            chunk = self._first_chunk(first, budget)
            if not self._has_memory(first, chunk):
                return
            self._admit(first, chunk)
            budget -= chunk

    def _first(self) -> Sequence | None:
        """The first in the queue; those that left it are dropped."""
        while len(self._line) and self._line.first.gone:
            self._line.pop()
        return self._line.first if len(self._line) else None

    def _cached(self, one: Sequence) -> int:
        """Tokens that need not be computed at admission."""
        found = len(self.memory.found(one.number)) if one.preemptions and not one.blocks else 0
        return max(one.computed, one.prefix, found * self.bounds.block_tokens)

    def _is_prefilled(self, one: Sequence) -> bool:
        """Whether it decodes as soon as it is admitted: all but the last token is in its cache."""
        return one.generated > 0 and one.context - self._cached(one) == 1

    def _first_chunk(self, one: Sequence, budget: int) -> int:
        return 1 if self._is_prefilled(one) else min(one.context - self._cached(one), budget)

    def _has_memory(self, one: Sequence, chunk: int) -> bool:
        if self.bounds.blocks is None:
            return True
        tokens = self._cached(one) + chunk
        if self._whole_prompt:
            tokens = max(tokens, one.context)
        return self.bounds.blocks_for(tokens) - one.blocks <= self.bounds.blocks - self.used

    def _admit(self, one: Sequence, chunk: int) -> None:
        self._line.pop()
        self._waiting -= 1
        if self.bounds.blocks is not None:
            if again := self.memory.take_again(one.number):
                one.held, one.computed = again, len(again) * self.bounds.block_tokens
            tokens = self._cached(one) + chunk
            if self._prefill_first:
                tokens = one.computed if self._is_prefilled(one) else max(tokens, one.context)
            self._take(one, self.bounds.blocks_for(tokens) - one.blocks)
        if one.resumed:
            self._extra_s += self._resume_s
            one.resumed = False
        one.decoding = self._is_prefilled(one)
        if not one.decoding:
            one.computed, one.chunk = self._cached(one), chunk
        one.started = True
        self.running.append(one)

    def _take(self, one: Sequence, blocks: int) -> None:
        one.held += self.memory.take(max(blocks, 0))

    def _release(self, one: Sequence) -> None:
        self.memory.give_back(one.number, one.held, one.computed // self.bounds.block_tokens)
        one.held = []

    def _wait(self, one: Sequence) -> None:
        self._waiting += 1
        self._line.join(one)

    def _make_way(self) -> None:
        """Preempt those that go after the first in the queue, as far as that lets it in."""
        while self.running and (first := self._first()) is not None:
            fits = self._has_memory(first, self._first_chunk(first, self.bounds.max_tokens))
            if len(self.running) < self.bounds.max_batch and fits:
                return
            rank = self._line.first_rank
            behind = [one for one in self.running if self._line.rank(one) > rank]
            if not behind:
                return
            if self.bounds.blocks is not None:
                needed = self.bounds.blocks_for(first.context) - first.blocks
                if needed > self.bounds.blocks - self.used + sum(one.blocks for one in behind):
                    return
            self._preempt(max(behind, key=self._line.rank))

    def _preempt(self, one: Sequence) -> None:
        self.running.remove(one)
        if self.bounds.blocks is not None:
            self._release(one)
            one.farthest, one.computed = max(one.farthest, one.computed), 0
        one.decoding, one.chunk, one.resumed = False, 0, True
        one.preemptions += 1
        self.preemptions += 1
        self._wait(one)

    def _hold_blocks(self) -> bool:
        """Give those that run the blocks of the coming iteration; returns whether somebody had to give way.

        In order of admission: while blocks are short, the last in the policy's order is preempted.
        """
        if self.bounds.blocks is None:
            return False
        short = False
        for one in list(self.running):
            while one in self.running:
                more = self._wanted(one) - one.blocks
                if more <= self.bounds.blocks - self.used:
                    self._take(one, more)
                    break
                short = True
                self._preempt(max(self.running, key=lambda each: (self._line.rank(each), each.number)))
        return short

    def _wanted(self, one: Sequence) -> int:
        chunk = 1 if one.decoding else min(one.context - one.computed, self._prefill_budget())
        return self.bounds.blocks_for(one.computed + chunk)
