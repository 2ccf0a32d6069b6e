"""The whole real stack with the computation replaced by timed waits: for developing policies, and for tests.

Its runs are labelled emulated wherever they are shown and never count as measured.
"""

from __future__ import annotations

import math
import time

from qmodel.errors import InputError
from qmodel.live.engine import Work

_SPIN_S = 2e-4


class WaitingJob:
    """Waits out the work's size in so many steps; `streams`: every step delivers a token."""

    __slots__ = ("_done", "_steps", "_streams", "_work", "remaining", "tokens")

    def __init__(self, work: Work, steps: int, streams: bool = False) -> None:
        self._work, self._steps, self._streams, self._done = work, steps, streams, 0
        self.remaining, self.tokens = steps, 0

    def step(self) -> None:
        """Wait for one step: asleep but for the last fifth of a millisecond."""
        work, steps, done = self._work, self._steps, self._done
        before = work.share_done(done, steps) if done else 0.0
        step_s = work.size_s * (work.share_done(done + 1, steps) - before)
        end = time.monotonic() + step_s
        if step_s > _SPIN_S:
            time.sleep(step_s - _SPIN_S)
        while time.monotonic() < end:
            pass
        self._done = done + 1
        self.remaining -= 1
        self.tokens += self._streams


class EmulatedEngine:
    """Takes the predicted size of a request.

    In as many steps as its level `steps` or `output_tokens` says (tokens are delivered then), or of `step_s` s.
    """

    emulated = True
    device = "emulated"
    factors: tuple[str, ...] = ()

    def __init__(self, kind: str = "emulated", threads: int = 1, step_s: float = 1e-3) -> None:
        if not (math.isfinite(step_s) and step_s > 0):
            raise InputError("engine 'emulated', step_s", f"{step_s} is no time", "give seconds above 0")
        self.name, self._step_s = kind, step_s

    def start(self, work: Work) -> WaitingJob:
        """A wait of the work's size."""
        tokens = work.levels.get("output_tokens")
        steps = tokens or work.levels.get("steps") or max(1, round(work.size_s / self._step_s))
        return WaitingJob(work, steps, streams=tokens is not None)

    def versions(self) -> dict[str, str]:
        """None: nothing is computed."""
        return {}

    def close(self) -> None:
        """Nothing to release."""
