"""What has been measured so far: the rows of the CSV, cell by cell."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from qmodel.errors import InputError
from qmodel.measure import rows
from qmodel.measure.design import Cell, Visit

CellKey = tuple[str, ...]


class Ledger:
    """Counts rows and keeps latencies by cell; a cell with a row that is not `ok` is closed, with that status."""

    def __init__(self, file: rows.RowFile, cells: Sequence[Cell]) -> None:
        self.file = file
        self._factors = [name for name in file.header if name not in rows.RESERVED_COLUMNS]
        self._cells = {self._text(cell): cell for cell in cells}
        self._forget()

    def _forget(self) -> None:
        self.rows = 0
        self.latencies_s: dict[CellKey, list[float]] = defaultdict(list)
        self.attempts: dict[CellKey, int] = defaultdict(int)
        self.closed: dict[CellKey, str] = {}

    def _text(self, cell: Cell) -> CellKey:
        """A cell as the file names it."""
        return cell.phase, *(str(cell.levels.get(name, "")) for name in self._factors), cell.pacing

    def _cell(self, row: rows.Row) -> Cell:
        key = row["phase"], *(row[name] for name in self._factors), row["pacing"]
        if key not in self._cells:
            place = f"{self.file.path}, row with run_order {row['run_order']}"
            raise InputError(place, "is of no cell of this design", "remove the file, or name another with -o")
        return self._cells[key]

    @property
    def measured(self) -> bool:
        """Whether any repetition succeeded."""
        return any(self.latencies_s.values())

    def take_up(self, earlier: Sequence[rows.Row]) -> None:
        """Forget all, then count these rows."""
        self._forget()
        for row in earlier:
            self._count(self._cell(row), row["status"], row["latency_s"])

    def _count(self, cell: Cell, status: str, latency: str) -> None:
        self.rows += 1
        self.attempts[cell.key] += 1
        if status == rows.OK:
            self.latencies_s[cell.key].append(float(latency))
        else:
            self.closed[cell.key] = status

    def place_in(self, visits: Sequence[Visit], last: rows.Row) -> int:
        """Number of the visit that a row belongs to."""
        key, block = self._cell(last).key, int(last["block"])
        return next(visit.number for visit in visits if visit.cell.key == key and visit.block == block)

    def add(self, visit: Visit, latencies_s: Sequence[float], status: str) -> None:
        """Count the rows that a visit has written."""
        for seconds in latencies_s:
            self._count(visit.cell, rows.OK, str(seconds))
        if status != rows.OK:
            self._count(visit.cell, status, "")

    def fail(self, visit: Visit, status: str, fixed: Mapping[str, object]) -> None:
        """Write the row that a worker which hung or died could not write, after counting what it did write."""
        self.take_up(self.file.recover())
        row = {
            **fixed,
            "replicate": self.attempts[visit.cell.key] + 1,
            "run_order": self.rows + 1,
            "status": status,
            "started_at": rows.timestamp(time.time()),
        }
        self.file.append(row)
        self._count(visit.cell, status, "")
