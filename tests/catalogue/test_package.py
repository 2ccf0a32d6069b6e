"""What an installed qmodel needs beside its modules is declared as package data."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_data_file_is_packaged() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["qmodel"]
    package = ROOT / "qmodel"
    packaged = {path for pattern in declared for path in package.glob(pattern)}
    code = {".py", ".pyc", ".nbi", ".nbc", ".md"}
    data = {path for path in package.rglob("*") if path.is_file() and path.suffix not in code}
    assert data <= packaged and len(packaged) > 40
