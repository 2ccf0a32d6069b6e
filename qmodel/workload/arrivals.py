"""Arrival processes: when requests come. Rates are requests per second, times seconds from the start."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.columns import number_column
from qmodel.workload.distribution import Distribution, Scaled, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray


LONGEST = 1e12
"""Means that the longest gap may take."""
MOST_BURSTY = 1e4
"""Largest scv of renewal gaps: beyond it most gamma gaps are 0 to double precision."""


class ArrivalProcess(ABC):
    """A stationary point process, or a recorded stretch of one; `rate` is its long-run arrivals per second."""

    rate: float
    feature: ClassVar[str] = ""
    """Word for what instruments must handle to answer it (see `Scenario.features`); "" if it is stationary."""

    @abstractmethod
    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        """Arrival times in [0, horizon_s), increasing."""

    @abstractmethod
    def at_rate(self, rate: float) -> ArrivalProcess:
        """The same process with time stretched to another rate."""

    @property
    def is_poisson(self) -> bool:
        """Whether gaps are independent and exponential, as most exact results ask."""
        return False


@dataclass(frozen=True)
class Poisson(ArrivalProcess):
    """Independent exponential gaps.

    >>> Poisson(rate=2.0).at_rate(0.5)
    Poisson(rate=0.5)
    """

    rate: float

    def __post_init__(self) -> None:
        positive("poisson", rate=self.rate)

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        return np.sort(rng.uniform(0.0, horizon_s, rng.poisson(self.rate * horizon_s)))

    def at_rate(self, rate: float) -> Poisson:
        return Poisson(rate)

    @property
    def is_poisson(self) -> bool:
        return True


@dataclass(frozen=True)
class Renewal(ArrivalProcess):
    """Independent gamma gaps with the given squared coefficient of variation.

    The process is seen from an arbitrary moment: the first gap is what is left of one under way, so that the
    mean count in any horizon is rate * horizon.

    >>> Renewal(rate=1.0, scv=1.0).is_poisson
    True
    """

    rate: float
    scv: float

    def __post_init__(self) -> None:
        positive("renewal", rate=self.rate, scv=self.scv)
        if self.scv > MOST_BURSTY:
            raise InputError("renewal, scv", f"{self.scv:g} is out of reach", f"give at most {MOST_BURSTY:g}")

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        shape, scale = 1.0 / self.scv, self.scv / self.rate
        # a gap in which an arbitrary moment falls is length-biased: gamma of shape + 1, cut uniformly
        times = np.array([rng.random() * rng.gamma(shape + 1.0, scale)])
        while times[-1] < horizon_s:
            missing = 16 + int(1.2 * self.rate * (horizon_s - times[-1]))
            times = np.concatenate((times, times[-1] + np.cumsum(rng.gamma(shape, scale, missing))))
        return times[times < horizon_s]

    def at_rate(self, rate: float) -> Renewal:
        return Renewal(rate, self.scv)

    @property
    def is_poisson(self) -> bool:
        return self.scv == 1.0


@dataclass(frozen=True)
class RenewalGaps(ArrivalProcess):
    """Independent gaps of any law (s), e.g. Weibull; gamma gaps are `Renewal`, of which theory knows more.

    Seen from an arbitrary moment, as `Renewal` is.

    >>> from qmodel.workload import Weibull
    >>> RenewalGaps(Weibull(mean=0.5, scv=4.0)).rate
    2.0
    """

    gaps: Distribution
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.gaps.mean):
            raise InputError("renewal, gaps", "have an infinite mean", "give a law with a finite one")
        object.__setattr__(self, "rate", 1.0 / self.gaps.mean)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation of the gaps; may be infinite."""
        return self.gaps.scv

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        times = np.array([rng.random() * length_biased(self.gaps, rng.random())])
        while times[-1] < horizon_s:
            missing = 16 + int(1.2 * self.rate * (horizon_s - times[-1]))
            times = np.concatenate((times, times[-1] + np.cumsum(self.gaps.sample(rng, missing))))
        return times[times < horizon_s]

    def at_rate(self, rate: float) -> RenewalGaps:
        positive("renewal", rate=rate)
        given, factor = self.gaps, self.rate / rate
        law = given.law if isinstance(given, Scaled) else given
        factor *= given.factor if isinstance(given, Scaled) else 1.0
        return RenewalGaps(law if math.isclose(factor, 1.0, rel_tol=1e-15) else law.scaled(factor))


def length_biased(law: Distribution, p: float) -> float:
    """The p-quantile of the gap in which an arbitrary moment falls: E[S; S <= x] = p E[S].

    >>> from qmodel.workload import Exponential
    >>> round(length_biased(Exponential(mean=1.0), 0.5), 6)  # gamma of shape 2: its median
    1.678347
    """
    from qmodel.workload.partial import partial_moment

    share = p * law.mean
    low, high = 0.0, law.mean
    while float(partial_moment(law, 1, high)) < share and high < LONGEST * law.mean:
        low, high = high, 2.0 * high
    while high - low > 1e-14 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if float(partial_moment(law, 1, middle)) >= share else (middle, high)
    return high


@dataclass(frozen=True)
class Trace(ArrivalProcess):
    """Recorded arrival times, replayed as they were (`at_rate` stretches time).

    >>> Trace((0.0, 1.0, 4.0)).rate
    0.5
    """

    recorded_s: tuple[float, ...]
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        times = np.asarray(self.recorded_s, dtype=float)
        if times.size < 2 or not np.isfinite(times).all() or times[0] < 0:
            raise InputError("trace", "needs at least two finite times >= 0", "give seconds from the start")
        if (np.diff(times) < 0).any():
            row = int(np.argmax(np.diff(times) < 0)) + 2
            raise InputError(f"trace, arrival {row}", "comes before the one above it", "sort by time")
        if times[-1] == times[0]:
            raise InputError("trace", "all arrivals come at once", "give times that differ")
        object.__setattr__(self, "rate", (times.size - 1) / float(times[-1] - times[0]))

    @classmethod
    def from_csv(cls, path: Path) -> Trace:
        """Times in seconds from a CSV's column `arrival_s` (or `scheduled_s`). Raises InputError."""
        recorded_s = number_column(path, ["arrival_s", "scheduled_s"])
        try:
            return cls(tuple(recorded_s))
        except InputError as error:
            raise InputError(f"{path}, {error.place}", error.fault, error.remedy) from error

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        times = np.asarray(self.recorded_s)
        return times[times < horizon_s]

    def at_rate(self, rate: float) -> Trace:
        positive("trace", rate=rate)
        stretch = self.rate / rate
        return self if math.isclose(stretch, 1.0) else Trace(tuple(t * stretch for t in self.recorded_s))
