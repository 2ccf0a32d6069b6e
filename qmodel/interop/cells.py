"""Cells of other tools' files as numbers, the bad ones named by their rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.content import Content, parsed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_S, MOST_S = 1e-12, 1e7
"""Measured times lie between these."""
LEAST_GOOD = 0.5
"""With fewer good rows than this share the file is refused: it is not what it looks like."""


def number(value: Any) -> float:
    """A JSON value as a float; NaN for text, null, booleans and integers beyond a double.

    >>> number(3), number("3"), number(None), number(True)
    (3.0, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def sayable(value: Any) -> bool:
    """Whether a JSON value is a short text or a finite number: what is kept as a fact of the origin."""
    return (isinstance(value, str) and len(value) < 200) or math.isfinite(number(value))


def numbers(values: Iterable[Any]) -> Floats:
    """JSON values as floats, NaN for what is no number."""
    return np.array([number(value) for value in values], dtype=float)


def column(frame: pd.DataFrame, name: str) -> Floats:
    """A CSV column as floats, NaN for empty cells and text."""
    import pandas as pd

    given = frame[name]
    if given.dtype.kind in "iuf":
        return given.to_numpy(float)
    return pd.to_numeric(given, errors="coerce").to_numpy(float, na_value=math.nan)


def text(frame: pd.DataFrame, name: str) -> list[str]:
    """A CSV column as text, empty where there is nothing."""
    return ["" if value != value else str(value).strip() for value in frame[name].tolist()]


def bad(
    values: Floats,
    what: str,
    rows: Sequence[int],
    *,
    least: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> tuple[NDArray[np.bool_], list[Finding]]:
    """Which values are not finite, below `least`, above `most` or (`whole`) broken, and the finding naming them."""
    fault = ~np.isfinite(values) | (values < least) | (values > most)
    if whole:
        with np.errstate(invalid="ignore"):
            fault |= values != np.rint(values)
    lines = [int(row) for row in np.asarray(rows)[fault]]
    if not lines:
        return fault, []
    wanted = "whole number" if whole else "finite number"
    bound = "" if least == -math.inf else (" above 0" if least > 0 else f" >= {least:g}")
    bound += "" if most == math.inf else f" and <= {most:g}"
    who = f"{len(lines)} row{'' if len(lines) == 1 else 's'}"
    return fault, [finding("unreadable", lines, f"{what} is no {wanted}{bound} in {who}, left out")]


def kept(
    path: str, frame: pd.DataFrame, faults: Sequence[NDArray[np.bool_]], told: Sequence[Finding]
) -> pd.DataFrame:
    """The rows without a fault. Raises InputError where they are not the greater part."""
    out = np.zeros(len(frame), dtype=bool)
    for fault in faults:
        out |= fault
    left = int((~out).sum())
    if left == 0 or left < LEAST_GOOD * len(frame):
        why = str(told[0]) if told else "no row can be read"
        raise InputError(path, f"only {left} of {len(frame)} rows can be read ({why})", "mend the file")
    return frame[~out]


def checked(path: str, frame: pd.DataFrame, rules: dict[str, dict[str, Any]]) -> tuple[pd.DataFrame, list[Finding]]:
    """`frame` without the rows that break a rule of `bad` (column -> its options), and the findings."""
    faults, found = [], []
    lines = [int(k) for k in frame.index]
    for name, options in rules.items():
        fault, told = bad(frame[name].to_numpy(float), name, lines, **options)
        faults.append(fault)
        found += told
    return kept(path, frame, faults, found), found


def parsed_records(content: Content) -> tuple[list[int], list[dict[str, Any]], list[Finding]]:
    """The JSON objects of a file: the one it is, the list it is, or one a line; with their numbers."""
    rows, records, lost = [], [], []
    for k, one in each_record(content):
        if isinstance(one, dict):
            rows.append(k)
            records.append(one)
        else:
            lost.append(k)
    return rows, records, told_lost(content.path, len(rows), lost)


def each_record(content: Content) -> Iterator[tuple[int, Any]]:
    """Number and value of every record: of a list, or of a file of one JSON value a line (None: it is none)."""
    value = content.json
    if isinstance(value, list):
        yield from enumerate(value, 1)
    elif value is not None:
        yield 1, value
    else:
        for k, line in content.lines():
            yield k, parsed(line)


def told_lost(path: str, good: int, lost: Sequence[int]) -> list[Finding]:
    """The finding that names the records which are no JSON object. Raises InputError where they are most."""
    if not good or good < LEAST_GOOD * (good + len(lost)):
        raise InputError(path, f"only {good} of {good + len(lost)} records are JSON objects", "fetch it again")
    return [finding("unreadable", lost, f"{len(lost)} record(s) are no JSON object, left out")] if lost else []
