"""What the rows of a stage say: cells, replicate noise, memory, throughput against the device's ceilings."""

from __future__ import annotations

import csv
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from campaign.records import meta_path
from qmodel.errors import InputError
from qmodel.measure import rows

Row = dict[str, str]
CellKey = tuple[str, ...]
NOT_FACTORS = rows.RESERVED_COLUMNS | {"wall_s"}


@dataclass(frozen=True)
class StageFile:
    """A stage's rows and metadata."""

    path: Path
    rows: Sequence[Row]
    meta: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> StageFile:
        """Raises InputError when the CSV or its metadata cannot be read."""
        try:
            meta = tomllib.loads(meta_path(path).read_text(encoding="utf-8"))
            with path.open(newline="", encoding="utf-8") as file:
                found = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(str(path), f"cannot be read: {error}", "bring the CSV and its .meta.toml") from error
        return cls(path, found, meta)

    @property
    def name(self) -> str:
        """The stage."""
        return str(self.meta.get("stage", self.path.stem))

    @property
    def device(self) -> str:
        """The hardware."""
        return str(self.meta["target"]["device"])

    @property
    def tried(self) -> bool:
        """Whether this is a smoke test: a tiny model under the name of the stage."""
        return bool(self.meta.get("scale") == "smoke")

    @property
    def factors(self) -> list[str]:
        """Factor columns."""
        return [name for name in (self.rows[0] if self.rows else {}) if name not in NOT_FACTORS]

    def cell_of(self, row: Row) -> CellKey:
        """The cell a row belongs to."""
        return row["phase"], *(row[name] for name in self.factors)

    def latencies(self) -> dict[CellKey, list[float]]:
        """Seconds by cell, rows that succeeded only."""
        found: dict[CellKey, list[float]] = defaultdict(list)
        for row in self.rows:
            if row["status"] == rows.OK:
                found[self.cell_of(row)].append(float(row["latency_s"]))
        return found

    def with_status(self, status: str) -> int:
        """Cells that have a row whose status begins so."""
        return len({self.cell_of(row) for row in self.rows if row["status"].startswith(status)})


@dataclass(frozen=True)
class Noise:
    """Replicate noise: standard deviation over mean within a cell, its median and worst over the cells."""

    middle: float
    worst: float
    host_share: float
    """Median over all rows of (wall - device time) / wall: launching, events, waking up."""


def noise_of(file: StageFile) -> Noise | None:
    """None without a cell that was timed twice."""
    spreads = [stdev(values) / fmean(values) for values in file.latencies().values() if len(values) > 1]
    if not spreads:
        return None
    walls = [(float(r["wall_s"]), float(r["latency_s"])) for r in file.rows if r["status"] == rows.OK]
    return Noise(median(spreads), max(spreads), median((wall - own) / wall for wall, own in walls))


@dataclass(frozen=True)
class Extreme:
    """One cell worth naming: its levels, median seconds, and what it reaches of a ceiling."""

    levels: str
    seconds: float
    text: str


def highlights(file: StageFile) -> list[Extreme]:
    """The quickest cell and the one that reaches most of what the device can do, phase by phase."""
    from campaign.costs import of_decoder, of_unet
    from campaign.plan import Cell
    from campaign.stages import LATENT_DIFFUSION, TINY_UNET, shape_named

    shape = shape_named(str(file.meta["target"]["name"]))
    if shape is not None:
        cost_of = of_decoder(shape)
    else:
        full = file.meta["target"]["name"] == "unet-latent"
        cost_of = of_unet(LATENT_DIFFUSION if full else TINY_UNET, "bfloat16")
    ceilings = file.meta["session"][0]["ceilings"]
    executions = [row["execution"] for row in file.rows if row.get("execution")]
    usual = max(set(executions), key=executions.count, default="")
    found: dict[str, list[tuple[float, float, float, str]]] = defaultdict(list)
    for key, values in file.latencies().items():
        levels = {name: _level(text) for name, text in zip(file.factors, key[1:], strict=True) if text}
        if levels.get("precision", "bfloat16") != "bfloat16" or levels.get("execution", usual) != usual:
            continue
        cost, seconds = cost_of(Cell(key[0], levels)), median(values)
        label = ", ".join(f"{name} {level}" for name, level in levels.items() if not isinstance(level, str))
        operations = cost.operations / seconds / ceilings["operations_per_s"]
        moved = cost.moved_bytes / seconds / ceilings["bytes_per_s"]
        found[key[0]].append((seconds, operations, moved, label))
    return [extreme for phase, cells in found.items() for extreme in _extremes(phase, cells)]


def _extremes(phase: str, cells: Sequence[tuple[float, float, float, str]]) -> list[Extreme]:
    """A decode step is held against the copy bandwidth, all else against the product rate."""
    quickest = min(cells)
    kind, place = ("copy bandwidth", 2) if phase == "decode" else ("product rate", 1)
    best = max(cells, key=lambda cell: cell[place])
    share = float(best[place])
    return [
        Extreme(f"{phase}: {quickest[3]}", quickest[0], "quickest"),
        Extreme(f"{phase}: {best[3]}", best[0], f"{100 * share:.0f} % of the {kind} measured beside it"),
    ]


def _level(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def energies(file: StageFile) -> dict[CellKey, float]:
    """Median joules of a repetition, of the cells where energy was measured."""
    found: dict[CellKey, list[float]] = defaultdict(list)
    for row in file.rows:
        if row["status"] == rows.OK and row["energy_j"]:
            found[file.cell_of(row)].append(float(row["energy_j"]))
    return {key: median(values) for key, values in found.items()}
