"""The open-loop load generator: sends every request at its scheduled time, whatever has become of those before."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qmodel.live.wire import pack_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPIN_S = 3e-5
"""The end of each wait is spent awake: a sleep ends about this much late."""
LOOK_EVERY_S = 0.2
"""Longest sleep: so often the generator looks whether the server still lives."""

Look = Callable[[int, float], None]
"""Called with the number of requests sent so far and the seconds left until the next; raises to end the run."""


def send_all(
    scheduled_s: NDArray[np.float64], sent_s: NDArray[np.float64], origin: float, descriptor: int, look: Look
) -> None:
    """Write the index of each request to the descriptor at its time; `sent_s` is filled with when it was sent.

    `origin` is the start of the run on the monotonic clock. Raises what `look` raises, and BrokenPipeError when the
    server is gone.
    """
    clock = time.monotonic
    for index, due in enumerate((scheduled_s + origin).tolist()):
        _wait(due, index, look)
        sent_s[index] = clock() - origin
        write(descriptor, index, index, look)


def write(descriptor: int, index: int, sent: int, look: Look) -> None:
    """Write one index; while the pipe is full, which takes thousands that nobody reads, look and try again."""
    message = pack_index(index)
    while True:
        try:
            os.write(descriptor, message)
            return
        except BlockingIOError:
            look(sent, 0.0)
            time.sleep(1e-3)


def _wait(due: float, sent: int, look: Look) -> None:
    clock = time.monotonic
    while (left := due - clock()) > SPIN_S:
        look(sent, left)
        time.sleep(max(min(due - clock() - SPIN_S, LOOK_EVERY_S), 0.0))
    while clock() < due:
        pass


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A collection in mid-run would delay what is sent next."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
