"""Batching engines of the user's own: one that waits its iterations out, and some that fail in one way each."""

from __future__ import annotations

from qmodel.live.engines.emulated import EmulatedEngine, WaitingSession


class Session(WaitingSession):
    """Tells of its memory: a tenth for each request that it holds."""

    def __init__(self, engine, batches, scheduler):
        super().__init__(batches, scheduler)
        self.engine, self.held = engine, set()
        self.capacity_tokens = 160

    @property
    def memory_used(self):
        return len(self.held) / 10

    def add(self, sequence, work):
        if sequence.prompt == 13:
            raise MemoryError("no room")
        self.held.add(sequence)

    def iterate(self, now_s):
        if self.engine.trouble == "stuck":
            self._scheduler.choose(self._budget, now_s)
            self._scheduler.took([])
            return []
        computed = super().iterate(now_s)
        if any(each.prompt == 7 for each, _ in computed):
            raise RuntimeError("broken\nin two")
        return computed

    def drop(self, sequence):
        self.held.discard(sequence)


class Waiting(EmulatedEngine):
    trouble = ""

    def open(self, batches, scheduler):
        return Session(self, batches, scheduler)


class Stuck(Waiting):
    trouble = "stuck"
