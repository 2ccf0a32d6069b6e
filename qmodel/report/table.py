"""Tables: columns that know their unit, cells formatted once for all writers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from qmodel.report import quantity
from qmodel.report.inline import Content, Contentlike, Inline, check_label, content
from qmodel.report.quantity import Estimate, Interval, Quantity, Scale

if TYPE_CHECKING:
    import pandas as pd

Cell = Any
"""None, bool, number, text, Quantity, Interval, Estimate, an inline or a tuple of inlines."""

Align = Literal["left", "right", "center"]
Kind = Literal["auto", "integer", "p-value", "significant"]


@dataclass(frozen=True)
class Column:
    """One column: its numbers are in base `unit` and share one scale and one number of decimals.

    `kind` "significant" gives each cell its own decimals (coefficients over many decades), "p-value" bounds
    the very small. `signed` shows the plus. `sparse` leaves out a value that repeats the one above it. `beside`
    are the numbers of several columns that share one scale and one number of decimals.
    """

    header: Contentlike
    unit: str = ""
    align: Align | None = None
    kind: Kind = "auto"
    digits: int | None = None
    decimals: int | None = None
    signed: bool = False
    sparse: bool = False
    beside: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under columns, with a label for cross references, a caption above and notes below."""

    label: str
    caption: Contentlike
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[Contentlike, ...] = ()

    def __post_init__(self) -> None:
        check_label(self.label)
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.label}: a row has {len(row)} cells for {len(self.columns)} columns")

    @classmethod
    def from_frame(
        cls,
        label: str,
        caption: Contentlike,
        frame: pd.DataFrame,
        columns: Mapping[str, Column],
        notes: tuple[Contentlike, ...] = (),
    ) -> Table:
        """A table of the named columns of a frame, in the order of the mapping."""
        cells = [frame[name].tolist() for name in columns]
        return cls(label, caption, tuple(columns.values()), tuple(zip(*cells, strict=True)), notes)


def estimates(frame: pd.DataFrame, value: str, low: str, high: str) -> list[Estimate]:
    """Three columns of a frame as one of numbers with their intervals."""
    columns = ([None if missing(v) else float(v) for v in frame[name].tolist()] for name in (value, low, high))
    return [Estimate(*triple) for triple in zip(*columns, strict=True)]


@dataclass(frozen=True)
class FormattedTable:
    """What writers set: heads with their unit, alignments, and cells of inlines only."""

    heads: tuple[Content, ...]
    units: tuple[str, ...]
    aligns: tuple[Align, ...]
    rows: tuple[tuple[Content, ...], ...]
    group_starts: frozenset[int]
    """Rows (not the first) where the first sparse column changes."""


def formatted(table: Table) -> FormattedTable:
    """The table with every number formatted."""
    columns = [format_column(c, [row[i] for row in table.rows]) for i, c in enumerate(table.columns)]
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return FormattedTable(
        heads=tuple(content(column.header) for column in table.columns),
        units=tuple(column.unit for column in columns),
        aligns=tuple(column.align for column in columns),
        rows=tuple(thinned(row, above, table.columns) for row, above in zip(rows, [None, *rows], strict=False)),
        group_starts=group_starts(rows, table.columns),
    )


@dataclass(frozen=True)
class FormattedColumn:
    """The cells of one column, the unit they share, and the side they lean to."""

    unit: str
    align: Align
    cells: tuple[Content, ...]


def format_column(column: Column, cells: Sequence[Cell]) -> FormattedColumn:
    """One column with its numbers in one scale."""
    scale, decimals = column_scale(column, cells)
    texts = tuple(cell_content(cell, column, scale, decimals) for cell in cells)
    return FormattedColumn(scale.symbol, alignment(column, cells), texts)


def is_number(cell: Cell) -> bool:
    """Whether a cell is a bare number."""
    return isinstance(cell, Real) and not isinstance(cell, bool)


def missing(cell: Cell) -> bool:
    """Whether a cell holds nothing: None, NaN, or pandas' NA and NaT."""
    return cell is None or (is_number(cell) and math.isnan(cell)) or type(cell).__name__ in {"NAType", "NaTType"}


def numbers_in(cells: Iterable[Cell]) -> list[float]:
    """All numbers of a column; of an estimate the value, of an interval both ends."""
    found: list[float | None] = []
    for cell in cells:
        if isinstance(cell, Estimate | Quantity):
            found.append(cell.value)
        elif isinstance(cell, Interval):
            found += [cell.low, cell.high]
        elif is_number(cell):
            found.append(float(cell))
    return [v for v in found if v is not None and math.isfinite(v)]


def column_scale(column: Column, cells: Sequence[Cell]) -> tuple[Scale, int]:
    """The scale and the decimals that a column's numbers share."""
    shared = [c for c in cells if getattr(c, "unit", "") in ("", column.unit)]
    numbers = list(column.beside) or numbers_in(shared)
    scale = quantity.scale_for(numbers, column.unit, column.digits)
    if column.decimals is not None:
        return scale, column.decimals
    bare = [c for c in shared if not missing(c) and not isinstance(c, str | tuple | Inline)]
    if column.kind == "integer" or (scale.factor == 1.0 and all(isinstance(c, Integral) for c in bare)):
        return scale, 0
    decimals = quantity.common_decimals(numbers, scale, column.digits)
    estimates = [] if column.beside else [c for c in shared if isinstance(c, Estimate)]
    wanted = [quantity.estimate_decimals(c, scale) for c in estimates] or [decimals]
    return scale, max(decimals, min(statistics.median_low(wanted), decimals + 1))


def cell_content(cell: Cell, column: Column, scale: Scale, decimals: int) -> Content:
    """One cell as inlines."""
    if isinstance(cell, bool):
        return content("yes" if cell else "no")
    if missing(cell):
        return content(quantity.DASH)
    if isinstance(cell, Quantity | Estimate | Interval):
        return content(measured_text(cell, column, scale, decimals))
    if is_number(cell):
        return content(number_text(float(cell), column, scale, decimals))
    return content(cell if isinstance(cell, str | tuple | Inline) else str(cell))


def measured_text(cell: Quantity | Estimate | Interval, column: Column, scale: Scale, decimals: int) -> str:
    """A cell that may bring a unit of its own, which only a column without one can take."""
    if cell.unit in ("", column.unit):
        if isinstance(cell, Quantity):
            return quantity.in_scale(cell.value, scale, decimals, column.signed or cell.signed)
        return with_interval(cell, scale, decimals, column.signed)
    if column.unit:
        raise ValueError(f"a cell in {cell.unit} stands in a column in {column.unit}")
    if isinstance(cell, Quantity):
        return str(cell)
    own, places = column_scale(Column("", cell.unit, digits=cell.digits), [cell])
    text = with_interval(cell, own, places, column.signed)
    return quantity.with_unit(text, own.symbol)


def number_text(value: float, column: Column, scale: Scale, decimals: int) -> str:
    """A bare number as its column wants it."""
    if column.kind == "p-value":
        return quantity.p_value(value)
    if column.kind == "significant":
        return quantity.number_in(value, scale, column.digits, column.signed)
    return quantity.in_scale(value, scale, decimals, column.signed)


def with_interval(cell: Estimate | Interval, scale: Scale, decimals: int, signed: bool) -> str:
    """An estimate as "value [low, high]", an interval as "[low, high]"; a dash for what is not known."""
    low, high = (quantity.in_scale(v, scale, decimals, signed) for v in (cell.low, cell.high))
    if isinstance(cell, Interval):
        return quantity.DASH if low == high == quantity.DASH else f"[{low}, {high}]"
    value = quantity.in_scale(cell.value, scale, decimals, signed)
    return f"{value} [{low}, {high}]" if cell.has_interval else value


def alignment(column: Column, cells: Sequence[Cell]) -> Align:
    """As asked for; else numbers to the right and words to the left."""
    if column.align is not None:
        return column.align
    words = [c for c in cells if isinstance(c, str | tuple | bool | Inline)]
    return "left" if len(words) * 2 > len(cells) or not cells else "right"


def thinned(
    row: tuple[Content, ...], above: tuple[Content, ...] | None, columns: Sequence[Column]
) -> tuple[Content, ...]:
    """The row with blanks where sparse columns, from the left, repeat the row above."""
    cells = list(row)
    for i, column in enumerate(columns):
        if column.sparse:
            if above is None or row[i] != above[i]:
                break
            cells[i] = ()
    return tuple(cells)


def group_starts(rows: Sequence[tuple[Content, ...]], columns: Sequence[Column]) -> frozenset[int]:
    """Rows where the first sparse column takes a new value."""
    first = next((i for i, column in enumerate(columns) if column.sparse), None)
    if first is None:
        return frozenset()
    return frozenset(i for i in range(1, len(rows)) if rows[i][first] != rows[i - 1][first])
