"""One queue whose service rate depends on how many are there: M/M(n)/1 with room for so many.

Arrivals are Poisson with rate lambda and turned away when the room is full; with n there the next leaves at rate
mu(n). The number there is a birth-and-death process:

    pi(n) = pi(0) prod_{j=1..n} lambda / mu(j).

A batching engine that gives n requests one token each in an iteration of tau(n) seconds has mu(n) = min(n, B) /
(tokens * tau(min(n, B))). Exact for exponential service, an approximation for other laws.

Sources: Kleinrock, *Queueing Systems* I (1975), section 3.1; llm-inferno/queue-analysis for the engine's rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StateDependentQueue:
    """`rates[n - 1]` is mu(n), n = 1 to the room; `places` of them are served at once, the others wait.

    >>> queue = StateDependentQueue(0.5, (1.0,) * 60, places=1)
    >>> round(queue.response, 9), round(queue.wait, 9)
    (2.0, 1.0)
    """

    rate: float
    rates: tuple[float, ...]
    places: int

    def __post_init__(self) -> None:
        if not self.rate > 0 or not self.rates or min(self.rates) <= 0 or self.places < 1:
            raise InputError("state-dependent queue", "has a rate or room that is not positive", "give all above 0")

    @cached_property
    def law(self) -> NDArray[np.float64]:
        """pi(0), pi(1), ..., pi(room)."""
        steps = np.log(self.rate) - np.log(self.rates)
        weights = np.concatenate(([0.0], np.cumsum(steps)))
        law = np.exp(weights - weights.max())
        return law / law.sum()

    @property
    def throughput(self) -> float:
        """Requests a second that are let in: lambda (1 - pi(room))."""
        return float(self.rate * (1.0 - self.law[-1]))

    @property
    def served(self) -> float:
        """Mean number in service, min(n, places)."""
        return float(self.law @ np.minimum(np.arange(self.law.size), self.places))

    @property
    def response(self) -> float:
        """Mean time there (s), by Little's law."""
        return float(self.law @ np.arange(self.law.size)) / self.throughput

    @property
    def wait(self) -> float:
        """Mean time before service (s)."""
        return self.response - self.served / self.throughput


def engine_rates(
    base_s: float, per_request_s: float, tokens: float, places: int, room: int, *, others: int = 1
) -> tuple[float, ...]:
    """mu(n) of an engine whose iterations take base + per_request (n + others) seconds, `tokens` of them a request.

    >>> engine_rates(1.0, 0.0, 2.0, 2, 3)
    (0.5, 1.0, 1.0)
    """
    running = np.minimum(np.arange(1, room + 1), places)
    return tuple((running / (tokens * (base_s + per_request_s * (running + others)))).tolist())
