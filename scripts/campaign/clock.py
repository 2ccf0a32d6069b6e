"""The time that is left: everything counts from the start of the program."""

from __future__ import annotations

import time

CLOSING_S = 4.0
"""Kept for the end: last state of the machine, metadata, goodbye."""


class Clock:
    """Counts down a budget in seconds. `closing_s` of it are not given away."""

    def __init__(self, budget_s: float, started: float | None = None, closing_s: float = CLOSING_S) -> None:
        self.budget_s = budget_s
        self._started = time.monotonic() if started is None else started
        self._closing_s = min(closing_s, 0.1 * budget_s)

    @property
    def used_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def left_s(self) -> float:
        """Seconds that can still be given to measurements."""
        return self.budget_s - self._closing_s - self.used_s
