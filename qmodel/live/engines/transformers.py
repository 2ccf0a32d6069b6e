"""transformers' continuous batching under a policy of ours: a paged-KV engine, the same on a CPU and on CUDA.

The model has random weights and no end-of-sequence token: every request makes as many tokens as it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence as Series
from typing import Any

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import Batches
from qmodel.live.engine import Job, Work
from qmodel.live.sequence import Sequence
from qmodel.measure.targets.language_model import POSITIONS
from qmodel.measure.targets.paged_batching import PagedBatching
from qmodel.measure.targets.transformers_batching import WARM_OUTPUT, AllOfThem, TransformersBatching

AMPLE_TOKENS = 32_768
"""KV cache where the scenario sets no bound, at least; and room for twice the largest batch."""
LATER_SEEDS = 24
"""Bits of a request's seed: those above number its pauses."""
SHARE = 0.125
"""Share of the device's memory that a cache for all requests of a run takes at most."""


class TransformersEngine:
    """The target "transformers" behind a live loop; levels `input_tokens` and `output_tokens`.

    Options are those of the target (hidden_size, layers, ..., device, precision). Raises MissingExtra without torch
    and transformers.
    """

    emulated = False
    batching = ("continuous",)
    factors = ("input_tokens", "output_tokens")

    def __init__(self, kind: str, threads: int = 1, **options: Any) -> None:
        self.name = kind
        self._target = TransformersBatching(threads=threads, **options)
        self.device = self._target.device

    def start(self, work: Work) -> Job:
        """Not one request alone: it batches."""
        raise InputError(f"engine '{self.name}'", "serves batches only", "set system.batching = 'continuous'")

    def open(self, batches: Batches, scheduler: BatchScheduler) -> TransformersSession:
        """The manager with a KV cache for this run, warmed by a few requests of its lengths."""
        if batches.longest > POSITIONS:
            raise InputError("input_tokens", f"{batches.longest} tokens in all", f"the model holds {POSITIONS}")
        return TransformersSession(self._target, batches, scheduler)

    def versions(self) -> dict[str, str]:
        """Those of the target."""
        return self._target.versions()

    def close(self) -> None:
        """Release the model."""
        self._target.close()


class TransformersSession:
    """One run on the manager: requests by number there, `Sequence` here.

    `capacity_tokens` is the size of the KV cache.
    """

    def __init__(self, target: TransformersBatching, batches: Batches, scheduler: BatchScheduler) -> None:
        self._target, self._scheduler = target, scheduler
        self._sequences: dict[str, Sequence] = {}
        self._seeds: dict[str, int] = {}
        self._now_s = 0.0
        self.evictions = 0
        self._bounded = batches.kv_capacity_tokens is not None
        cap, block = scheduler.max_batch, batches.kv_block_tokens
        tokens = room(target, batches, scheduler)
        self.capacity_tokens = tokens - tokens % block
        self._paged: PagedBatching = target.batching(
            AllOfThem(), cap, batches.max_batched_tokens, tokens // block, block, batches.shares
        )
        target.warm_up(self._paged, *warming(self.capacity_tokens, cap, batches.longest, block))
        if batches.shares and any(batches.prefixes):
            target.fill(self._paged, max(batches.prefixes))
        self._paged.chooser = self

    def add(self, sequence: Sequence, work: Work) -> None:
        """Draw the prompt from the request's seed and hand it to the manager."""
        name = str(sequence.entry.index)
        self._sequences[name] = sequence
        prompt = self._target.prompt(sequence.prompt, work.seed, sequence.prefix)
        self._paged.add(name, prompt, sequence.most_output)
        self._seeds[name] = work.seed

    def pause(self, sequence: Sequence) -> None:
        """Its KV cache stays, is given up or moves to the host; the last only where memory is bounded."""
        kv = sequence.pauses.kv
        if kv == "swap" and not self._bounded:
            return
        with self._target.engine.guarded():
            self._paged.pause(str(sequence.number), kv)
        sequence.swapped = kv == "swap"
        if kv == "discard":
            sequence.evict()

    def come_back(self, sequence: Sequence) -> None:
        """It reads on: tokens drawn from its seed and the number of the pause."""
        name, service = str(sequence.number), sequence.pauses.services[sequence.visits - 1]
        tokens = self._target.prompt(service.input_tokens, self._seeds[name] + (sequence.visits << LATER_SEEDS))
        self._paged.extend(name, tokens)

    def iterate(self, now_s: float) -> list[tuple[Sequence, int]]:
        """One iteration of the manager."""
        self._now_s = now_s
        with self._target.engine.guarded():
            return [(self._sequences[name], tokens) for name, tokens in self._paged.iterate()]

    @property
    def swap_s(self) -> float:
        """Seconds in which KV caches were moved to the host and back."""
        return self._paged.swap_s

    @property
    def memory_used(self) -> float:
        """Share of the KV cache in use."""
        return self._paged.memory_used

    def drop(self, sequence: Sequence) -> None:
        """Forget a request; one under way is cancelled before the next iteration."""
        if self._sequences.pop(str(sequence.number), None) and sequence.generated < sequence.output:
            self._paged.cancel(str(sequence.number))

    def close(self) -> None:
        """Give the KV cache back."""
        self._paged.close()

    def choose(self, budget: int) -> list[str]:
        """The library asks who goes next: the policy says."""
        return [str(each.entry.index) for each in self._scheduler.choose(budget, self._now_s)]

    def took(self, computed: Series[str]) -> dict[str, int]:
        """The library says who is computed; those whose service starts while the queue is long get fewer tokens."""
        sequences = [self._sequences[name] for name in computed]
        for each in sequences:
            each.swapped = False
        started = self._scheduler.took(sequences)
        return {str(each.entry.index): each.output for each in started if each.entry.reduced}

    def found(self, request_id: str, tokens: int) -> None:
        """The beginning of a request was in the cache."""
        self._sequences[request_id].found(tokens)

    def displaced(self) -> list[str]:
        """Who lost its place, and its KV cache with it."""
        return [str(each.number) for each in self._scheduler.displaced()]

    def spare(self) -> str | None:
        """Who waits with a KV cache that others need."""
        spare = self._scheduler.spare()
        return None if spare is None else str(spare.number)

    def evicted(self, request_id: str) -> None:
        """A KV cache was dropped for want of memory."""
        self.evictions += 1
        self._scheduler.evicted(self._sequences[request_id], self._now_s)


def warming(room: int, cap: int, longest: int, block: int) -> tuple[int, int]:
    """How many requests of how many tokens warm an engine of so much memory; each makes `WARM_OUTPUT` more.

    >>> warming(4096, 8, 500, 16), warming(96, 8, 500, 16), warming(32, 8, 500, 16)
    ((4, 64), (1, 64), (1, 12))
    """
    tokens = max(1, min(longest, 64, room - WARM_OUTPUT - block))
    return max(1, min(cap, 4, room // (tokens + WARM_OUTPUT + block))), tokens


def room(target: TransformersBatching, batches: Batches, scheduler: BatchScheduler) -> int:
    """Tokens of the KV cache: as the scenario says, else ample for those that hold one at the same time.

    They are all requests where those displaced or paused keep theirs, or finished ones leave theirs to be found, as
    far as memory allows; beyond that a cache is dropped and computed anew.
    """
    if batches.kv_capacity_tokens is not None:
        return batches.kv_capacity_tokens
    ample = max(AMPLE_TOKENS, 2 * scheduler.max_batch * (batches.longest + batches.kv_block_tokens))
    if not (scheduler.policy.preemptive or batches.shares or batches.pauses):
        return ample
    most = int(SHARE * target.engine.memory_bytes() / target.kv_bytes_per_token)
    return max(ample, min(batches.all_tokens, most))
