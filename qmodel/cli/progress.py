"""Progress on stderr: a bar with a time estimate on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from qmodel.study.watch import Watcher

LINE_EVERY_S = 20.0
"""Where stderr is a file, progress is told at most this often."""


class TerminalWatcher(Watcher):
    """Shows each stage with its progress, and keeps what was said."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]:>11}"),
            TextColumn("[dim]{task.fields[message]}", markup=True),
            console=self.console,
            transient=True,
            refresh_per_second=4,
        )
        self.task = self.bar.add_task("", total=None, left="", message="", visible=False)
        self.name, self.started, self.told = "", 0.0, 0.0
        self.expected: float | None = None

    def __enter__(self) -> TerminalWatcher:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._end_stage(finished=kind is None)
        if self.console.is_terminal:
            self.bar.stop()  # elsewhere it would leave an empty line

    def stage(self, name: str, seconds: float | None = None) -> None:
        self._end_stage()
        self.name, self.started, self.told, self.expected = name, time.monotonic(), time.monotonic(), seconds
        if not self.console.is_terminal:
            self.console.print(f"{name} ..." + ("" if seconds is None else f" about {duration(seconds)}"))
        self.bar.update(self.task, description=name, completed=0, total=None, left="", message="", visible=True)

    def update(self, done: float, total: float, message: str = "", remaining_s: float | None = None) -> None:
        left = f"{duration(self._remaining(done, total) if remaining_s is None else remaining_s)} left"
        self.bar.update(self.task, completed=done, total=total, left=left, message=message)
        if not self.console.is_terminal and time.monotonic() - self.told > LINE_EVERY_S:
            self.told = time.monotonic()
            self.console.print(f"  {100 * done / max(total, 1e-9):3.0f} %, {left}, {message}", markup=False)

    def skip(self, name: str) -> None:
        self._end_stage()
        self.console.print(f"{name}: done in an earlier run", style="dim")

    def say(self, line: str) -> None:
        self.console.print(f"  {line}", markup=False, style="dim")

    def _remaining(self, done: float, total: float) -> float:
        used = time.monotonic() - self.started
        if done <= 0:
            return self.expected or 0.0
        return used * (total - done) / done

    def _end_stage(self, finished: bool = True) -> None:
        if self.name and finished:
            self.console.print(f"{self.name}: {duration(time.monotonic() - self.started)}")
        self.name = ""
        self.bar.update(self.task, visible=False)


def duration(seconds: float) -> str:
    """A time span for people.

    >>> duration(5.2), duration(75), duration(4000)
    ('5 s', '1:15 min', '1:07 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def note(line: str) -> None:
    """One message on stderr."""
    print(line, file=sys.stderr)
