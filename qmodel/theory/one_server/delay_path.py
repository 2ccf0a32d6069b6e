"""The law of a time that interruptions prolong, inverted without a root: along theta instead of s.

Where requests of rates lambda_i and sizes S_i interrupt, s = theta - M(theta) with

    M(theta) = sum_i lambda_i (1 - S_i~(theta)),    ds/dtheta = 1 - sum_i lambda_i E[S_i exp(-theta S_i)]

(see `busy_period`). The sizes' transforms are wanted at points theta that do not depend on the rates, and so are
found once for all the rates at which a system is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.inversion import STILL, InvertedLaw, Path, shared
from qmodel.theory.numerics.transforms import MANY_ATOMS, arrays_of, scattered, slope, transform
from qmodel.theory.supply import delivery
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

STILL_OF_DATA = 1e-6
"""As `inversion.STILL`, for laws of many values, which bend at each by about a millionth."""


class Arrivals:
    """Poisson streams of work: classes taken together, those of one law as one.

    >>> from qmodel.workload import Exponential
    >>> streams = Arrivals([(0.5, Exponential(mean=1.0))])
    >>> complex(streams.work(np.array([1.0 + 0j]))[0])
    (0.25+0j)
    """

    def __init__(self, streams: Sequence[tuple[float, Distribution]]) -> None:
        self.rates: dict[Distribution, float] = {}
        for rate, law in streams:
            self.rates[law] = self.rates.get(law, 0.0) + rate

    @classmethod
    def of(cls, classes: Sequence[ServedClass]) -> Arrivals:
        """Of these classes."""
        return cls([(served.rate, served.size) for served in classes])

    @property
    def rate(self) -> float:
        """Requests per second."""
        return sum(self.rates.values())

    def work(self, theta: Complex) -> Complex:
        """M(theta)."""
        found = np.zeros_like(theta)
        for law, rate in self.rates.items():
            found += rate * (1.0 - transform(theta, law))
        return found

    def stretch(self, theta: Complex) -> Complex:
        """ds/dtheta if these interrupt."""
        found = np.ones_like(theta)
        for law, rate in self.rates.items():
            found -= rate * slope(theta, law)
        return found


def common_horizon(classes: Sequence[ServedClass]) -> float:
    """A time (s) that the inversions of all classes start from, the same at all rates."""
    return max(served.size.mean for served in classes)


def still_of(law: Distribution) -> float:
    """Change of a probability below which an inversion is taken to stand."""
    return STILL_OF_DATA if len(arrays_of(law)[0]) > MANY_ATOMS else STILL


def wait_path(
    higher: Sequence[ServedClass], own: Sequence[ServedClass], lower: Sequence[ServedClass], load: float
) -> Path:
    """Of the wait of one priority (`np_priority`) where it is positive: of mass rho, the `load` of all classes."""
    above, mine, below = Arrivals.of(higher), Arrivals.of(own), Arrivals.of(lower)

    def path(theta: Complex) -> tuple[Complex, Complex]:
        interrupting, own_work = above.work(theta), mine.work(theta)
        s = theta - interrupting if higher else theta
        found = ((1.0 - load) * (interrupting + own_work) + below.work(theta)) / (s - own_work)
        return s, found * above.stretch(theta) / s

    return shared(path)


def law_after_wait(served: ServedClass, wait: Path, busy: float, horizon: float) -> InvertedLaw:
    """Of the response: the wait, positive with probability `busy`, and the service."""
    given = delivery(served.service)

    def path(theta: Complex) -> tuple[Complex, Complex]:
        s, positive = wait(theta)
        return s, positive * (transform(s, given) if s is theta else scattered(s, given))

    jumps = arrays_of(given)[0]
    return InvertedLaw.along(
        path, busy, lambda t: (1.0 - busy) * float(given.cdf(t)), given.mean, horizon, still_of(given), jumps
    )
