"""How far a sweep has come, on stderr: one line written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

SILENT_S, LINE_EVERY_S = 1.0, 20.0
"""Nothing is said about what is done at once; where stderr is a file, a line at most this often."""


class Counting:
    """Called with (points done, in all); tells it with an estimate of the time left."""

    def __init__(self) -> None:
        self.started = self.told = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done - 1
        if sys.stderr.isatty():
            if now - self.started > SILENT_S:
                self._over(self._line(done, total, now), done == total)
        elif now - self.told > LINE_EVERY_S:
            self.told = now
            print(self._line(done, total, now), file=sys.stderr, flush=True)

    def _line(self, done: int, total: int, now: float) -> str:
        from qmodel.cli.progress import duration

        assert self.first is not None
        left = (now - self.started) * (total - done) / max(done - self.first, 1)
        return f"{done} of {total} points, about {duration(left)} left"

    def _over(self, line: str, last: bool) -> None:
        print(f"\r\x1b[K{'' if last else line}", end="", file=sys.stderr, flush=True)
