"""A profile's summary as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from qmodel.measure import rows

if TYPE_CHECKING:
    from qmodel.measure.summary import CellSummary, ProfileSummary

WIDTH = 80
_MEASURES = ("n", "median", "+-95%", "IQR/med", "")


def lines(summary: ProfileSummary) -> list[str]:
    """A table for each phase, then what holds for all of them."""
    told = [
        f"{summary.rows} rows of {len(summary.cells)} cells in {summary.csv}",
        *_notes(summary),
        *(f"warning: {warning}" for warning in summary.warnings),
    ]
    phases = list(dict.fromkeys(cell.phase for cell in summary.cells))
    tables = [line for phase in phases for line in _phase(phase, summary.cells, len(phases) > 1)]
    return [*tables, *(line for text in told for line in wrap(text, WIDTH))]


def humanise(seconds: float) -> str:
    """Seconds with a fitting unit and three or four digits.

    >>> humanise(0.0035412), humanise(12.0)
    ('3.541 ms', '12 s')
    """
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor:
            return f"{seconds / factor:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"


def _phase(phase: str, cells: Sequence[CellSummary], titled: bool) -> list[str]:
    own = [cell for cell in cells if cell.phase == phase]
    return [*([f"phase {phase}"] if titled else []), *_table(own), ""]


def _table(cells: Sequence[CellSummary]) -> list[str]:
    """Right-aligned columns; headers of several words stand over two lines, to leave room."""
    factors = list(dict.fromkeys(name for cell in cells for name in cell.levels))
    paced = ["pacing"] if len({cell.pacing for cell in cells}) > 1 else []
    header = [*factors, *paced, *_MEASURES]
    body = [_cell_line(cell, factors, bool(paced)) for cell in cells]
    tops, names = zip(*(_split(name) for name in header), strict=True)
    table = [tops, names, *body] if any(tops) else [names, *body]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.rjust, line, widths)).rstrip() for line in table]


def _split(name: str) -> tuple[str, str]:
    """`context_tokens` as two lines of header."""
    top, _, bottom = name.rpartition("_")
    return (f"{top}_", bottom) if top else ("", name)


def _cell_line(cell: CellSummary, factors: Sequence[str], paced: bool) -> list[str]:
    return [
        *(cell.levels.get(name, "") for name in factors),
        *([cell.pacing] if paced else []),
        str(cell.n),
        humanise(cell.median_s) if cell.median_s else "-",
        _percent(cell.half_width),
        _percent(cell.iqr_over_median),
        _remark(cell),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _remark(cell: CellSummary) -> str:
    if cell.status != rows.OK:
        return cell.status if len(cell.status) <= 30 else cell.status[:27] + "..."
    return "" if cell.valid else "scattered"


def _notes(summary: ProfileSummary) -> list[str]:
    scattered = sum(cell.status == rows.OK and not cell.valid for cell in summary.cells)
    notes = [summary.drift.line() if summary.drift else "drift: not testable, each cell was visited once"]
    if summary.pacing:
        notes.append(summary.pacing.line())
    if scattered:
        notes.append(f"{scattered} of {len(summary.cells)} cells are scattered: IQR/median above 10 %")
    return notes
