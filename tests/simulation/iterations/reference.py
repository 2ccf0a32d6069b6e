"""vLLM's V1 scheduler written a second time, one token and one iteration at a time, in plain Python lists."""

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
    held: int = 0
    decoding: bool = False
    token_s: list[float] = field(default_factory=list)
    preemptions: int = 0


@dataclass
class Replica:
    """FCFS, chunked mixed prefill, recompute on eviction."""

    time: IterationTime
    max_batch: int = 256
    max_tokens: int = 2048
    blocks: int = 10**12
    block_tokens: int = 16
    whole_prompt: bool = True
    iterations: int = 0

    def run(self, arrival_s: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> list[Sequence]:
        everyone = [Sequence(i, int(p), int(o)) for i, (p, o) in enumerate(zip(prompt, output, strict=True))]
        waiting: list[Sequence] = []
        running: list[Sequence] = []
        free, now, upcoming = self.blocks, 0.0, 0
        while upcoming < len(everyone) or waiting or running:
            while upcoming < len(everyone) and arrival_s[upcoming] <= now:
                waiting.append(everyone[upcoming])
                upcoming += 1
            if not waiting and not running:
                now = float(arrival_s[upcoming])
                continue
            scheduled, free = self._schedule(waiting, running, free)
            decodes = [s for s, _ in scheduled if s.decoding]
            prefill = sum(n for s, n in scheduled if not s.decoding)
            context = sum(s.prompt + s.generated for s in decodes)
            now += self.time.seconds(len(scheduled), context, prefill)
            self.iterations += 1
            for sequence, tokens in scheduled:
                sequence.computed += tokens
                if sequence.computed == sequence.prompt + sequence.generated:
                    sequence.generated += 1
                    sequence.decoding = True
                    sequence.token_s.append(now)
                    if sequence.generated == sequence.output:
                        running.remove(sequence)
                        free += sequence.held
        return everyone

    def _schedule(
        self, waiting: list[Sequence], running: list[Sequence], free: int
    ) -> tuple[list[tuple[Sequence, int]], int]:
        budget, scheduled, preempted, at = self.max_tokens, [], False, 0
        while at < len(running) and budget > 0:
            sequence = running[at]
            tokens = min(sequence.prompt + sequence.generated - sequence.computed, budget)
            while (more := self._blocks(sequence.computed + tokens) - sequence.held) > free:
                victim = running.pop()
                free += victim.held
                victim.held = victim.computed = 0
                victim.decoding = False
                victim.preemptions += 1
                waiting.insert(0, victim)
                preempted = True
                if victim is sequence:
                    break
            if sequence.number == (waiting[0].number if waiting and preempted else -1):
                break
            sequence.held += more
            free -= more
            scheduled.append((sequence, tokens))
            budget -= tokens
            at += 1
        while not preempted and waiting and budget > 0 and len(running) < self.max_batch:
            sequence = waiting[0]
            total = sequence.prompt + sequence.generated
            tokens = min(total, budget)
            if self._blocks(total if self.whole_prompt else tokens) > free:
                break
            waiting.pop(0)
            running.append(sequence)
            sequence.held = self._blocks(tokens)
            free -= sequence.held
            scheduled.append((sequence, tokens))
            budget -= tokens
        return scheduled, free

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)
