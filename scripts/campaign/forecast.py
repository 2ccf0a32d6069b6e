"""How long a visit will take: from arithmetic before a cell was timed, from its own times afterwards."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from campaign.plan import Cell
from campaign.shapes import Cost
from campaign.timing import Ceilings

REACHED_OPERATIONS, REACHED_BYTES = 0.7, 0.8
"""Shares of the ceilings that real work is taken to reach."""
LAUNCH_S = 6e-6
"""What launching a kernel from Python takes the host."""
CAUTION = 1.3
"""Factor on what has not been measured yet."""


def roofline_s(cost: Cost, ceilings: Ceilings) -> float:
    """Seconds of one repetition: the slower of arithmetic and memory, or of launching where that takes longer.

    >>> round(roofline_s(Cost(7.8e14, 0, 0, 0), Ceilings(7.8e14, 4.3e12)), 4)
    1.4286
    """
    device_s = max(
        cost.operations / (REACHED_OPERATIONS * ceilings.operations_per_s),
        cost.moved_bytes / (REACHED_BYTES * ceilings.bytes_per_s),
    )
    return max(device_s, cost.launches * LAUNCH_S)


class Forecast:
    """Learns from every visit."""

    def __init__(self, ceilings: Ceilings, overhead_s: float) -> None:
        self.ceilings = ceilings
        self._first_overhead_s = overhead_s
        self._calls: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._ratios: dict[str, list[float]] = defaultdict(list)
        self._overheads: list[float] = []

    def learn_call(self, cell: Cell, cost: Cost, seconds: float) -> None:
        """One repetition took so long."""
        if cell.key not in self._calls:
            self._ratios[cell.phase].append(seconds / roofline_s(cost, self.ceilings))
        self._calls[cell.key].append(seconds)

    def learn_overhead(self, seconds: float) -> None:
        """A visit took so long beside its calls and the time for warming up."""
        self._overheads.append(seconds)

    def call_s(self, cell: Cell, cost: Cost) -> float:
        """One repetition."""
        if cell.key in self._calls:
            return median(self._calls[cell.key])
        ratios = self._ratios[cell.phase][-20:]
        return roofline_s(cost, self.ceilings) * (max(0.2, median(ratios)) if ratios else 1.0) * CAUTION

    @property
    def overhead_s(self) -> float:
        """What a visit takes beside its calls and its warm-up."""
        return median(self._overheads[-50:]) if self._overheads else self._first_overhead_s
