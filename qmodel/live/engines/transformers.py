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
from qmodel.measure.targets.transformers_batching import AllOfThem, TransformersBatching

AMPLE_TOKENS = 32_768
"""KV cache where the scenario sets no bound, at least; and room for twice the largest batch."""


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
    """One run on the manager: requests by number there, `Sequence` here."""

    def __init__(self, target: TransformersBatching, batches: Batches, scheduler: BatchScheduler) -> None:
        self._target, self._scheduler = target, scheduler
        self._sequences: dict[str, Sequence] = {}
        self._now_s = 0.0
        cap = scheduler.max_batch
        room = batches.kv_capacity_tokens or max(
            AMPLE_TOKENS, 2 * cap * (batches.longest + batches.kv_block_tokens)
        )
        self._paged: PagedBatching = target.batching(
            AllOfThem(), cap, batches.max_batched_tokens, room // batches.kv_block_tokens, batches.kv_block_tokens
        )
        target.warm_up(self._paged, min(cap, 4), min(batches.longest, 64))
        self._paged.chooser = self

    def add(self, sequence: Sequence, work: Work) -> None:
        """Draw the prompt from the request's seed and hand it to the manager."""
        name = str(sequence.entry.index)
        self._sequences[name] = sequence
        self._paged.add(name, self._target.prompt(sequence.prompt, work.seed), sequence.output)

    def iterate(self, now_s: float) -> list[tuple[Sequence, int]]:
        """One iteration of the manager."""
        self._now_s = now_s
        with self._target.engine.guarded():
            return [(self._sequences[name], tokens) for name, tokens in self._paged.iterate()]

    def drop(self, sequence: Sequence) -> None:
        """Cancel a request."""
        self._paged.cancel(str(sequence.entry.index))

    def close(self) -> None:
        """Give the KV cache back."""
        self._paged.close()

    def choose(self, budget: int) -> list[str]:
        """The library asks who goes next: the policy says."""
        return [str(each.entry.index) for each in self._scheduler.choose(budget, self._now_s)]

    def took(self, computed: Series[str]) -> dict[str, int]:
        """The library says who is computed; those whose service starts while the queue is long get fewer tokens."""
        started = self._scheduler.took([self._sequences[name] for name in computed])
        return {str(each.entry.index): each.output for each in started if each.entry.reduced}

    def evicted(self, request_id: str) -> None:
        """A KV cache was dropped for want of memory."""
        self._scheduler.evicted(self._sequences[request_id], self._now_s)
