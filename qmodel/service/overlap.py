"""Work done in parts by two stages at once: an answer, and the tool that reads it while it is written."""

from __future__ import annotations

from qmodel.errors import InputError


def overlapped(first_s: float, second_s: float, parts: int) -> float:
    """Time until both stages are through k equal parts, the second stage taking up each part as it comes (s).

    max(first + second / k, first / k + second): the slower stage runs without a gap, the other adds one part.

    >>> overlapped(10.0, 6.0, 10), overlapped(10.0, 6.0, 1)
    (10.6, 16.0)
    """
    if parts < 1 or not (first_s >= 0 and second_s >= 0):
        raise InputError("overlap", f"{parts} parts of {first_s} and {second_s} s", "give times >= 0 and a part")
    return max(first_s + second_s / parts, first_s / parts + second_s)


def tool_left(first_s: float, second_s: float, parts: int) -> float:
    """What is left of the second stage when the first one ends (s): at most all of it, at least one part.

    >>> round(tool_left(10.0, 6.0, 10), 12), tool_left(10.0, 6.0, 2)
    (0.6, 3.0)
    """
    return overlapped(first_s, second_s, parts) - first_s
