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
    """Waits out `size_s` seconds in so many equal steps."""

    __slots__ = ("_step_s", "remaining", "tokens")

    def __init__(self, size_s: float, steps: int) -> None:
        self._step_s, self.remaining, self.tokens = size_s / steps, steps, 0

    def step(self) -> None:
        """Wait for one step: asleep but for the last fifth of a millisecond."""
        end = time.monotonic() + self._step_s
        if self._step_s > _SPIN_S:
            time.sleep(self._step_s - _SPIN_S)
        while time.monotonic() < end:
            pass
        self.remaining -= 1


class EmulatedEngine:
    """Takes the predicted size of a request, in as many steps as its level `steps` says or of `step_s` seconds."""

    emulated = True
    device = "emulated"
    factors: tuple[str, ...] = ()

    def __init__(self, kind: str = "emulated", threads: int = 1, step_s: float = 1e-3) -> None:
        if not (math.isfinite(step_s) and step_s > 0):
            raise InputError("engine 'emulated', step_s", f"{step_s} is no time", "give seconds above 0")
        self.name, self._step_s = kind, step_s

    def start(self, work: Work) -> WaitingJob:
        """A wait of the work's size."""
        return WaitingJob(work.size_s, work.levels.get("steps") or max(1, round(work.size_s / self._step_s)))

    def versions(self) -> dict[str, str]:
        """None: nothing is computed."""
        return {}

    def close(self) -> None:
        """Nothing to release."""
