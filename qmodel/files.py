"""Writing results: a temporary file beside the target, then a rename."""

from __future__ import annotations

import os
from pathlib import Path

from qmodel.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside `path` and rename: a reader never sees half a file.

    Raises InputError where the place cannot be written to.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be written", "choose another place") from error
