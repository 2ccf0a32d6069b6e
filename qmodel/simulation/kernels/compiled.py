"""Compilation: numba with its cache on disk, and a word to the user while it compiles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core import event
from numba.core.dispatcher import Dispatcher

MESSAGE = "compiling the simulator (once; cached afterwards)"


def inlined(function: Callable[..., Any]) -> Any:
    """`function` compiled into whatever compiled function calls it; for the small parts of an event loop."""
    return part(function, forceinline=True)


def lent(function: Callable[..., Any]) -> Any:
    """`function` compiled into its callers, which own the arrays: no references are counted, and none is made."""
    return part(function, forceinline=True, _nrt=False)


def part(function: Callable[..., Any], **options: Any) -> Any:
    """`function` compiled for compiled callers alone, and once for all whole numbers that are handed over.

    An entry for Python takes longer to compile than a small function; numba would compile another version for
    each constant argument, too.
    """
    dispatcher = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    if isinstance(dispatcher, Dispatcher):
        resolve = dispatcher.get_call_template

        def get_call_template(args: Sequence[Any], kws: Mapping[str, Any]) -> Any:
            plain = {name: types.unliteral(given) for name, given in kws.items()}
            return resolve([types.unliteral(given) for given in args], plain)

        dispatcher.get_call_template = get_call_template  # type: ignore[method-assign, assignment]
    return dispatcher


def compiled(function: Callable[..., Any], **more: Any) -> Any:
    """`function` compiled on first use and cached on disk: beside the source, or in the user's cache folder.

    Where neither can be written it is compiled again in each process.
    """
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True, **more}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(**options)(function)
    _stamp(dispatcher)
    return dispatcher


def _stamp(dispatcher: Any) -> None:
    """Make the cached code of one kernel stale when any kernel's source changes.

    Numba looks at the file of the function alone, yet the code of the functions it calls is compiled into it.
    """
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = _sources()


@cache
def _sources() -> bytes:
    folder = Path(__file__).parent
    text = b"".join(path.name.encode() + path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(text).digest()


_TOLD: set[Callable[[str], None]] = set()


class _Announcer(event.Listener):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_start(self, event: Any) -> None:
        module = getattr(event.data["dispatcher"].py_func, "__module__", "")
        if module.startswith(__package__) and self._tell not in _TOLD:
            _TOLD.add(self._tell)
            self._tell(MESSAGE)

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def announced(tell: Callable[[str], None] | None) -> Iterator[None]:
    """Inside, the first compilation of an event loop (not a load from the cache) calls `tell` with one line.

    Each `tell` hears it once in a process. A user's rank, compiled in every process, is not worth a word.
    """
    if tell is None:
        yield
        return
    with event.install_listener("numba:compile", _Announcer(tell)):
        yield
