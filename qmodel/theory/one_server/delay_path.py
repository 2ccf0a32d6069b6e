"""The law of a time that interruptions prolong, inverted without a root: along theta instead of s.

Where requests of rates lambda_i and sizes S_i interrupt, s = theta - M(theta) with

    M(theta) = sum_i lambda_i (1 - S_i~(theta)),    ds/dtheta = 1 - sum_i lambda_i E[S_i exp(-theta S_i)]

(see `busy_period`). The sizes' transforms are wanted at points theta that do not depend on the rates, and so are
found once for all the rates at which a system is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.inversion import STILL, InvertedLaw, Path, Transform, shared, straight
from qmodel.theory.numerics.sizes import components
from qmodel.theory.numerics.transforms import MANY_ATOMS, arrays_of, scattered, slope, transform
from qmodel.theory.supply import delivery
from qmodel.workload import Distribution, Gamma, Hyperexponential, Lognormal, Scaled, Weibull

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

STILL_OF_DATA = 1e-6
"""As `inversion.STILL`, for laws of many values, which bend at each by about a millionth."""

PROBED, PROBES = (1e-4, 1e3), 160
"""Imaginary parts, in inverse horizons, at which it is looked how far to the left a path leads."""
SPARE = 0.02
"""Angle next to the last one at which a lognormal's transform is known that is left out."""
MOST_GROWTH = 3.0
"""exp(-s x) may be as large as exp(MOST_GROWTH) at the largest size x: rounding errors grow as it does."""


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


def law_after_wait(
    served: ServedClass, wait: Path, busy: float, horizon: float, by_roots: Transform | None = None
) -> InvertedLaw:
    """Of the response: the wait, positive with probability `busy`, and the service.

    `by_roots`: the transform of the positive wait by s, for services whose transform is not known as far to the
    left as the path leads; none is needed where the path is a vertical line.
    """
    given = delivery(served.service)

    def along(theta: Complex) -> tuple[Complex, Complex]:
        s, positive = wait(theta)
        return s, positive * (transform(s, given) if s is theta else scattered(s, given))

    @cache
    def chosen() -> Path:
        if by_roots is None or is_known_at(given, wait(_probes(horizon))[0]):
            return along
        return straight(lambda s: by_roots(s) * given.lst(s))

    jumps = arrays_of(given)[0]
    return InvertedLaw.along(
        lambda theta: chosen()(theta),
        busy,
        lambda t: (1.0 - busy) * float(given.cdf(t)),
        given.mean,
        horizon,
        still_of(given),
        jumps,
    )


def _probes(horizon: float) -> Complex:
    """Points next to the imaginary axis, where a path leads farthest to the left."""
    return np.asarray((1e-9 + 1j * np.geomspace(*PROBED, PROBES)) / horizon, dtype=complex)


def is_known_at(law: Distribution, s: Complex) -> bool:
    """Whether the transform of a law can be computed at s where Re(s) < 0: it is analytic up to the negative axis.

    >>> from qmodel.workload import Exponential, Uniform
    >>> [is_known_at(each, np.array([-50.0 + 1j])) for each in (Exponential(mean=1.0), Uniform(0.0, 1.0))]
    [True, False]
    """
    left, turn = float((-s.real).max()), float(np.abs(np.angle(s)).max())
    return all(_is_known(part, left, turn) for part in components(law))


def _is_known(part: Distribution, left: float, turn: float) -> bool:
    """Of one component, as far to the `left`, at angles up to `turn`."""
    scale_free = part
    while isinstance(scale_free, Scaled):
        scale_free = scale_free.law
    if isinstance(scale_free, Hyperexponential | Gamma):
        return True
    if isinstance(scale_free, Lognormal):
        return turn < 0.5 * math.pi + min(scale_free.sigma, 0.25 * math.pi) - SPARE
    if isinstance(scale_free, Weibull) and scale_free.shape <= 1.0:
        return True
    return left * part.support()[1] < MOST_GROWTH
