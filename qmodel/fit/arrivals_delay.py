"""The queueing delay that arrivals produce at a reference service, which is what a fit of them is for.

One server, first come first served, constant service s = load / rate: W' = max(0, W + s - gap) (Lindley). Poisson
arrivals wait load s / (2 (1 - load)) on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOADS = (0.5, 0.7, 0.9)
REPLICATES = 8
MOST_ARRIVALS = 2_000_000
"""Arrivals simulated for one candidate, all replicates together."""


@dataclass(frozen=True)
class Delay:
    """Mean wait in units of the service time, with its standard error over replicates (NaN of a single record)."""

    load: float
    value: float
    error: float = math.nan


def mean_delay(gaps: Floats, load: float) -> float:
    """Mean wait over service time, of arrivals with these gaps at that load of a server of constant speed.

    >>> round(mean_delay(np.random.default_rng(1).exponential(1.0, 400_000), 0.5), 2)  # Poisson: 0.5
    0.5
    """
    service = load * float(gaps.mean())
    if service <= 0:
        return math.nan
    reached = np.cumsum(service - gaps)
    waits = reached - np.minimum(np.minimum.accumulate(reached), 0.0)
    return float(waits.mean()) / service


def recorded_delays(gaps: Floats, loads: Sequence[float] = LOADS) -> tuple[Delay, ...]:
    """Delays of the record itself."""
    return tuple(Delay(load, mean_delay(gaps, load)) for load in loads)


def simulated_delays(
    draw: Callable[[np.random.Generator, int], Floats], size: int, seed: int = 1, loads: Sequence[float] = LOADS
) -> tuple[Delay, ...]:
    """Delays of records of `size` gaps that `draw(rng, size)` makes, mean and standard error over replicates."""
    size = max(100, min(size, MOST_ARRIVALS // REPLICATES))
    records = [draw(np.random.default_rng([seed, k]), size) for k in range(REPLICATES)]
    found = np.array([[mean_delay(gaps, load) for load in loads] for gaps in records if gaps.size > 10])
    if not len(found):
        return tuple(Delay(load, math.nan) for load in loads)
    errors = found.std(axis=0, ddof=1) / math.sqrt(len(found)) if len(found) > 1 else np.full(len(loads), math.nan)
    return tuple(Delay(load, float(value), float(error))
                 for load, value, error in zip(loads, found.mean(axis=0), errors, strict=True))  # fmt: skip
