"""A column of numbers from a CSV file with a header: sizes and arrival times that users measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from qmodel.errors import InputError, nearest


def number_column(path: Path, names: Sequence[str]) -> list[float]:
    """The first of the columns `names` that the file has, as numbers >= 0.

    Raises InputError that names the file, and the line of a value that is no such number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(_numbers(path, csv.DictReader(file), names))
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not text", "save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(str(path), f"is not CSV: {error}", "give a comma-separated file") from error


def _numbers(path: Path, rows: csv.DictReader, names: Sequence[str]) -> Iterator[float]:
    header = list(rows.fieldnames or [])
    if not header:
        raise InputError(str(path), "is empty", f"give a header and a column {names[0]}")
    column = next((name for name in names if name in header), None)
    if column is None:
        raise InputError(f"{path}, column {names[0]}", "is missing", nearest(names[0], header))
    for row in rows:
        yield _number(f"{path}, line {rows.line_num}, {column}", row[column])


def _number(place: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(place, f"{text or ''!r} is not a number >= 0", "correct or remove that row")
    return value
