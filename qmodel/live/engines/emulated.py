"""The whole real stack with the computation replaced by timed waits: for developing policies, and for tests.

Its runs are labelled emulated wherever they are shown and never count as measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence as Series

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import Batches
from qmodel.live.engine import Work
from qmodel.live.sequence import Computed, Sequence
from qmodel.service.iteration_time import IterationTime

_SPIN_S = 2e-4


def wait(seconds: float) -> None:
    """Let this time pass: asleep but for the last fifth of a millisecond."""
    end = time.monotonic() + seconds
    if seconds > _SPIN_S:
        time.sleep(seconds - _SPIN_S)
    while time.monotonic() < end:
        pass


class WaitingJob:
    """Waits out the work's size in so many steps; `streams`: every step delivers a token."""

    __slots__ = ("_done", "_steps", "_streams", "_work", "remaining", "tokens")

    def __init__(self, work: Work, steps: int, streams: bool = False) -> None:
        self._work, self._steps, self._streams, self._done = work, steps, streams, 0
        self.remaining, self.tokens = steps, 0

    def step(self) -> None:
        """Wait for one step."""
        work, steps, done = self._work, self._steps, self._done
        before = work.share_done(done, steps) if done else 0.0
        step_s = work.size_s * (work.share_done(done + 1, steps) - before)
        wait(step_s)
        self._done = done + 1
        self.remaining -= 1
        self.tokens += self._streams


class EmulatedEngine:
    """Takes the predicted size of a request, and for batches the iteration time of the system.

    In as many steps as its level `steps` or `output_tokens` says (tokens are delivered then), or of `step_s` s.
    """

    emulated = True
    device = "emulated"
    factors: tuple[str, ...] = ()
    batching = ("dynamic", "continuous")

    def __init__(self, kind: str = "emulated", threads: int = 1, step_s: float = 1e-3) -> None:
        if not (math.isfinite(step_s) and step_s > 0):
            raise InputError("engine 'emulated', step_s", f"{step_s} is no time", "give seconds above 0")
        self.name, self._step_s = kind, step_s

    def start(self, work: Work) -> WaitingJob:
        """A wait of the work's size."""
        tokens = work.levels.get("output_tokens")
        steps = tokens or work.levels.get("steps") or max(1, round(work.size_s / self._step_s))
        return WaitingJob(work, steps, streams=tokens is not None)

    def start_batch(self, works: Series[Work], batches: Batches) -> WaitingJob:
        """One wait for all of them, by their number."""
        assert batches.time is not None
        return WaitingJob(Work({}, batches.time.seconds(len(works))), 1)

    def open(self, batches: Batches, scheduler: BatchScheduler) -> WaitingSession:
        """Iterations that take the time of the system's formula."""
        assert batches.time is not None
        return WaitingSession(batches, scheduler)

    def versions(self) -> dict[str, str]:
        """None: nothing is computed."""
        return {}

    def close(self) -> None:
        """Nothing to release."""


class WaitingSession:
    """Continuous batching without computation: each iteration waits as long as the formula says."""

    def __init__(self, batches: Batches, scheduler: BatchScheduler) -> None:
        assert batches.time is not None
        self._taken, self._budget, self._scheduler = batches.time, batches.max_batched_tokens, scheduler
        self._batches = batches

    def add(self, sequence: Sequence, work: Work) -> None:
        """Nothing to set up."""

    def iterate(self, now_s: float) -> list[tuple[Sequence, int]]:
        """Who is chosen, within the budget, after the wait."""
        computed = within(self._scheduler.choose(self._budget, now_s), self._budget)
        self._scheduler.took([sequence for sequence, _ in computed])
        wait(seconds(self._taken, computed))
        return computed

    def pause(self, sequence: Sequence) -> None:
        """A cache that is given up is lost but for what the next request like it finds."""
        give_up(sequence, self._batches)

    def come_back(self, sequence: Sequence) -> None:
        """Nothing to set up."""

    def drop(self, sequence: Sequence) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to release."""


def within(chosen: Series[Sequence], budget: int) -> list[tuple[Sequence, int]]:
    """The tokens that each may compute, first come first, until the budget is spent; a prefix is always found."""
    computed = []
    for sequence in chosen:
        if budget > 0 and not sequence.computed:
            sequence.found(sequence.prefix)
        tokens = min(sequence.pending, budget)
        if tokens <= 0:
            break
        budget -= tokens
        computed.append((sequence, tokens))
    return computed


def give_up(sequence: Sequence, batches: Batches) -> None:
    """What a pause makes of a KV cache where memory is ample: discarded, its whole blocks are found if any are."""
    if sequence.pauses.kv == "discard":
        whole = sequence.computed - sequence.computed % batches.kv_block_tokens
        sequence.evict(max(whole, sequence.prefix) if batches.shares else 0)


def seconds(taken: IterationTime, computed: Series[tuple[Sequence, int]]) -> float:
    """Time of the iteration that computes these."""
    return Computed.of(computed).seconds(taken)
