"""One run at a time for each CSV: two would mix their rows."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmodel.errors import InputError


@contextmanager
def only_one(csv_path: Path) -> Iterator[None]:
    """Hold the CSV's lock file; the system lets go of it when the process ends, however it ends.

    Raises InputError when another run holds it.
    """
    path = csv_path.with_name(csv_path.name + ".lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "wait for it, or name another file with -o"
            raise InputError(str(csv_path), "is being written by another run", remedy) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
