"""Who is told how a study gets on: the terminal, a test, or nobody."""

from __future__ import annotations


class Watcher:
    """Told of every stage and its progress; this one keeps silent, and is the base of those that speak."""

    def stage(self, name: str, seconds: float | None = None) -> None:
        """A stage begins; it is expected to take about so many seconds."""

    def update(self, done: float, total: float, message: str = "", remaining_s: float | None = None) -> None:
        """Progress inside the stage."""

    def skip(self, name: str) -> None:
        """A stage was finished in an earlier run."""

    def say(self, line: str) -> None:
        """A finding or a warning, one line."""
