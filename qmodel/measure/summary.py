"""What a profile found: the median of each cell and how well it is known, drift, and what idle gaps cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles, stdev
from typing import Any

from qmodel.errors import InputError
from qmodel.measure import rows
from qmodel.measure.drift import Drift, find_drift
from qmodel.measure.precision import median_interval

STEADY = 0.1
"""A cell is valid when IQR/median is at most this (torch's benchmark timer warns at the same value)."""
_CellKey = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True)
class CellSummary:
    """Latency of one cell; `low_s` and `high_s` bound the 95 % interval of its median (None below 6 rows)."""

    phase: str
    levels: Mapping[str, str]
    pacing: str
    n: int
    median_s: float | None
    low_s: float | None
    high_s: float | None
    iqr_over_median: float | None
    status: str

    @property
    def valid(self) -> bool:
        """Whether the cell ran and its repetitions agree."""
        return self.status == rows.OK and self.iqr_over_median is not None and self.iqr_over_median <= STEADY

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval relative to the median."""
        if self.low_s is None or self.high_s is None or self.median_s is None:
            return None
        return (self.high_s - self.low_s) / 2 / self.median_s


@dataclass(frozen=True)
class PacingRatio:
    """Latency with idle gaps over latency back to back: geometric mean over the pairs, with its 95 % interval."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int

    def line(self) -> str:
        """One sentence for reports."""
        interval = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"idle gaps against back to back: latency x {self.ratio:.3f}{interval} over {self.pairs} pairs"


@dataclass(frozen=True)
class ProfileSummary:
    """What came of a profile; `lines()` prints it."""

    csv: Path
    cells: Sequence[CellSummary]
    drift: Drift | None
    pacing: PacingRatio | None
    rows: int
    duration_s: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[CellSummary]:
        """Cells that failed or ran out of memory."""
        return [cell for cell in self.cells if cell.status != rows.OK]

    def lines(self) -> list[str]:
        """The summary as text of at most 80 columns (longer only where factor names are)."""
        from qmodel.measure.summary_text import lines

        return lines(self)


def summarise_profile(csv_path: str | Path) -> ProfileSummary:
    """Summary of a profile CSV; raises InputError for a file that is none, or holds no measurement."""
    path = Path(csv_path)
    table = rows.read_rows(path)
    if not table:
        raise InputError(str(path), "holds no rows", "run the profile again")
    factors = [name for name in table[0] if name not in rows.RESERVED_COLUMNS]
    cells: dict[_CellKey, list[rows.Row]] = defaultdict(list)
    for row in table:
        cells[row["phase"], tuple(row[name] for name in factors), row["pacing"]].append(row)
    visits = _visit_medians(cells, path)
    drift = find_drift((key, order, middle) for (key, _), (order, middle) in visits.items())
    summaries = [_summarise(key, factors, found, path) for key, found in sorted(cells.items(), key=_natural)]
    return ProfileSummary(path, summaries, drift, _pacing_ratio(visits, summaries), len(table))


def _natural(item: tuple[_CellKey, object]) -> tuple[object, ...]:
    """Order cells by phase and by the size of their levels."""
    phase, levels, pacing = item[0]
    return phase, [_as_number(level) for level in levels], pacing


def _as_number(level: str) -> tuple[int, float, str]:
    try:
        return 0, float(level), ""
    except ValueError:
        return 1, 0.0, level


def _latencies(found: Sequence[rows.Row], path: Path) -> list[float]:
    """Latencies of the rows that succeeded, checked."""
    values = []
    for row in found:
        if row["status"] == rows.OK:
            values.append(_latency(row, path))
    return values


def _latency(row: rows.Row, path: Path) -> float:
    try:
        value = float(row["latency_s"])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        place = f"{path}, row with run_order {row['run_order']}, latency_s"
        raise InputError(place, f"is {row['latency_s'] or 'empty'}", "remove the row, or measure again")
    return value


def _summarise(key: _CellKey, factors: Sequence[str], found: Sequence[rows.Row], path: Path) -> CellSummary:
    phase, levels, pacing = key
    values = _latencies(found, path)
    middle = median(values) if values else None
    low, high = median_interval(values) or (None, None)
    bad = [row["status"] for row in found if row["status"] != rows.OK]
    named = {name: level for name, level in zip(factors, levels, strict=True) if level != ""}
    spread = _iqr(values) / middle if middle else None
    return CellSummary(phase, named, pacing, len(values), middle, low, high, spread, bad[0] if bad else rows.OK)


def _iqr(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return upper - lower


_Visits = dict[tuple[_CellKey, str], tuple[float, float]]


def _visit_medians(cells: Mapping[_CellKey, Sequence[rows.Row]], path: Path) -> _Visits:
    """(cell, block) -> (mean place in the run order, median latency)."""
    visits: dict[tuple[_CellKey, str], list[rows.Row]] = defaultdict(list)
    for key, found in cells.items():
        for row in found:
            if row["status"] == rows.OK:
                visits[key, row["block"]].append(row)
    return {
        key: (fmean(float(row["run_order"]) for row in found), median(_latencies(found, path)))
        for key, found in visits.items()
    }


def _pacing_ratio(visits: _Visits, cells: Sequence[CellSummary]) -> PacingRatio | None:
    """Pairs are cells that differ in pacing alone; with a single such pair, its blocks."""
    medians: dict[tuple[Any, Any, str], float] = {
        (c.phase, tuple(c.levels.items()), c.pacing): c.median_s for c in cells if c.median_s
    }
    logs = _log_ratios(medians)
    if len(logs) == 1:
        logs = _log_ratios({(key[:2], block, key[2]): middle for (key, block), (_, middle) in visits.items()})
    if not logs:
        return None
    mean, half = fmean(logs), _t_half_width(logs)
    low, high = (None, None) if half is None else (math.exp(mean - half), math.exp(mean + half))
    return PacingRatio(math.exp(mean), low, high, len(logs))


def _log_ratios(medians: Mapping[tuple[Any, Any, str], float]) -> list[float]:
    return [
        math.log(value / medians[a, b, "back-to-back"])
        for (a, b, pacing), value in medians.items()
        if pacing == "idle-gaps" and (a, b, "back-to-back") in medians
    ]


def _t_half_width(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % t interval of the mean; None below two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
