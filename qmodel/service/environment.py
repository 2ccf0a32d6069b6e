"""A random environment: the server's speed follows a Markov chain (other tenants, throttling, interference)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qmodel.errors import InputError
from qmodel.workload.markov_arrivals import stationary_phases

RELATIVE = 1e-9
"""Row sums of a generator may miss 0 by this share of the largest rate, as rounded decimals do."""


def checked_generator(place: str, generator: Sequence[Sequence[float]], states: int) -> None:
    """Refuse what generates no irreducible Markov chain on `states` states. Raises InputError at `place`."""
    rows = [list(row) for row in generator]
    if len(rows) != states or any(len(row) != states for row in rows):
        raise InputError(place, f"is not {states} by {states}", "give one row and one column a state")
    rates = np.array(rows, dtype=float)
    off = np.where(np.eye(states, dtype=bool), 0.0, rates)
    if not np.isfinite(rates).all() or (off < 0).any():
        raise InputError(place, "has a negative or infinite rate off its diagonal", "give rates >= 0")
    if np.abs(rates.sum(axis=1)).max() > RELATIVE * max(np.abs(rates).max(), 1e-300):
        raise InputError(place, "has a row that does not sum to 0", "the diagonal is minus the row's other rates")
    reach = np.linalg.matrix_power((off > 0).astype(float) + np.eye(states), states) > 0
    if not reach.all():
        raise InputError(place, "has a state that is never entered or never left", "connect all states")


@dataclass(frozen=True)
class Environment:
    """`speeds[i]`: seconds of service done a second in state i; `generator`: the chain's rates (per second).

    >>> Environment(speeds=(1.0, 0.5), generator=((-1.0, 1.0), (3.0, -3.0))).mean_speed
    0.875
    """

    speeds: tuple[float, ...]
    generator: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "speeds", tuple(float(speed) for speed in self.speeds))
        object.__setattr__(self, "generator", tuple(tuple(float(r) for r in row) for row in self.generator))
        if not self.speeds or not all(0 <= speed < np.inf for speed in self.speeds) or not any(self.speeds):
            raise InputError("system.environment, speeds", "must be >= 0, one above 0", "e.g. [1.0, 0.5]")
        checked_generator("system.environment, generator", self.generator, len(self.speeds))

    @cached_property
    def stationary(self) -> NDArray[np.float64]:
        """Long-run share of time in each state, shape (states,)."""
        return stationary_phases(np.array(self.generator))

    @property
    def mean_speed(self) -> float:
        """Long-run seconds of service done a second."""
        return float(self.stationary @ np.array(self.speeds))
