"""How long each visit may take, and how long the rest of the profile will."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qmodel.measure.design import Visit

if TYPE_CHECKING:
    from qmodel.measure.spec import DesignSpec, MeasurementSpec

Quota = tuple[int, int]
NO_DEADLINE_S = 1e9


def row_quota(design: DesignSpec, measurement: MeasurementSpec, block: int) -> Quota:
    """Least and most rows that a cell has at the end of a block: its quota in equal steps, at least one a block."""
    fixed = design.replicates
    least, most = (fixed, fixed) if fixed else (measurement.min_replicates, measurement.max_replicates)
    step = -(-least * block // design.blocks)
    return max(step, block), max(step, block, most * block // design.blocks)


class TimePlan:
    """Shares time among the visits still to be made and estimates how long they will take.

    A cell's own budget is spent evenly over the blocks; of a total budget every visit gets an equal part of
    what is left after warm-ups, so what a quick cell does not need goes to the others. A slow cell may take
    longer, to get its least rows, but not at the cost of later blocks. A resumed run has the part of the total
    budget that belongs to its remaining visits.
    """

    def __init__(
        self,
        visits: Sequence[Visit],
        design: DesignSpec,
        measurement: MeasurementSpec,
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._blocks, self._measurement = clock, design.blocks, measurement
        self._left = list(visits[done:])
        part = len(self._left) / len(visits) if visits else 0.0
        total = measurement.budget_s
        self._end = None if total is None else clock() + total * part
        self._block_s = (total or 0.0) / design.blocks
        self._spent_s: dict[tuple[str, ...], float] = defaultdict(float)
        self._last_s: dict[tuple[str, ...], float] = {}
        self._overheads: list[float] = []
        self._repeats: list[float] = []
        self._pairs: list[tuple[float, float]] = []  # a cell's previous visit, and this one

    def drop(self, key: tuple[str, ...]) -> None:
        """Forget the visits of a cell that failed."""
        self._left = [visit for visit in self._left if visit.cell.key != key]

    def spent(self, key: tuple[str, ...], seconds: float) -> None:
        """Count repetitions made before this run was resumed."""
        self._spent_s[key] += seconds

    def share(self, visit: Visit) -> tuple[float, float]:
        """Seconds of repetitions for this visit, and the seconds after which it ends at its first row."""
        cell_s = self._measurement.cell_budget_s * visit.block / self._blocks - self._spent_s[visit.cell.key]
        if self._end is None:
            return max(0.0, cell_s), NO_DEADLINE_S
        left_s = self._end - self._clock() - self._overhead_s() * len(self._left)
        each_s = left_s / max(1, len(self._left))
        return max(0.0, min(cell_s, each_s)), max(0.0, self._block_left_s(visit.block))

    def _block_left_s(self, block: int) -> float:
        """Seconds of repetitions until the time of this block is over."""
        assert self._end is not None
        still = sum(visit.block == block for visit in self._left)
        later_s = self._block_s * (self._blocks - block)
        return self._end - later_s - self._clock() - self._overhead_s() * still

    def made(self, visit: Visit, overhead_s: float, repeating_s: float) -> None:
        """Learn from a visit that is over."""
        key = visit.cell.key
        self._left = [other for other in self._left if other.number != visit.number]
        if key in self._last_s:
            self._pairs.append((self._last_s[key], repeating_s))
        self._spent_s[key] += repeating_s
        self._last_s[key] = repeating_s
        self._overheads.append(overhead_s)
        self._repeats.append(repeating_s)

    def remaining_s(self) -> float:
        """Estimated seconds to the end.

        A cell seen before takes as long as last time, times what cells seen twice took in proportion; a new
        one takes the mean of those seen; before the first visit all are taken to use their whole share.
        """
        ratio = self._trend()
        usual = sum(self._repeats) / len(self._repeats) if self._repeats else self._full_share_s()
        repeating = sum(
            self._last_s[v.cell.key] * ratio if v.cell.key in self._last_s else usual for v in self._left
        )
        estimate = repeating + self._overhead_s() * len(self._left)
        return estimate if self._end is None else max(0.0, min(estimate, self._end - self._clock()))

    def _trend(self) -> float:
        before = sum(earlier for earlier, _ in self._pairs)
        return sum(later for _, later in self._pairs) / before if before > 0 else 1.0

    def _full_share_s(self) -> float:
        return self._measurement.cell_budget_s / self._blocks

    def _overhead_s(self) -> float:
        seen = self._overheads
        return sum(seen) / len(seen) if seen else self._measurement.warmup_s
