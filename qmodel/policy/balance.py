"""Sharing out work over machines that run side by side."""

from __future__ import annotations

from collections.abc import Sequence


def longest_first(works: Sequence[float], machines: int) -> list[int]:
    """The machine of each piece: longest piece first, to the machine with the least work (Graham's LPT).

    Its makespan is at most 4/3 - 1/(3 machines) times the best.

    >>> longest_first([3.0, 1.0, 2.0], 2)
    [0, 1, 1]
    """
    loads, chosen = [0.0] * machines, [0] * len(works)
    for i in sorted(range(len(works)), key=lambda i: (-works[i], i)):
        chosen[i] = min(range(machines), key=loads.__getitem__)
        loads[chosen[i]] += works[i]
    return chosen


def makespan(works: Sequence[float], machine: Sequence[int]) -> float:
    """When the last machine is done.

    >>> makespan([3.0, 1.0, 2.0], [0, 1, 1])
    3.0
    """
    loads: dict[int, float] = {}
    for work, at in zip(works, machine, strict=True):
        loads[at] = loads.get(at, 0.0) + work
    return max(loads.values())
