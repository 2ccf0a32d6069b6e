"""An engine of the user's own whose memory holds one token: setting up more fails, or the second step does."""

from __future__ import annotations


class Job:
    def __init__(self, tokens):
        self.remaining, self.tokens = tokens, 0

    def step(self):
        if self.tokens:
            raise MemoryError("out of memory")
        self.tokens += 1
        self.remaining -= 1


class Engine:
    name, device, emulated, factors = "failing", "cpu", True, ()

    def __init__(self, kind, threads=1):
        pass

    def start(self, work):
        if work.levels["output_tokens"] == 2:
            raise MemoryError("no room")
        return Job(work.levels["output_tokens"])

    def versions(self):
        return {}

    def close(self):
        pass
