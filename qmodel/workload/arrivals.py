"""Arrival processes: when requests come. Rates are requests per second, times seconds from the start."""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.continuous import Gamma
from qmodel.workload.distribution import positive

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ArrivalProcess(ABC):
    """A stationary point process (or a recorded stretch of one); `rate` is its long-run arrivals per second."""

    rate: float

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

    >>> Renewal(rate=1.0, scv=1.0).is_poisson
    True
    """

    rate: float
    scv: float

    def __post_init__(self) -> None:
        positive("renewal", rate=self.rate, scv=self.scv)

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        gap = Gamma(mean=1.0 / self.rate, scv=self.scv)
        times = np.empty(0)
        last = 0.0
        while last < horizon_s:
            more = last + np.cumsum(gap.sample(rng, 16 + int(1.2 * self.rate * (horizon_s - last))))
            times = np.concatenate((times, more))
            last = float(times[-1])
        return times[times < horizon_s]

    def at_rate(self, rate: float) -> Renewal:
        return Renewal(rate, self.scv)

    @property
    def is_poisson(self) -> bool:
        return self.scv == 1.0


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
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                column = next((c for c in ("arrival_s", "scheduled_s") if c in (rows.fieldnames or [])), None)
                if column is None:
                    raise InputError(f"{path}, column arrival_s", "is missing", "name the arrival times so")
                return cls(tuple(float(row[column]) for row in rows))
        except OSError as error:
            raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error
        except (ValueError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}, column arrival_s", "holds text", "give seconds") from error

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        times = np.asarray(self.recorded_s)
        return times[times < horizon_s]

    def at_rate(self, rate: float) -> Trace:
        positive("trace", rate=rate)
        stretch = self.rate / rate
        return self if math.isclose(stretch, 1.0) else Trace(tuple(t * stretch for t in self.recorded_s))
