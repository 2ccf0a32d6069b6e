"""Poisson arrivals whose rate changes with the time of day: piecewise constant, once or over and over."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.arrivals import ArrivalProcess
from qmodel.workload.distribution import positive

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Piecewise(ArrivalProcess):
    """Poisson arrivals at `rates[i]` requests/s from `times_s[i]` on, starting over every `period_s` seconds.

    Without a period the last rate goes on for ever. `rate` is the long-run mean: over a period, or the last rate.
    Not stationary: the simulator replays it, theory refuses.

    >>> Piecewise(times_s=(0.0, 60.0), rates=(1.0, 4.0), period_s=120.0).rate
    2.5
    """

    feature: ClassVar[str] = "piecewise"

    times_s: tuple[float, ...]
    rates: tuple[float, ...]
    period_s: float | None = None
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        times, rates = (np.asarray(values, dtype=float) for values in (self.times_s, self.rates))
        if times.shape != rates.shape or times.ndim != 1 or not times.size:
            raise InputError("piecewise, rates", "needs one rate per time", "give both the same length")
        if not np.isfinite(times).all() or times[0] != 0 or (np.diff(times) <= 0).any():
            raise InputError("piecewise, times_s", "must increase from 0", "e.g. [0, 3600, 7200]")
        if not np.isfinite(rates).all() or (rates < 0).any() or not rates.any():
            raise InputError("piecewise, rates", "must be >= 0 and not all 0", "give requests per second")
        if self.period_s is not None and not times[-1] < self.period_s < math.inf:
            raise InputError("piecewise, period_s", "must be after the last time", "give the length of a round")
        if self.period_s is None and not rates[-1]:
            raise InputError("piecewise, rates", "no request comes after the last time", "give period_s, or a rate")
        object.__setattr__(self, "times_s", tuple(times.tolist()))
        object.__setattr__(self, "rates", tuple(rates.tolist()))
        object.__setattr__(self, "rate", self._mean_rate())

    def _mean_rate(self) -> float:
        if self.period_s is None:
            return self.rates[-1]
        lengths = np.diff([*self.times_s, self.period_s])
        return float(lengths @ np.array(self.rates) / self.period_s)

    def expected(self, until_s: float) -> float:
        """Expected number of arrivals in [0, until_s)."""
        whole, rest = (0.0, until_s) if self.period_s is None else divmod(until_s, self.period_s)
        starts, ends = np.array(self.times_s), np.array([*self.times_s[1:], math.inf])
        partly = float(np.clip(rest - starts, 0.0, ends - starts) @ np.array(self.rates))
        return partly + (whole * self.period_s * self.rate if self.period_s is not None else 0.0)

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        counts = np.sort(rng.uniform(0.0, total := self.expected(horizon_s), rng.poisson(total)))
        return np.minimum(self._when(counts), np.nextafter(horizon_s, 0.0))

    def _when(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Times at which the expected number of arrivals reaches each of `counts`: the inverse of `expected`."""
        rates, starts = np.array(self.rates), np.array(self.times_s)
        each = math.inf if self.period_s is None else self.rate * self.period_s
        rounds, rest = np.divmod(counts, each) if math.isfinite(each) else (0.0 * counts, counts)
        before = np.concatenate(([0.0], np.cumsum(np.diff(starts) * rates[:-1])))
        piece = np.searchsorted(before, rest, side="right") - 1
        inside = starts[piece] + (rest - before[piece]) / np.where(rates[piece] > 0, rates[piece], 1.0)
        return np.asarray(inside if self.period_s is None else rounds * self.period_s + inside)

    def at_rate(self, rate: float) -> Piecewise:
        """The same times of change with every rate scaled: a day stays a day."""
        positive("piecewise", rate=rate)
        return replace(self, rates=tuple(r * rate / self.rate for r in self.rates))


@dataclass(frozen=True)
class Closed(ArrivalProcess):
    """A closed population: each of `population` users thinks `think_s` seconds (mean), asks, waits, thinks again.

    No arrival rate of its own: the system's speed decides it. `rate` is what it would be if every answer came
    at once, population / think_s (infinite without thinking).

    >>> Closed(population=10, think_s=5.0).rate
    2.0
    """

    feature: ClassVar[str] = "closed"

    population: int
    think_s: float = 0.0
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        if self.population != int(self.population) or self.population < 1:
            raise InputError(
                "closed, population", f"{self.population!r} is no number of users", "give 1, 2, 3, ..."
            )
        if not (math.isfinite(self.think_s) and self.think_s >= 0):
            raise InputError("closed, think_s", f"{self.think_s!r} is no time", "give seconds >= 0")
        object.__setattr__(self, "population", int(self.population))
        object.__setattr__(self, "rate", self.population / self.think_s if self.think_s else math.inf)

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        raise InputError(
            "closed", "has no arrivals of its own: answers bring the next request", "use --method theory"
        )

    def at_rate(self, rate: float) -> Closed:
        raise InputError("closed", "has no rate to change", "change population or think_s")
