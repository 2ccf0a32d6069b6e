"""Reads a profile spec from its TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from qmodel.errors import InputError
from qmodel.measure.spec import ProfileSpec


def load_spec(path: str | os.PathLike[str]) -> ProfileSpec:
    """Read and check a profile spec.

    Raises InputError, on one line, for a file that is missing, empty or not TOML, and for whatever is wrong
    inside.
    """
    file = Path(path)
    return ProfileSpec.of(_read_toml(file), place=str(file), folder=_folder(file))


def _folder(file: Path) -> Path:
    return Path(os.path.abspath(file)).parent  # noqa: PTH100 - resolve() would follow links to another folder


def _read_toml(file: Path) -> dict[str, object]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(str(file), "does not exist", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(str(file), "is not text", "save it as UTF-8") from error
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "name a readable file") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(str(file), f"is not TOML: {error}", "correct that line") from error
    if not content:
        raise InputError(str(file), "is empty", "write at least name, [target] and [factors]")
    return content
