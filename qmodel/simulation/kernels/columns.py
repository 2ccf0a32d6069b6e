"""What the event loops read and write: named columns, one entry a request, in order of arrival.

Plain named tuples of arrays, because compiled code takes them as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEVER = np.iinfo(np.int64).max
"""An `above` that no queue reaches: there is no queue condition."""
NO_HYSTERESIS = -1
"""A `below` that says: the condition holds exactly while more than `above` are there."""


class Demand(NamedTuple):
    """What each request brings.

    `service_s` holds for a service that starts while the queue is short, `long_s` while it is long. `mark` and
    `long_mark` are the shares of them after which the result is out (1, or no entries: at the end).
    """

    arrival_s: Floats
    service_s: Floats
    long_s: Floats
    mark: Floats
    long_mark: Floats


class Control(NamedTuple):
    """The queue condition: long with more than `above` in the system, until fewer than `below` (hysteresis).

    A server that takes up a request of the other mode than its last first spends `swap_s`.
    """

    above: int
    below: int
    swap_s: float


class Log(NamedTuple):
    """What becomes of each request: first service, end of service, result out, served in the long-queue mode,
    times interrupted, and how many were served together in its batch (no entries: each alone)."""

    start_s: Floats
    done_s: Floats
    delivered_s: Floats
    reduced: NDArray[np.bool_]
    preemptions: NDArray[np.int64]
    batch: NDArray[np.int64]


def blank_log(n: int, batched: bool = False, at_end: bool = False) -> Log:
    """A log of n requests of which nothing is known yet. `at_end`: results are out as services end."""
    start, done = (np.full(n, np.nan) for _ in range(2))
    delivered = done if at_end else np.full(n, np.nan)
    batch = np.zeros(n if batched else 0, dtype=np.int64)
    return Log(start, done, delivered, np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64), batch)
