"""What a file holds, looked at once: its bytes (unpacked), its text, its JSON, its header line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, short

LARGEST = 2**31
"""Unpacked files beyond 2 GiB are refused."""
_GZIP, _PARQUET, _TAR = b"\x1f\x8b", b"PAR1", b"ustar"


@dataclass(frozen=True)
class Content:
    """A file's content. `data` is unpacked; `sha256` is that of the file as it lies on disk."""

    path: str
    data: bytes
    sha256: str

    @property
    def is_parquet(self) -> bool:
        """By its magic number."""
        return self.data[:4] == _PARQUET

    @property
    def is_tar(self) -> bool:
        """By its magic number."""
        return self.data[257:262] == _TAR

    @cached_property
    def text(self) -> str:
        """Raises InputError for anything but UTF-8."""
        if self.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(self.path, "is UTF-16 text", "save it as UTF-8")
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(self.path, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
        if "\0" in text[:4096]:
            raise InputError(self.path, "is binary", "give a text file that one of these tools wrote")
        return text

    @cached_property
    def looks_like_json(self) -> bool:
        """Whether the text begins as JSON does."""
        return self.text[:200].lstrip()[:1] in ("{", "[")

    @cached_property
    def json(self) -> Any:
        """The whole file as one JSON value; None where it is not one."""
        if not self.looks_like_json:
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def lines(self) -> Iterator[tuple[int, str]]:
        """Line number and text of every line that is not blank, one at a time."""
        text, begin, k = self.text, 0, 0
        while begin < len(text):
            end = text.find("\n", begin)
            end, k = (len(text) if end < 0 else end), k + 1
            line = text[begin:end]
            if line and not line.isspace():
                yield k, line
            begin = end + 1

    @cached_property
    def first_record(self) -> dict[str, Any]:
        """The first line as a JSON object; empty where it is none."""
        if not self.looks_like_json:
            return {}
        value = parsed(self.text[:10_000_000].lstrip().split("\n", 1)[0])
        return value if isinstance(value, dict) else {}

    @cached_property
    def header(self) -> tuple[str, ...]:
        """Fields of the first line of a CSV file; empty for JSON."""
        if self.is_parquet or self.is_tar or self.looks_like_json:
            return ()
        line = self.text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
        try:
            return tuple(field.strip() for field in next(csv.reader(io.StringIO(line[:100_000]))))
        except (csv.Error, StopIteration):
            return ()

    def has(self, *names: str) -> bool:
        """Whether the header has all these columns."""
        return set(names) <= set(self.header)


def parsed(line: str) -> Any:
    """A line as JSON; None where it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def read_content(path: str | Path) -> Content:
    """The file's content, unpacked if it is gzip. Raises InputError for a file that cannot be read or is empty."""
    place = str(path)
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(place, "does not exist", "check the path") from None
    except IsADirectoryError:
        raise InputError(place, "is a folder", "give a file inside it") from None
    except (OSError, ValueError) as error:
        raise InputError(short(place), f"cannot be read ({error})", "check the path") from None
    data = _unpacked(place, raw) if raw[:2] == _GZIP else raw
    if not data.strip():
        raise InputError(place, "is empty", "give a file with results")
    return Content(place, data, hashlib.sha256(raw).hexdigest())


def _unpacked(place: str, raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(place, f"is not whole gzip ({error})", "fetch it again") from None
    if len(data) > LARGEST:
        raise InputError(place, "unpacks to more than 2 GiB", "cut it into parts")
    return data
