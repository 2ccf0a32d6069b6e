"""A CSV file as text columns with line numbers: every fault of the file itself is found here."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from qmodel.errors import InputError

WHOLE_FILE = "give a CSV file with a header line"


@dataclass(frozen=True)
class TextTable:
    """Cells as text. The index of `frame` is the line number in the file; `lines` are those of all its rows."""

    path: str
    frame: pd.DataFrame
    sha256: str
    lines: pd.Index
    warnings: tuple[str, ...] = ()

    def place(self, line: int, column: str) -> str:
        """`profile.csv, row 3 (line 4), column steps`."""
        row = int(self.lines.searchsorted(line)) + 1
        return f"{self.path}, row {row} (line {line}), column {column}"


def read_text(path: str | Path | TextTable) -> TextTable:
    """Read a comma-separated file; raises InputError naming the line of the first fault.

    A last row cut short, as a kill leaves it, is dropped with a warning. A table that another reader made of a
    file is taken as it is.
    """
    if isinstance(path, TextTable):
        return path
    place = str(path)
    content = _bytes(Path(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(place, "is not UTF-8 text", WHOLE_FILE) from None
    if not text.strip():
        raise InputError(place, "is empty", WHOLE_FILE)
    header, rows, lines = _records(text, place)
    warnings = _drop_cut_row(header, rows, lines, text, place)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            fault = f"has {len(row)} fields, the header has {len(header)}"
            raise InputError(f"{place}, line {line}", fault, "mend or remove that line")
    if not rows:
        raise InputError(place, "has a header but no rows", "profile something first")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    frame = pd.DataFrame(columns, index=pd.Index(lines), dtype=object)
    return TextTable(place, frame, hashlib.sha256(content).hexdigest(), frame.index, warnings)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(str(path), "does not exist", "check the path") from None
    except IsADirectoryError:
        raise InputError(str(path), "is a folder", "give the CSV files inside it") from None
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read ({error})", "check the path and its permissions") from None


def _records(text: str, place: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line on which each row ends; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append([field.strip() for field in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{place}, line {reader.line_num}", f"is not CSV ({error})", WHOLE_FILE) from None
    header = rows.pop(0)
    _check_header(header, place)
    return header, rows, lines[1:]


def _check_header(header: list[str], place: str) -> None:
    if len(header) == 1 and (header[0][:1] in "{[<%" or not header[0].isprintable()):
        raise InputError(place, "is not CSV", WHOLE_FILE)
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(place, f"is not separated by commas: {header[0][:60]!r}", "save it with commas")
    for name in header:
        if not name:
            raise InputError(f"{place}, header", "has a column without a name", "name it or remove it")
        if header.count(name) > 1:
            raise InputError(f"{place}, header", f"has column '{name}' twice", "rename one of them")


def _drop_cut_row(
    header: list[str], rows: list[list[str]], lines: list[int], text: str, place: str
) -> tuple[str, ...]:
    """Drop a last row that ends early and without a newline."""
    if not rows or len(rows[-1]) >= len(header) or text.endswith("\n"):
        return ()
    line = lines.pop()
    rows.pop()
    return (f"{place}, line {line}: the last row is cut short; it is not used",)
