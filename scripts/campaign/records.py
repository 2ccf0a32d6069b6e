"""The rows of a stage: where they are written, and what an earlier run left."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.plan import Cell, Visit
from campaign.timing import Timing
from qmodel.errors import InputError
from qmodel.measure import rows

PACING = "back-to-back"


def header(factors: Sequence[str]) -> list[str]:
    """Columns of a stage's CSV: those of every profile, and the host's time beside the device's.

    >>> header(["batch_size"])[-6:-3]
    ['latency_s', 'wall_s', 'energy_j']
    """
    names = [name for name in rows.columns(factors) if name != "wall_s"]
    after = names.index("latency_s") + 1
    return [*names[:after], "wall_s", *names[after:]]


def meta_path(csv_path: Path) -> Path:
    """Where the metadata of a CSV stand."""
    return csv_path.with_name(csv_path.stem + ".meta.toml")


def take_over(csv_path: Path, source: Path | None, *, resume: bool) -> bool:
    """Whether there are rows to go on with; copies them from the folder `source` if they lie there.

    Raises InputError when a file stands there that nobody asked to go on with.
    """
    if source is not None and not csv_path.exists():
        for path in (csv_path, meta_path(csv_path)):
            if (source / path.name).exists():
                shutil.copyfile(source / path.name, path)
    if csv_path.exists() and not resume:
        raise InputError(str(csv_path), "is there already", "add --resume to go on with it, or name another --out")
    return csv_path.exists()


@dataclass
class Identity:
    """Fields that are the same in every row of a run."""

    run_id: str
    target: str
    device: str


class Records:
    """Writes rows, and knows of every cell how often it was timed in which block, and why it is closed."""

    def __init__(self, path: Path, factors: Sequence[str], identity: Identity, cells: Sequence[Cell]) -> None:
        self.file = rows.RowFile(path, header(factors))
        self.identity = identity
        self.rows = 0
        self.timed: dict[tuple[tuple[str, ...], int], int] = defaultdict(int)
        self.latencies_s: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self.closed: dict[tuple[str, ...], str] = {}
        self._factors = list(factors)
        self._keys = {self._texts(cell): cell.key for cell in cells}

    def _texts(self, cell: Cell) -> tuple[str, ...]:
        """A cell as the file names it."""
        return cell.phase, *(str(cell.levels.get(name, "")) for name in self._factors)

    def begin(self) -> None:
        """A new, empty file."""
        self.file.begin()

    def recover(self) -> None:
        """Count the rows of an earlier run; raises InputError when they are of another design."""
        for number, row in enumerate(self.file.recover(), start=2):
            texts = row["phase"], *(row[name] for name in self._factors)
            if texts not in self._keys:
                place = f"{self.file.path}, row {number}"
                raise InputError(place, "is of no cell of this stage", "name another folder with --out")
            self._count(self._keys[texts], int(row["block"]), row["status"], row["latency_s"])

    def _count(self, key: tuple[str, ...], block: int, status: str, latency: str) -> None:
        self.rows += 1
        if status == rows.OK:
            self.timed[key, block] += 1
            self.latencies_s[key].append(float(latency))
        else:
            self.closed[key] = status

    def write(self, visit: Visit, timing: Timing, energy_j: float | None, started_at: float) -> None:
        """One repetition, in the file before the next one starts."""
        self._append(
            visit,
            {
                "latency_s": f"{timing.latency_s:.9g}",
                "wall_s": f"{timing.wall_s:.9g}",
                "energy_j": None if energy_j is None else f"{energy_j:.6g}",
                "peak_memory_bytes": timing.peak_memory_bytes,
                "status": rows.OK,
                "started_at": rows.timestamp(started_at),
            },
        )
        self._count(visit.cell.key, visit.block, rows.OK, str(timing.latency_s))

    def close_cell(self, visit: Visit, status: str) -> None:
        """A row that says why the cell is not timed (any more)."""
        self._append(visit, {"status": status, "started_at": rows.timestamp(time.time())})
        self._count(visit.cell.key, visit.block, status, "")

    def _append(self, visit: Visit, fields: dict[str, object]) -> None:
        known = {"pacing": PACING, "block": visit.block, "run_order": self.rows + 1}
        replicate = len(self.latencies_s[visit.cell.key]) + 1
        who = {**vars(self.identity), "phase": visit.cell.phase}
        self.file.append({**who, **visit.cell.levels, **known, "replicate": replicate, **fields})
