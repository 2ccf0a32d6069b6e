"""Files that appear whole or not at all: written beside their place, then renamed.

Everything here raises InputError where the place cannot be written to.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmodel.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise _refused(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(str(path), error.strerror or "cannot be written", "choose another place")


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write text (as UTF-8, with plain line ends) or bytes; a reader never sees half a file."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path
