"""Times cells of a profile again, later: is the host as fast as it was when it was profiled?

The target stays up in a process of its own between looks and does nothing there. Rows go into a CSV with the
columns of the profile; `block` counts the looks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from qmodel.measure import rows
from qmodel.measure.profile import worker_of
from qmodel.measure.supervisor import Died, Hung
from qmodel.measure.visit import VisitOrder

if TYPE_CHECKING:
    from qmodel.measure.design import Cell
    from qmodel.measure.spec import ProfileSpec

LEAST, MOST = 5, 2000
WARM_UP_S, SHARE_S, DEADLINE_S = 0.05, 0.25, 1.0
PRECISION = 0.003


class Again:
    """Some cells of a profile, timed whenever `look` is called. A context manager: leaving it ends the target."""

    def __init__(self, spec: ProfileSpec, cells: Sequence[Cell], path: Path) -> None:
        self.cells, self._spec, self._path = list(cells), spec, path
        names = dict.fromkeys(name for factors in spec.factor_tables() for name in factors)
        self._file = rows.RowFile(path, rows.columns(names))
        self._worker = worker_of(spec, self._file)
        self._about: dict[str, Any] | None = None

    def __enter__(self) -> Again:
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.stop()

    def look(self) -> list[float]:
        """Median latency (s) of each cell now, NaN where it cannot be timed. Raises InputError and OSError."""
        earlier = self._earlier()
        if self._about is None:
            self._about = self._worker.start()
        block = 1 + max((int(row["block"]) for row in earlier), default=0)
        return [self._median(cell, block, len(earlier)) for cell in self.cells]

    def _earlier(self) -> list[rows.Row]:
        """What is in the file, which is begun if it is not there."""
        if self._path.exists() and self._path.stat().st_size:
            return self._file.recover()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file.begin()
        return []

    def _median(self, cell: Cell, block: int, before: int) -> float:
        try:
            outcome = self._worker.visit(self._order(cell, block, before), lambda measured: None)
        except (Hung, Died):
            self._worker.stop()
            return math.nan
        return median(outcome["latencies_s"]) if outcome["latencies_s"] else math.nan

    def _order(self, cell: Cell, block: int, before: int) -> VisitOrder:
        assert self._about is not None
        who = {"run_id": f"again-{rows.timestamp(time.time())}", "target": self._about["name"],
               "device": self._about["device"]}  # fmt: skip
        return VisitOrder(
            phase=cell.phase,
            levels=cell.levels,
            row={**who, "phase": cell.phase, **cell.levels, "pacing": cell.pacing, "block": block},
            warmup_s=WARM_UP_S,
            idle_gap_s=self._spec.design.idle_gap_s if cell.pacing == "idle-gaps" else 0.0,
            least=LEAST,
            most=MOST,
            precision=PRECISION,
            share_s=SHARE_S,
            deadline_s=DEADLINE_S,
            seed=f"again/{block}",
            replicate=1,
            run_order=before + 1,
        )
