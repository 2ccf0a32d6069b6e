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
STILL = 2e-5
"""Change of a probability on doubling the number of terms below which it stands."""


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
        while True:
            coarse, fine = self._value(t, self._terms), self._value(t, 2 * self._terms)
            change = abs(fine - coarse)
            if change < STILL or 2 * self._terms >= self._most_terms:
                break
            self._terms *= 2
        self._error = max(self._error, change)
        return fine

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        while True:
            terms = self._terms
            mean = math.fsum(share * law.mean for share, law in self.own)
            start = mean / (1.0 - self.queue.rate * self.queue.law.mean) ** 0.5
            t = interpolated(
                lambda t: self._value(t, self._terms), percent / 100.0, self._seen, start, self._jumps()
            )
            self.cdf(t)
            if self._terms == terms:
                return t
            self._seen.clear()


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
