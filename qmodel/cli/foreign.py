"""Other tools' measurement files as `qmodel fit` reads them: recognised, translated, what is odd said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError

if TYPE_CHECKING:
    from qmodel.fit.csv_text import TextTable
    from qmodel.interop.imported import Imported

OWN = ("profile", "log", "csv")


def readable(paths: Sequence[Path], response: str) -> list[Any]:
    """Each file as it is, if it is a CSV of our own or of no known tool; as a table of text, if a tool's.

    Findings of the reader go to stderr. Raises InputError for logs and figures: what they hold are served
    latencies, to which no service time can be fitted.
    """
    return [_one(path, response) for path in paths]


def _one(path: Path, response: str) -> Path | TextTable:
    from qmodel.interop.content import read_content
    from qmodel.interop.imported import SHAPES
    from qmodel.interop.reading import Options, read_known, recognise

    content = read_content(path)
    if _as_it_is(content.header, response):
        _tell_served(content.header, response)
        return path
    reader = recognise(content)
    if reader is None or reader.kind in OWN:
        return path
    found = read_known(content, reader, Options())
    found.path, found.sha256 = content.path, content.sha256
    if found.shape != "profile":
        served = next((one.sentence for one in found.findings if one.kind == "served"), None)
        what = served or f"holds no service times ({found.title}: {SHAPES[found.shape]})"
        raise InputError(content.path, what, f"read it with: qmodel import {path}")
    return _table(found)


def _tell_served(header: tuple[str, ...], response: str) -> None:
    """A warning where the column named is what users of a loaded server saw."""
    from qmodel.cli.progress import note
    from qmodel.fit.hygiene import is_served, served_findings

    others = [name for name in header if name != response and not is_served(name)]
    for finding in served_findings(dict.fromkeys([response, *others], "")):
        note(f"warning: {finding}")


def _as_it_is(header: tuple[str, ...], response: str) -> bool:
    """Whether the user names a column of the file itself, or it is a profile of our own."""
    return response in header or ("status" in header and "target" in header)


def _table(found: Imported) -> TextTable:
    from qmodel.cli.progress import note
    from qmodel.fit.csv_text import TextTable
    from qmodel.fit.hygiene import profile_findings

    general = {str(one) for one in profile_findings(found.frame, found.factors)}  # fit says these itself
    for finding in found.findings:
        if str(finding) not in general:
            note(f"warning: {finding}")
    names = ", ".join(f"{one.theirs} -> {one.ours}" for one in found.mapping if one.theirs != one.ours)
    note(f"{found.path}: {found.title}; names: {names}")
    text = found.frame.astype(object).where(found.frame.notna(), "").astype(str)
    for name in found.frame.columns:
        if found.frame[name].dtype.kind == "f":
            text[name] = [_number(value) for value in found.frame[name].tolist()]
    return TextTable(found.path, text, found.sha256, found.frame.index)


def _number(value: float) -> str:
    """All digits of a number, whole ones without a point; nothing for NaN."""
    if value != value:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
