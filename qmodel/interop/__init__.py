"""Readers of other tools' files: results, traces, measurements; recognised by content, translated, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmodel.interop.answering import answer_of_log
    from qmodel.interop.imported import Imported, Translation
    from qmodel.interop.reading import Options, read_file

__all__ = ["Imported", "Options", "Translation", "answer_of_log", "read_file"]

_HOMES = {
    "answer_of_log": "qmodel.interop.answering",
    "Imported": "qmodel.interop.imported",
    "Translation": "qmodel.interop.imported",
    "Options": "qmodel.interop.reading",
    "read_file": "qmodel.interop.reading",
}


def __getattr__(name: str) -> Any:
    """Import on first use: pandas is slow to load."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
