"""Compilation of the iteration-level loops: numba, cached on disk under a stamp of all their sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

from qmodel.simulation.kernels import compiled as request_level


def part(function: Callable[..., Any]) -> Any:
    """`function` compiled as a part of the loops that call it, which own the arrays: no references are counted."""
    return njit(error_model="numpy", _nrt=False)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """`function` compiled into those that call it: for what every iteration does.

    A call would hand over the engine's arrays one by one, which takes longer than the iteration.
    """
    return njit(error_model="numpy", _nrt=False, forceinline=True)(function)


def loop(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use and cached on disk, stale as soon as one of the loops' sources changes."""
    dispatcher = request_level.compiled(function)
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = _sources()
    return dispatcher


@cache
def _sources() -> bytes:
    here = Path(__file__).parent
    shared = [here.parent / "kernels" / name for name in ("compiled.py", "rank.py")]
    texts = (path.name.encode() + path.read_bytes() for path in (*sorted(here.glob("*.py")), *shared))
    return hashlib.sha256(b"".join(texts)).digest()
