"""Freeness: how much memory each request of an instance still has to itself."""

from __future__ import annotations

import math


def freeness(free_blocks: float, wanted_blocks: float, *, running: int, waiting: int) -> float:
    """(free blocks - blocks that those waiting want) / (running + waiting); infinite for an instance without any.

    It is as many decode steps as the instance has room for. Sun et al., OSDI 2024, as coded ("remaining steps").

    >>> freeness(30, 5, running=8, waiting=2), freeness(30, 0, running=0, waiting=0)
    (2.5, inf)
    """
    there = running + waiting
    return (free_blocks - wanted_blocks) / there if there else math.inf


def worth_moving(source: float, target: float, source_after: float, target_after: float) -> bool:
    """Whether a move brings the freeness of two instances closer without turning the tables.

    As coded: 0 < difference after < difference before, differences being target - source.

    >>> worth_moving(1.0, 9.0, 4.0, 6.0), worth_moving(1.0, 9.0, 7.0, 3.0)
    (True, False)
    """
    return 0 < target_after - source_after < target - source
