"""Ctrl-C and SIGTERM end a command in order: what it holds is put away, and one line says how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from qmodel.errors import Terminated


class Stopped(Exception):
    """A command was ended from outside; `code` is its exit code, 128 and the signal's number."""

    def __init__(self, place: str, number: signal.Signals, remedy: str) -> None:
        super().__init__(f"{place}: stopped by {number.name}" + (f"; {remedy}" if remedy else ""))
        self.code = 128 + number


@contextmanager
def stoppable(place: str, remedy: Callable[[], str] = lambda: "") -> Iterator[None]:
    """An interrupt of what is inside becomes Stopped, with what is to be done then.

    >>> with stoppable("p.csv", lambda: "go on with --resume"):
    ...     raise KeyboardInterrupt
    Traceback (most recent call last):
        ...
    qmodel.cli.stopping.Stopped: p.csv: stopped by SIGINT; go on with --resume
    """
    try:
        yield
    except KeyboardInterrupt as end:
        number = signal.SIGTERM if isinstance(end, Terminated) else signal.SIGINT
        raise Stopped(place, number, remedy()) from end


@contextmanager
def resumable(place: Path, remedy: Callable[[], str]) -> Iterator[None]:
    """Work that leaves something to go on with: SIGTERM ends it in order too, and a second one at once."""
    with stoppable(str(place), remedy):
        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield
            return
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


def rows_kept(csv: Path) -> str:
    """What is left of a CSV that was being written, and how to go on with it.

    >>> rows_kept(Path("nowhere.csv"))
    'nothing was measured yet'
    """
    done = max(0, csv.read_bytes().count(b"\n") - 1) if csv.exists() else 0
    return f"{done} rows are kept: go on with --resume" if done else "nothing was measured yet"
