"""A threshold that follows the traffic: watched, analysed, planned by value iteration, carried out (MAPE-K).

The rate is that of the last `window_s` seconds; the threshold is the optimum of the decision problem at the nearest
rate of a table, worked out beforehand. One that is told the true rate is the oracle that it is measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError
from qmodel.planning.queue_control import QueueControl, policy_iteration


@dataclass(frozen=True)
class Planned:
    """The best threshold by rate: `thresholds[i]` at `rates[i]`, in rising order.

    >>> from qmodel.workload import Exponential
    >>> two = QueueControl(0.5, (Exponential(mean=1.0), Exponential(mean=0.4)), (0.0, 0.1), price=0.01)
    >>> planned(two, [0.5, 1.0, 1.5]).thresholds
    (8, 3, 2)
    """

    rates: tuple[float, ...]
    thresholds: tuple[int, ...]

    def at(self, rate: float) -> int:
        """The threshold of the nearest rate."""
        return self.thresholds[int(np.abs(np.array(self.rates) - rate).argmin())]


def planned(control: QueueControl, rates: Sequence[float]) -> Planned:
    """Solve the problem at each rate. Raises InputError for a rate that the fastest service does not carry."""
    found = tuple(policy_iteration(replace(control, rate=rate)).as_threshold for rate in rates)
    return Planned(tuple(rates), found)


def rate_seen(arrival_s: NDArray[np.float64], window_s: float) -> Callable[[float], float]:
    """The rate of the last so many seconds at any time; before that, since the beginning.

    >>> seen = rate_seen(np.array([1.0, 2.0, 3.0, 11.0]), 10.0)
    >>> seen(4.0), seen(12.0)
    (0.75, 0.2)
    """
    if not window_s > 0:
        raise InputError("window_s", f"{window_s} is no time", "give seconds above 0")

    def seen(now_s: float) -> float:
        since = max(0.0, now_s - window_s)
        first, last = np.searchsorted(arrival_s, (since, now_s), side="right")
        return float(last - first) / max(now_s - since, 1e-9)

    return seen


def following(plan: Planned, rate: Callable[[float], float]) -> Callable[[int, float], int]:
    """The choice by how many are there and the time, as a trace asks for it."""
    return lambda there, now_s: int(there > plan.at(rate(now_s)))


def delay_s(plan: Planned, rate: Callable[[float], float], step_s: float, to: float, most_s: float) -> float:
    """Seconds after a step of the traffic to the rate `to` until the threshold is that of the new rate.

    Infinite if it is not within `most_s`.
    """
    times = np.arange(0.0, most_s, most_s / 1000.0)
    there = [plan.at(rate(step_s + float(after))) == plan.at(to) for after in times]
    return float(times[there.index(True)]) if True in there else float("inf")
