"""The profile CSV: its columns, one row at a time, and what a killed run left behind."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qmodel.errors import InputError

OK, OUT_OF_MEMORY, FAILED = "ok", "out_of_memory", "failed: "
BEFORE_FACTORS = ("run_id", "target", "device", "phase")
AFTER_FACTORS = (
    "pacing",
    "replicate",
    "run_order",
    "block",
    "latency_s",
    "energy_j",
    "peak_memory_bytes",
    "status",
    "started_at",
)
RESERVED_COLUMNS = frozenset((*BEFORE_FACTORS, *AFTER_FACTORS, "wall_s"))

Row = dict[str, str]


def columns(factors: Iterable[str]) -> list[str]:
    """All columns in their order.

    >>> columns(["batch_size"])[3:6]
    ['phase', 'batch_size', 'pacing']
    """
    return [*BEFORE_FACTORS, *factors, *AFTER_FACTORS]


def failed(why: object, *, limit: int = 200) -> str:
    """Status of a repetition that failed, on one line.

    >>> failed("no such\\nlayer")
    'failed: no such layer'
    """
    text = " ".join(str(why).split())
    return FAILED + (text if len(text) <= limit else text[: limit - 3] + "...")


def timestamp(seconds: float) -> str:
    """UTC time as written in `started_at`.

    >>> timestamp(0.25)
    '1970-01-01T00:00:00.250000Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def csv_line(values: Iterable[object]) -> bytes:
    """One line of the file; None is an empty field, numbers keep all their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in values])
    return text.getvalue().encode()


@dataclass
class RowFile:
    """Appends rows so that each is in the file, whole, before the next is measured.

    A row is one `write` to a file opened for appending: a process killed at any moment leaves whole rows.
    """

    path: Path
    header: Sequence[str]

    def append(self, row: Mapping[str, object]) -> None:
        """Write one row; raises OSError when the disk will not take it."""
        self._write(csv_line(row.get(name) for name in self.header))

    def begin(self) -> None:
        """Make an empty file with its header, in place of any older one."""
        partial = self.path.with_name(self.path.name + ".part")
        partial.write_bytes(csv_line(self.header))
        partial.replace(self.path)

    def sync(self) -> None:
        """Ask the disk to keep what was written."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        finally:
            os.close(descriptor)

    def recover(self) -> list[Row]:
        """Rows of an earlier run; a last line without its end is cut off the file.

        Raises InputError when the columns are not this design's.
        """
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        if not whole:
            return []
        return read_rows(self.path, self.header)


def read_rows(path: Path, header: Sequence[str] | None = None) -> list[Row]:
    """All rows of a profile CSV; with `header`, its columns must be exactly these.

    Raises InputError for a file that is missing, empty, not text or of other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [row for row in reader if None not in row and None not in row.values()]
            found = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), f"cannot be read: {error}", "name a profile CSV") from error
    missing = [name for name in header or columns([]) if name not in found]
    if missing or (header is not None and found != list(header)):
        fault = f"lacks column {missing[0]}" if missing else "has other columns than this design"
        raise InputError(str(path), fault, "name another file with -o, or remove this one")
    return rows
