"""What a repetition can die of, and how the reason is told."""

from __future__ import annotations

from qmodel.measure.targets.base import OutOfMemory


class TrialFailed(Exception):
    """A repetition failed for a reason that needs no Python type to be understood."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: our own exception, Python's, or an engine's (torch names its `OutOfMemoryError`)."""
    return isinstance(error, OutOfMemory | MemoryError) or type(error).__name__ == "OutOfMemoryError"


def reason(error: BaseException) -> str:
    """The reason in one line.

    >>> reason(ValueError("no layer 9"))
    'ValueError: no layer 9'
    """
    text = " ".join(str(error).split())
    if isinstance(error, TrialFailed):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
