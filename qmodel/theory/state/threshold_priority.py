"""Two priorities with service chosen by the queue's length: exact means, preemptive or not.

A service that starts with more than K >= 1 in the system (of any priority, itself included) is of the
long-queue law. Chain: the number of low requests at the ends of low services once the high ones are cleared,
and in idle times. It goes down by one at most, and above K its steps are all alike, so it is watched on 0..K;
excursions above K have closed costs. Per step it counts, for each priority, the services begun, those of them
that are long, and the requests of that priority left behind; the mean number is the mean left behind
(arrivals and departures see the same), and E[T] = E[N]/lambda. The high class's part in each step comes from
`threshold_clearing`. Source: embedded chains of M/G/1 type with a boundary, Neuts (1989); checked against
simulation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.stationary import stationary_law
from qmodel.theory.state.poisson_sums import expected_power
from qmodel.theory.state.threshold_clearing import BEGUN, LEFT, LONG, MEAN, SQUARE, Arrivals, Clearing, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


ROUNDING = 1e-12
"""Mean number above K, relative to K, below which it is rounding; rare arrivals are outweighed by that."""


@dataclass(frozen=True)
class Services:
    """Of one priority, per step of the chain: services begun, long ones, and own requests left behind."""

    begun: float = 0.0
    long: float = 0.0
    left: float = 0.0

    def plus(self, other: Services, weight: float) -> Services:
        """The sum with `weight` times the other."""
        return Services(
            self.begun + weight * other.begun, self.long + weight * other.long, self.left + weight * other.left
        )

    @property
    def mean_number(self) -> float:
        """Mean number of requests of this priority in the system."""
        return self.left / self.begun

    @property
    def share_long(self) -> float:
        """Share of its services that are long."""
        return max(0.0, self.long / self.begun)


class LowChain(ABC):
    """The chain of low requests. A subclass says what one low service does."""

    def __init__(self, high: Stream, low: Stream, above: int) -> None:
        self.clearing = Clearing(high, low, above)
        self.high, self.low, self.above = high, low, above
        self.high_share = high.rate / (high.rate + low.rate)
        self.during_long = Arrivals(low.long, high.rate, low.rate)

    @abstractmethod
    def short_service(self, m: int) -> tuple[NDArray[np.float64], float]:
        """From m low requests, one short low service: the functional of `Clearing`, and low ones left behind."""

    @abstractmethod
    def long_service(self) -> tuple[float, float, float]:
        """One long low service above K: high services begun in it, high requests they leave behind, low arrivals
        up to its end."""

    @cached_property
    def law(self) -> NDArray[np.float64]:
        """Stationary probabilities of 0..K low requests among the steps that start there."""
        watched = np.array([row[: self.above + 1] for row, *_ in self._rows])
        watched[:, -1] = np.maximum(1.0 - watched[:, :-1].sum(axis=1), 0.0)
        return stationary_law(watched)

    @cached_property
    def services(self) -> tuple[Services, Services]:
        """Sums over a step, excursion above K included, of the high and of the low priority."""
        high, low = Services(), Services()
        for p, (row, own) in zip(self.law, self._rows, strict=True):
            above_high, above_low = self._excursion(row)
            high = high.plus(Services(row[BEGUN], row[LONG], row[LEFT]), p).plus(above_high, p)
            low = low.plus(own, p).plus(above_low, p)
        return high, low

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """Probabilities that a low service starts with 1..K low requests; long ones make up the rest."""
        begun = self.law[1:].copy()
        begun[0] += (1.0 - self.high_share) * self.law[0]
        return begun / self.services[1].begun

    @cached_property
    def _rows(self) -> list[tuple[NDArray[np.float64], Services]]:
        """Of a step from 0..K: the functional, and the low priority's own services."""
        rows = []
        for m in range(1, self.above + 1):
            row, left = self.short_service(m)
            rows.append((row, Services(begun=1.0, left=left)))
        share = self.high_share
        first, own = rows[0]
        idle = share * self.clearing.at(1, 0) + (1.0 - share) * first
        return [(idle, Services().plus(own, 1.0 - share)), *rows]

    def _excursion(self, row: NDArray[np.float64]) -> tuple[Services, Services]:
        """From the end of a step back down to K, all services long, each step alike."""
        near, places = row[: self.above + 1], np.arange(self.above + 1) - self.above
        up = row[MEAN] - self.above - near @ places
        if up < ROUNDING * self.above:
            return Services(), Services()
        up_squared = row[SQUARE] - 2 * self.above * row[MEAN] + self.above**2 - near @ places**2
        step = self.clearing.far_after(self.during_long, 0, 0)
        begun, left, joining = self.long_service()
        each = 1.0 / (1.0 - step[MEAN])
        steps = each * up
        waiting = each**2 * (step[SQUARE] - step[MEAN]) / 2.0
        low_left = each * (up * (self.above + joining) + (up_squared - up) / 2.0) + up * waiting
        return Services(steps * begun, steps * begun, steps * left), Services(steps, steps, low_left)


class NonPreemptiveChain(LowChain):
    """High requests wait for the end of a low service, and are then cleared."""

    def short_service(self, m: int) -> tuple[NDArray[np.float64], float]:
        return self.clearing.after_low(m - 1), m - 1 + self.clearing.during_low.low

    def long_service(self) -> tuple[float, float, float]:
        step = self.clearing.far_after(self.during_long, 0, 0)
        return step[BEGUN], step[LEFT], self.during_long.low


class PreemptiveChain(LowChain):
    """High requests break into low services, one clearing each.

    They do so at rate lambda_H per unit of *work*, so during a low service the number of low requests moves in work
    time, by Poisson arrivals and by clearings: A events in the work S are A steps of a chain (uniformisation).
    """

    def short_service(self, m: int) -> tuple[NDArray[np.float64], float]:
        row = self._short_services[m]
        out = row.copy()
        out[: self.above + 1] = np.append(row[1 : self.above + 1], 0.0)
        out[SQUARE] += 1.0 - 2.0 * out[MEAN]
        out[MEAN] -= 1.0
        return out, float(out[MEAN])

    @cached_property
    def _short_services(self) -> NDArray[np.float64]:
        return self.worked(self.clearing.during_low)

    def long_service(self) -> tuple[float, float, float]:
        step = self._far_worked(self.during_long, 0)
        return step[BEGUN], step[LEFT], step[MEAN]

    def worked(self, arrivals: Arrivals) -> NDArray[np.float64]:
        """The functional over a low service of this work, by the low requests at its start, itself included."""
        places = self.above + 1
        out = np.array([self._far_worked(arrivals, m) for m in range(places)])
        step, fixed, rising = self._event
        settled = np.linalg.inv(np.eye(places) - step)
        slope = settled @ rising
        start = settled @ (fixed - slope)
        events = expected_power(step, arrivals.service, self.high.rate + self.low.rate)
        out[:, :places] += events
        out[:, places:] += start + (arrivals.high + arrivals.low) * slope - events @ start
        return out

    @cached_property
    def _event(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of an event with k more to come: differences from the closed form go from d to step d + fixed + k rising.

        `step` is of P(M = 0..K), which no event adds to; the others are of the rest of the vector.
        """
        p, places = self.high_share, self.above + 1
        cleared = self.clearing.delta[:, 1]
        step = p * cleared[:, :places]
        step[np.arange(places - 1), np.arange(1, places)] += 1.0 - p
        rising = np.zeros((places, -MEAN))
        rising[:, SQUARE] = p * 2.0 * self._joining[0] * cleared[:, MEAN]
        return step, p * cleared[:, places:], rising

    def _far_worked(self, arrivals: Arrivals, m: int) -> NDArray[np.float64]:
        """Closed form for m > K: each event adds one low request, or those of one busy period of high ones."""
        events = arrivals.high + arrivals.low
        squared = arrivals.high_squared + 2 * arrivals.both + arrivals.low_squared
        joined, variance = self._joining
        out = np.zeros(self.clearing.size)
        out[MEAN] = m + events * joined
        out[SQUARE] = m * m + 2 * m * events * joined + squared * joined**2 + events * variance
        out[BEGUN] = out[LONG] = events * self.high_share * self.clearing.begun
        out[LEFT] = events * self.high_share * self.clearing.left
        return out

    @cached_property
    def _joining(self) -> tuple[float, float]:
        """Mean and variance of the low requests that one event adds."""
        p, clearing = self.high_share, self.clearing
        mean = (1.0 - p) + p * clearing.joined
        squared = (1.0 - p) + p * (clearing.joined_variance + clearing.joined**2)
        return mean, squared - mean**2
