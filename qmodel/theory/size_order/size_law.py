"""Laws of the response of classes, and of single sizes, in a queue under an order by size or age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import Policy
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.read_law import ReadLaw
from qmodel.theory.size_order.sized_queue import SizedQueue
from qmodel.workload import Deterministic, Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_TERMS_POINT = 1024


class _QueueLaw(ReadLaw):
    """The law of some requests of a queue."""

    def __init__(self, own: Sequence[tuple[float, Distribution]], queue: SizedQueue, most_terms: int) -> None:
        super().__init__(own, queue.rate * queue.law.mean, most_terms)
        self.queue = queue

    def together(self, shares: Sequence[float], laws: Sequence[Law]) -> Law | None:
        """The law of a request of any of these classes, if all are of one queue."""
        known = [law for law in laws if isinstance(law, _QueueLaw) and law.queue is self.queue]
        if len(known) < len(laws):
            return None
        pairs = zip(shares, known, strict=True)
        return SizeLaw([(q * p, own) for q, law in pairs for p, own in law.own], self.queue)


class SizeLaw(_QueueLaw):
    """The law of the response of requests whose sizes have these laws, parts of the queue's, in these shares.

    >>> from qmodel.policy import SJF
    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> round(SizeLaw([(1.0, unit)], SizedQueue(SJF(), 0.5, unit)).cdf(2.0), 5)
    0.70531
    """

    def __init__(self, own: Sequence[tuple[float, Distribution]], queue: SizedQueue) -> None:
        super().__init__(own, queue, queue.most_terms)

    def _known_times(self) -> list[float]:
        return self.queue.times(self._terms)

    def _value(self, t: float, terms: int) -> float:
        sizes, given = self.queue.responses(t, terms)
        weights = sum(share * sizes.weights(law) for share, law in self.own)
        return float(np.clip(weights @ given, 0.0, 1.0))

    def _checked_times(self) -> list[float]:
        return self.queue.times(2 * self._terms)

    @property
    def _is_smooth(self) -> bool:
        return self.queue.is_smooth

    def _jumps(self) -> Floats:
        return self.queue.jumps


class PointLaw(_QueueLaw):
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

    def _known_times(self) -> list[float]:
        return []

    def _checked_times(self) -> list[float]:
        return []

    @property
    def _is_smooth(self) -> bool:
        return False

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
