"""Engines that misbehave on purpose, and the smallest one that does not; the server process imports them."""

from __future__ import annotations

import os
import time


class CountingJob:
    def __init__(self, steps, step_s=0.0):
        self.remaining, self.tokens, self._step_s = steps, 0, step_s

    def step(self):
        time.sleep(self._step_s)
        self.remaining -= 1


class Counting:
    """Counts steps down; `trouble` happens in the service of the request with seed `at`."""

    device, emulated, factors = "test bench", False, ("steps",)

    def __init__(self, kind, threads=1, trouble="", at=0, step_s=1e-3):
        self.name, self._trouble, self._at, self._step_s = kind, trouble, at, step_s
        if trouble == "build":
            raise RuntimeError("no weights")
        if trouble == "exit":
            os._exit(3)
        if trouble == "slow":
            time.sleep(60)

    def start(self, work):
        if self._trouble and work.seed >= self._at:
            return {"raise": Raising, "hang": Hanging, "die": Dying}[self._trouble](4)
        return CountingJob(work.levels["steps"], self._step_s)

    def versions(self):
        return {"counting": "1"}

    def close(self):
        pass


class Raising(CountingJob):
    def step(self):
        raise RuntimeError("cannot\ndo that")


class Hanging(CountingJob):
    def step(self):
        time.sleep(600)


class Dying(CountingJob):
    def step(self):
        print("last words", flush=True)
        os._exit(7)


class Refusing(Counting):
    """Fails every request; emulated, so that no warm-up finds out before."""

    emulated = True

    def start(self, work):
        raise ValueError("never")


class Tokens(CountingJob):
    def step(self):
        super().step()
        self.tokens += 1


class Streaming(Counting):
    def start(self, work):
        return Tokens(work.levels["steps"], self._step_s)
