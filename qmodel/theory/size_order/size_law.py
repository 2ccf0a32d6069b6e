"""Laws of the response of classes, and of single sizes, in a queue under an order by size or age."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import Policy
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.roots import interpolated
from qmodel.theory.size_order.sized_queue import SizedQueue
from qmodel.workload import Deterministic, Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_TERMS, MOST_TERMS_POINT = 32, 1024
STILL, STILL_TAIL = 2e-5, 0.01
"""Change of a probability on doubling the number of terms below which it stands; at most this share of P(T > t)."""
NEAR = 1e-4
"""Distance of log P(T > t) from its goal that one more step of interpolation is to remove."""


class _Doubling(ABC):
    """A law whose probabilities are sums of terms, doubled until they stand."""

    def __init__(self, own: Sequence[tuple[float, Distribution]], queue: SizedQueue, most_terms: int) -> None:
        self.own, self.queue, self._most_terms = own, queue, most_terms
        self._terms, self._error = FIRST_TERMS, 0.0
        self._seen: dict[float, float] = {}

    @abstractmethod
    def _value(self, t: float, terms: int) -> float:
        """P(T <= t) with so many terms."""

    @abstractmethod
    def _jumps(self) -> Floats:
        """Times at which the law may jump."""

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return self._error

    def _known_times(self) -> list[float]:
        """Times at which what other laws of the queue asked for is this law's too."""
        return []

    def together(self, shares: Sequence[float], laws: Sequence[Law]) -> Law | None:
        """The law of a request of any of these classes, if all are of one queue."""
        known = [law for law in laws if isinstance(law, _Doubling) and law.queue is self.queue]
        if len(known) < len(laws):
            return None
        pairs = zip(shares, known, strict=True)
        return SizeLaw([(q * p, own) for q, law in pairs for p, own in law.own], self.queue)

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= 0:
            return 0.0
        fine, stands = self._checked(t, self._value(t, self._terms))
        while not stands:
            self._terms *= 2
            fine, stands = self._checked(t, fine)
        return fine

    def _checked(self, t: float, coarse: float) -> tuple[float, bool]:
        """P(T <= t) with twice the terms, and whether it stands or the terms end here."""
        fine = self._value(t, 2 * self._terms)
        change = abs(fine - coarse)
        enough = min(STILL, STILL_TAIL * (1.0 - fine)) if fine < 1.0 else STILL
        stands = change < enough or 2 * self._terms >= self._most_terms
        if stands:
            self._error = max(self._error, change)
        return fine, stands

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        level = percent / 100.0
        while True:
            self._seen |= {t: self._value(t, self._terms) for t in self._known_times() if t not in self._seen}
            t = self._reaching(level)
            near = min(self._seen, key=lambda known: abs(known - t))
            fine, stands = self._checked(near, self._seen[near])
            if stands:
                return self._reaching(level - (fine - self._seen[near]))
            self._terms *= 2
            self._seen.clear()

    def _reaching(self, level: float) -> float:
        """Smallest t with P(T <= t) >= level, with the present number of terms."""
        mean = math.fsum(share * law.mean for share, law in self.own)
        start = mean / (1.0 - self.queue.rate * self.queue.law.mean) ** 0.5
        return interpolated(lambda t: self._value(t, self._terms), level, self._seen, start, self._jumps(), NEAR)


class SizeLaw(_Doubling):
    """The law of the response of requests whose sizes have these laws, parts of the queue's, in these shares.

    >>> from qmodel.policy import SJF
    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> round(SizeLaw([(1.0, unit)], SizedQueue(SJF(), 0.5, unit)).cdf(2.0), 6)
    0.705314
    """

    def __init__(self, own: Sequence[tuple[float, Distribution]], queue: SizedQueue) -> None:
        super().__init__(own, queue, queue.most_terms)

    def _known_times(self) -> list[float]:
        return self.queue.times(self._terms)

    def _value(self, t: float, terms: int) -> float:
        sizes, given = self.queue.responses(t, terms)
        weights = sum(share * sizes.weights(law) for share, law in self.own)
        return float(np.clip(weights @ given, 0.0, 1.0))

    def _jumps(self) -> Floats:
        return self.queue.jumps


class PointLaw(_Doubling):
    """The law of the response of requests that all have the size x.

    It has point masses and bends that the sum over sizes smooths out in `SizeLaw`: more terms are needed.

    >>> from qmodel.policy import SJF
    >>> from qmodel.workload import Exponential
    >>> queue = SizedQueue(SJF(), 0.5, Exponential(mean=1.0))
    >>> round(PointLaw(1.0, queue).cdf(1.0), 6)  # nobody is there
    0.5
    """

    def __init__(self, x: float, queue: SizedQueue) -> None:
        super().__init__([(1.0, Deterministic(x))], queue, MOST_TERMS_POINT)
        self._x = x

    def _value(self, t: float, terms: int) -> float:
        return float(np.clip(self.queue.response_of(self._x, t, terms), 0.0, 1.0))

    def _jumps(self) -> Floats:
        return self.queue.jumps_of(self._x)


def laws_by_size(
    policy: Policy, rate: float, law: Distribution, owners: Sequence[Distribution]
) -> list[SizeLaw | PointLaw]:
    """One law for each of these laws of size, all parts of `law`, that share one queue.

    None at all where the components of the laws are so many that a simulation would be faster.
    """
    queue = SizedQueue(policy, rate, law, tuple(owners))
    return [_law_of(own, queue) for own in owners] if queue.is_quick else []


def _law_of(own: Distribution, queue: SizedQueue) -> SizeLaw | PointLaw:
    if isinstance(own, Deterministic) and not queue.is_few:
        return PointLaw(own.value, queue)
    return SizeLaw([(1.0, own)], queue)
