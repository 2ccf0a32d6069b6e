"""vLLM's V1 scheduler written a second time, one token, block and iteration at a time, in plain Python lists."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qmodel.service.iteration_time import IterationTime


@dataclass
class Sequence:
    """One request."""

    number: int
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0
    held: list[int] = field(default_factory=list)
    decoding: bool = False
    token_s: list[float] = field(default_factory=list)
    preemptions: int = 0


@dataclass
class Replica:
    """FCFS, chunked mixed prefill, recompute on eviction."""

    time: IterationTime
    max_batch: int = 256
    max_tokens: int = 2048
    blocks: int = 10**5
    block_tokens: int = 16
    whole_prompt: bool = True
    prefix_caching: bool = True
    iterations: int = 0
    recovered: int = 0
    holds: dict[int, tuple[int, int]] = field(default_factory=dict)

    def run(self, arrival_s: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> list[Sequence]:
        everyone = [Sequence(i, int(p), int(o)) for i, (p, o) in enumerate(zip(prompt, output, strict=True))]
        waiting: list[Sequence] = []
        running: list[Sequence] = []
        free, now, upcoming = list(range(self.blocks)), 0.0, 0
        while upcoming < len(everyone) or waiting or running:
            while upcoming < len(everyone) and arrival_s[upcoming] <= now:
                waiting.append(everyone[upcoming])
                upcoming += 1
            if not waiting and not running:
                now = float(arrival_s[upcoming])
                continue
            scheduled = self._schedule(waiting, running, free)
            decodes = [s for s, _ in scheduled if s.decoding]
            prefill = sum(n for s, n in scheduled if not s.decoding)
            context = sum(s.prompt + s.generated for s in decodes)
            cached = sum(s.computed for s, _ in scheduled if not s.decoding)
            prompts = len(scheduled) - len(decodes)
            now += self.time.seconds(len(scheduled), context, prefill, prefills=prompts, cached_tokens=cached)
            self.iterations += 1
            for sequence, tokens in scheduled:
                sequence.computed += tokens
                if sequence.computed == sequence.prompt + sequence.generated:
                    sequence.generated += 1
                    sequence.decoding = True
                    sequence.token_s.append(now)
                    if sequence.generated == sequence.output:
                        running.remove(sequence)
                        self._give_back(sequence, free)
        return everyone

    def _schedule(
        self, waiting: list[Sequence], running: list[Sequence], free: list[int]
    ) -> list[tuple[Sequence, int]]:
        budget, scheduled, preempted, at = self.max_tokens, [], False, 0
        while at < len(running) and budget > 0:
            sequence = running[at]
            tokens = min(sequence.prompt + sequence.generated - sequence.computed, budget)
            while (more := self._blocks(sequence.computed + tokens) - len(sequence.held)) > len(free):
                victim = running.pop()
                self._give_back(victim, free)
                victim.computed = 0
                victim.decoding = False
                victim.preemptions += 1
                waiting.insert(0, victim)
                preempted = True
                if victim is sequence:
                    break
            if sequence.number == (waiting[0].number if waiting and preempted else -1):
                break
            self._take(sequence, max(0, more), free)
            scheduled.append((sequence, tokens))
            budget -= tokens
            at += 1
        while not preempted and waiting and budget > 0 and len(running) < self.max_batch:
            sequence = waiting[0]
            total = sequence.prompt + sequence.generated
            again = self._found(sequence, free)
            tokens = min(total - len(again) * self.block_tokens, budget)
            if self._blocks(total if self.whole_prompt else len(again) * self.block_tokens + tokens) > len(free):
                break
            waiting.pop(0)
            running.append(sequence)
            for block in again:
                free.remove(block)
            sequence.held, sequence.computed = again, len(again) * self.block_tokens
            self.recovered += sequence.computed
            self._take(sequence, self._blocks(sequence.computed + tokens) - len(again), free)
            sequence.decoding = sequence.generated > 0 and total - sequence.computed == 1
            scheduled.append((sequence, tokens))
            budget -= tokens
        return scheduled

    def _take(self, sequence: Sequence, blocks: int, free: list[int]) -> None:
        """From the head of the queue; what was in them is lost."""
        for block in free[:blocks]:
            self.holds.pop(block, None)
        sequence.held += free[:blocks]
        del free[:blocks]

    def _give_back(self, sequence: Sequence, free: list[int]) -> None:
        """Full blocks join the queue's end, last first; the others its head, for nothing can be found there."""
        full = sequence.computed // self.block_tokens
        for at, block in enumerate(sequence.held[:full]):
            self.holds[block] = (sequence.number, at)
        free.extend(reversed(sequence.held[:full]))
        free[:0] = sequence.held[full:]
        sequence.held = []

    def _found(self, sequence: Sequence, free: list[int]) -> list[int]:
        """The first blocks of the context, as far as they still are what they were."""
        where = {self.holds[block]: block for block in free if block in self.holds} if sequence.preemptions else {}
        again: list[int] = []
        while self.prefix_caching and (sequence.number, len(again)) in where:
            again.append(where[sequence.number, len(again)])
        return again

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)
