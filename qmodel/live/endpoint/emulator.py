"""Continuous batching with its iterations waited out: a batching engine for people without a GPU.

Iterations follow one another on a clock of their own, so that a late wake-up of this process does not add up: the
next iteration begins when the last should have ended. Where the machine stalls for longer than `STALL_S` that is
given up, and counted. All that comes of it is labelled emulated.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from qmodel.errors import InputError
from qmodel.live.batch import Batch, Sequence, bounds_of
from qmodel.live.endpoint.demand import Demand
from qmodel.live.endpoint.stream import Order, Refused, Stream
from qmodel.service.engine import Engine
from qmodel.service.token_worth import token_worth

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

STALL_S = 0.25


class Emulator:
    """Serves a scenario with batching = "continuous" and a written-out iteration time. Raises InputError."""

    name, device, emulated = "emulated continuous batching", "emulated", True

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        system, engine = scenario.system, scenario.system.engine or Engine()
        if system.iteration_time is None:
            raise InputError("system, iteration_time", "is missing", "give base, per_sequence, ...")
        bounds = bounds_of(engine, system.max_batch, system.kv_capacity_tokens)
        self.worth = token_worth(scenario)
        self.batch = Batch(
            system.iteration_time, scenario.policy, bounds, self.worth, prefill_first=engine.prefill == "first",
            whole_prompt=engine.whole_prompt, resume_s=scenario.preemption.cost_s,
        )  # fmt: skip
        self.versions: dict[str, str] = {}
        self.stalls = 0
        self._demand, self._number = Demand(scenario, seed), 0
        self._arrived = asyncio.Event()

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self.batch.running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self.batch.waiting

    @property
    def memory_used(self) -> float:
        """Share of the KV memory."""
        return self.batch.memory_used

    @property
    def preemptions(self) -> int:
        """How often a sequence was taken off the batch."""
        return self.batch.preemptions

    def admit(self, order: Order) -> Stream:
        """Put a request in the queue. Raises Refused for one that the memory can never hold."""
        seen = self._demand.seen(order)
        if not self.batch.fits(seen.prompt_tokens, seen.output_tokens):
            raise Refused(400, f"{seen.prompt_tokens + seen.output_tokens} tokens exceed the KV memory")
        size_s = self.worth.size(seen.prompt_tokens, seen.output_tokens)
        stream = Stream(order, seen.output_tokens)
        prefix = min(int(seen.request_class.prefix_hit * seen.prompt_tokens), seen.prompt_tokens - 1)
        stream.backend_state = Sequence(
            self._number, self._demand.request(seen, size_s), seen.prompt_tokens, seen.output_tokens, prefix, stream
        )
        self._number += 1
        self.batch.add(stream.backend_state)
        self._arrived.set()
        return stream

    def withdraw(self, stream: Stream) -> None:
        """Take a request out, wherever it is."""
        stream.withdrawn = True
        self.batch.remove(stream.backend_state)

    async def serve(self) -> None:
        """Iteration after iteration, asleep while nobody is there."""
        clock = time.monotonic
        now = clock()
        while True:
            if self.batch.idle:
                self._arrived.clear()
                await self._arrived.wait()
                now = clock()
            iteration = self.batch.begin()
            for one in self.batch.running:
                if math.isnan(one.payload.started_s):
                    one.payload.started_s = now
            now += iteration.seconds
            await asyncio.sleep(max(0.0, now - clock()))
            if clock() - now > STALL_S:
                self.stalls += 1
                now = clock()
            for one in self.batch.finish(iteration):
                one.payload.put(1, now)
                if one.gone:
                    one.payload.end()

    def close(self) -> None:
        """Nothing to release."""
