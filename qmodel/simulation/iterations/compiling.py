"""Compilation of the iteration-level loops: numba, cached on disk under a stamp of all their sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from qmodel.simulation.kernels import compiled as request_level


def part(function: Callable[..., Any]) -> Any:
    """`function` compiled as a part of the loops that call it, which own the arrays: no references are counted."""
    return request_level.part(function, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """`function` compiled into those that call it: for what every iteration does.

    A call would hand over the engine's arrays one by one, which takes longer than the iteration.
    """
    return request_level.part(function, _nrt=False, forceinline=True)


def pasted(function: Callable[..., Any]) -> Any:
    """`function` written out in the one loop that calls it, before anything is compiled, and so compiled once."""
    return request_level.part(function, _nrt=False, inline="always")


def loop(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use and cached on disk, stale as soon as one of the loops' sources changes."""
    dispatcher = request_level.compiled(function, _nrt=False)
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
