"""Times cells of a profile again, later: is the host as fast as it was when it was profiled?

The target stays up in a process of its own between looks and does nothing there, so a look begins by waking it up.
Cells are gone through there and back, so that what changes within a look falls on all of them alike. Rows go into a
CSV with the columns of the profile; `block` counts the looks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from qmodel.measure import rows
from qmodel.measure.instructions import row_file, shared_fields, visit_order, worker_of
from qmodel.measure.supervisor import Died, Hung
from qmodel.measure.visit import VisitOrder

if TYPE_CHECKING:
    from qmodel.measure.design import Cell
    from qmodel.measure.spec import ProfileSpec

LEAST, MOST = 4, 2000
WAKING_S, WARM_UP_S, SHARE_S, DEADLINE_S = 0.6, 0.05, 0.2, 0.8
PRECISION = 0.002


class Again:
    """Some cells of a profile, timed whenever `look` is called. A context manager: leaving it ends the target."""

    def __init__(self, spec: ProfileSpec, cells: Sequence[Cell], path: Path) -> None:
        self.cells, self._spec, self._path = list(cells), spec, path
        self._file = row_file(spec, path)
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
        block, places = 1 + max((int(row["block"]) for row in earlier), default=0), range(len(self.cells))
        found: list[list[float]] = [[] for _ in places]
        written, warmup_s = len(earlier), WAKING_S
        for place in (*places, *reversed(places)):
            seconds = self._timed(self.cells[place], block, written, warmup_s)
            found[place] += seconds
            written, warmup_s = written + len(seconds), WARM_UP_S
        return [median(seconds) if seconds else math.nan for seconds in found]

    def _earlier(self) -> list[rows.Row]:
        """What is in the file, which is begun if it is not there."""
        if self._path.exists() and self._path.stat().st_size:
            return self._file.recover()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file.begin()
        return []

    def _timed(self, cell: Cell, block: int, written: int, warmup_s: float) -> list[float]:
        try:
            outcome = self._worker.visit(self._order(cell, block, written, warmup_s), lambda measured: None)
        except (Hung, Died):
            self._worker.stop()
            return []
        return [float(seconds) for seconds in outcome["latencies_s"]]

    def _order(self, cell: Cell, block: int, written: int, warmup_s: float) -> VisitOrder:
        assert self._about is not None
        fields = shared_fields(cell, block, f"again-{rows.timestamp(time.time())}", self._about)
        return visit_order(
            self._spec,
            cell,
            fields,
            warmup_s=warmup_s,
            least=LEAST,
            most=MOST,
            precision=PRECISION,
            share_s=SHARE_S,
            deadline_s=DEADLINE_S,
            seed=f"again/{block}/{written}",
            replicate=1,
            run_order=written + 1,
        )
