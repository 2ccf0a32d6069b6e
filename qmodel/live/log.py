"""The request log: one row per request, written while the run goes on, complete or not there at all."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.wire import Record

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "request_id", "class", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "done_s", "input_tokens",
    "output_tokens", "exit", "status", "started_s", "left_s", "service_s", "size_s", "reduced", "delivered_at",
)  # fmt: skip
"""Columns of every log; those of the factors (`batch_size`, `steps`, ...) come after them."""
_PLANNED = ("work_s", "first_s", "predicted_size_s", "priority", "weight", "deadline_s", "lottery")
_TOKENS = ("input_tokens", "output_tokens")
TOKEN_COLUMNS = ("request_id", "index", "t_s")
OK = "ok"


def partial_path(path: Path) -> Path:
    """Where the log stands while it is written.

    >>> partial_path(Path("live/fcfs.csv")).name
    'fcfs.csv.part'
    """
    return path.with_name(path.name + ".part")


def tokens_path(path: Path) -> Path:
    """Where the times of output tokens stand.

    >>> tokens_path(Path("live/fcfs.csv")).name
    'fcfs.tokens.csv'
    """
    return path.with_name(path.stem + ".tokens.csv")


class RowMaker:
    """Makes rows of the log from the schedule's rows, the times when they were sent, and the server's records."""

    def __init__(self, schedule: pd.DataFrame) -> None:
        self._rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in schedule.to_dict("records")
        ]
        known = {*COLUMNS, *_PLANNED}
        plain = [str(name) for name in schedule.columns if not str(name).endswith("_long")]
        own = [name for name in plain if name not in known]
        self._factors = [*(name for name in _TOKENS if name in plain), *own]
        self.columns = (*COLUMNS, *own)

    def done(self, record: Record, sent_s: float) -> dict[str, Any]:
        """The row of a request that the server is through with."""
        planned = self._rows[record.index]
        row = self._base(record.index, sent_s)
        tokens = record.token_times_s
        row |= {"started_s": record.started_s, "left_s": record.left_s, "service_s": record.service_s}
        row |= {"reduced": int(record.reduced), "exit": _exit(record, planned)}
        if record.reduced:
            row |= {name: planned.get(name + "_long", planned[name]) for name in ("size_s", *self._factors)}
        if "steps" in self._factors:
            row["steps"] = record.steps
        if tokens:
            row |= {"first_token_s": tokens[0], "last_token_s": tokens[-1], "output_tokens": len(tokens)}
        if record.failure:
            return row | {"status": f"failed: {record.failure}"}
        return row | {"done_s": record.delivered_s, "status": OK}

    def missing(self, index: int, sent_s: float, why: str) -> dict[str, Any]:
        """The row of a request that never came back."""
        return self._base(index, sent_s) | {"status": f"failed: {why}"}

    def _base(self, index: int, sent_s: float) -> dict[str, Any]:
        planned = self._rows[index]
        row: dict[str, Any] = dict.fromkeys(self.columns, math.nan)
        row |= {name: planned[name] for name in ("request_id", "class", "scheduled_s", "size_s", "delivered_at")}
        row |= {name: planned[name] for name in self._factors}
        return row | {"sent_s": sent_s, "exit": "", "reduced": 0}


def _exit(record: Record, planned: Mapping[str, Any]) -> str:
    """How it left: whole, with fewer steps because of the queue, delivered early, or stopped by itself."""
    if record.reduced:
        return "reduced"
    if planned["delivered_at"] < 1:
        return "released"
    return "early" if record.steps < planned.get("steps", planned.get("output_tokens", 0)) else "full"


class PartialLog:
    """Rows appended and flushed as they come, to a temporary name beside the log. Raises InputError: disk full."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = partial_path(path)
        self._columns = columns
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._write([list(columns)])

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows and flush them."""
        self._write([[_text(row[name]) for name in self._columns] for row in rows])

    def close(self) -> None:
        """Leave the file as it is."""
        try:
            self._file.close()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        try:
            csv.writer(self._file, lineterminator="\n").writerows(rows)
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame, in the order of request ids."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(columns)).sort_values("request_id", ignore_index=True)
    return frame.astype({"request_id": int, "reduced": int})


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV, times to the nanosecond."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([_text(value) for value in row] for row in frame.itertuples(index=False))
    return out.getvalue()


def read_log(path: Path) -> pd.DataFrame:
    """A request log as a frame. Raises InputError for a missing file, a missing column, text in place of times."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"class": str, "status": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(str(path), f"cannot be read: {error}", "give a request log") from error
    for name in ("request_id", "class", "scheduled_s", "done_s", "status"):
        if name not in frame:
            raise InputError(f"{path}, column {name}", "is missing", "give a request log")
    for name in frame.columns:
        if str(name).endswith("_s") and frame[name].dtype.kind not in "fi":
            raise InputError(f"{path}, column {name}", "holds text", "give seconds")
    return frame.astype({"exit": object}).fillna({"exit": ""}) if "exit" in frame else frame


def _text(value: Any) -> Any:
    if isinstance(value, float):
        if value != value:
            return ""
        return f"{value:.9f}".rstrip("0").rstrip(".") if math.isfinite(value) else repr(value)
    return value


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(str(path), f"cannot be written: {error.strerror}", "make room, or name another folder")
