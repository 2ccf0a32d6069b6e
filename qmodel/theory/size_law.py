"""The law of the response under SJF, PSJF, SRPT, LAS and multilevel feedback.

For each t the law conditional on the size is inverted at all sizes up to t at once, and summed over sizes: the
law of a request of any size is smooth where that of one size is not. Orders that need one theta for each s
(see `size_transforms`) are inverted along a contour of theta instead of s, ds = (1 - M''(theta)) dtheta, the same
for all sizes, so that no root has to be found. Point masses are kept apart. The number of terms is doubled until
the probability stands still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT, Policy
from qmodel.theory import euler
from qmodel.theory.atoms import Atoms
from qmodel.theory.inversion import Law
from qmodel.theory.remaining_time import RemainingTime
from qmodel.theory.roots import interpolated
from qmodel.theory.size_atoms import PointMasses, multiples, point_masses
from qmodel.theory.size_transforms import (
    Levels,
    Streams,
    Work,
    least_attained,
    preemptive_shortest_job,
    shortest_job,
)
from qmodel.theory.sizes_upto import SizesUpto, arrays_of, marks_of
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Masses = Callable[[SizesUpto, Floats], PointMasses]

FIRST_TERMS, MOST_TERMS, MOST_TERMS_SRPT, MOST_TERMS_FEW = 32, 256, 128, 4096
FEW, SAME = 16, 1e-12
STILL = 2e-5
"""Change of a probability on doubling the number of terms below which it stands."""
TERMS_A_PANEL = 4
NODES, NODES_SRPT = 10, 6
MULTIPLES = 7
"""Point masses at 2x ... (MULTIPLES + 1) x under LAS are kept apart."""
MOST_MARKS, MOST_MARKS_SRPT = 400, 120
"""Most ends of panels; the time grows with their number, under SRPT with its square."""
FELT = 16.0
"""A point mass farther beyond t than FELT t / terms is not felt at t."""
REACH = 3.0
"""exp(-theta x) is below exp(-30) for x beyond REACH t."""


@dataclass
class SizedQueue:
    """A queue under an order by size or age: P(T <= t | x) at sizes x up to t, whatever class they are of."""

    policy: Policy
    rate: float
    law: Distribution
    others: tuple[Distribution, ...] = ()
    _known: dict[tuple[float, int], tuple[SizesUpto, Floats]] = field(default_factory=dict)
    _found_masses: dict[tuple[float, float], Atoms] = field(default_factory=dict)

    @cached_property
    def most_terms(self) -> int:
        """Terms at which the doubling ends: more where there are few sizes, and so point masses and bends."""
        if self._few:
            return MOST_TERMS_FEW
        return MOST_TERMS_SRPT if isinstance(self.policy, SRPT) else MOST_TERMS

    def responses(self, t: float, terms: int) -> tuple[SizesUpto, Floats]:
        """Sizes x up to t and P(T <= t | x)."""
        key = (t, terms)
        if key not in self._known:
            sizes = self._sizes(t, t, terms, self._atoms)
            given = self._given(sizes, t, terms, self._masses) if len(sizes.x) else np.empty(0)
            self._known[key] = sizes, np.where(sizes.x <= t * (1 + SAME), given, 0.0)
        return self._known[key]

    @property
    def is_quick(self) -> bool:
        """Whether the panels that the components of the laws need are not too many."""
        return len(self._marks) <= (MOST_MARKS_SRPT if isinstance(self.policy, SRPT) else MOST_MARKS)

    @property
    def jumps(self) -> Floats:
        """Times at which the law of a response may jump, as far as they are known, in order."""
        if not self._few:
            return self._atoms[0]
        rows = [row for (x, idle) in self._found_masses for row in self._found_masses[x, idle]]
        return np.unique([time for time, _ in rows])

    def response_of(self, x: float, t: float, terms: int) -> float:
        """P(T <= t | x)."""
        if x > t * (1 + SAME):
            return 0.0
        values, masses = self._atoms
        place = int(np.searchsorted(values, x * (1 - SAME)))
        if place == len(values) or values[place] > x * (1 + SAME):
            values, masses = np.insert(values, place, x), np.insert(masses, place, 0.0)
        sizes = self._sizes(x * (1 + SAME), t, terms, (values, masses))
        row = len(sizes.nodes) + place
        found = self._given(sizes, t, terms, lambda found, idle: self._masses_of(found, idle, row))
        return float(found[row])

    def _sizes(self, largest: float, t: float, terms: int, atoms: tuple[Floats, Floats]) -> SizesUpto:
        marks, reach = self._marks, largest
        if isinstance(self.policy, LAS):
            marks = marks | {t / k for k in range(2, MULTIPLES + 2)}
        if isinstance(self.policy, MLFQ):
            marks = marks | {largest, *self.policy.thresholds}
            reach = max(largest, min(self.policy.thresholds[-1], REACH * t))
        order = NODES_SRPT if isinstance(self.policy, SRPT) else NODES
        return SizesUpto.of(self.law, marks, atoms, reach, TERMS_A_PANEL * t / terms, order)

    def _given(self, sizes: SizesUpto, t: float, terms: int, masses: Masses) -> Floats:
        """P(T <= t | x) at all sizes."""
        if isinstance(self.policy, SRPT):
            return self._by_s(sizes, t, terms, masses)
        return self._by_theta(sizes, t, terms, masses)

    def _by_theta(self, sizes: SizesUpto, t: float, terms: int, masses: Masses) -> Floats:
        theta = euler.contour(t, terms)
        work = Work(sizes, self.rate, theta)
        streams = self._streams(work)
        s, x = theta - streams.new, work.x
        delay = (streams.idle * theta + streams.again) / (theta - streams.old)
        stay = np.exp(s * t - (theta if self.policy.preemptive else s) * x)
        known = masses(sizes, streams.idle[:, 0]).before(t + min(FELT * t / terms, 1.0 / self.rate))
        values = (delay * stay - known.turned(s, t)) * (1.0 - streams.slope) / s
        return np.asarray(values.real @ euler.weights(terms) / t + known.upto(t))

    def _by_s(self, sizes: SizesUpto, t: float, terms: int, masses: Masses) -> Floats:
        s = euler.contour(t, terms)
        found = RemainingTime(sizes, self.rate, s)
        known = masses(sizes, found.idle)
        turned = known.turned(np.broadcast_to(s, (len(sizes.x), len(s))), t)
        values = (found.transform() * np.exp(s * t) - turned) / s
        return np.asarray(values.real @ euler.weights(terms) / t + known.upto(t))

    def _masses(self, sizes: SizesUpto, idle: Floats) -> PointMasses:
        """Of each size, those that the sum over sizes does not smooth out."""
        x = sizes.x
        if self._few:
            rows = [self._point_masses(float(size), float(p)) for size, p in zip(x, idle, strict=True)]
            return PointMasses.of(rows)
        if isinstance(self.policy, LAS):
            return multiples(self.rate * sizes.larger, self.rate, x, idle, MULTIPLES)
        return PointMasses(x[:, None], (idle * self._uninterrupted(sizes))[:, None])

    def _masses_of(self, sizes: SizesUpto, idle: Floats, row: int) -> PointMasses:
        """Of the size in this row alone."""
        rows: list[Atoms] = [[] for _ in idle]
        rows[row] = self._point_masses(float(sizes.x[row]), float(idle[row]))
        return PointMasses.of(rows)

    def _point_masses(self, x: float, idle: float) -> Atoms:
        key = (x, idle)
        if key not in self._found_masses:
            self._found_masses[key] = point_masses(self.policy, self.rate, self.law, x, idle)
        return self._found_masses[key]

    def _uninterrupted(self, sizes: SizesUpto) -> Floats:
        """Probability that nobody goes before while the request is served."""
        x = sizes.x
        if not self.policy.preemptive:
            return np.ones(len(x))
        if isinstance(self.policy, MLFQ):
            return np.where(x <= self.policy.thresholds[0] * (1 + SAME), 1.0, np.exp(-self.rate * x))
        smaller, _ = sizes.cumulative((x[:, None] > 0).astype(float))
        within = sizes.along(smaller)[:, 0] if isinstance(self.policy, SRPT) else smaller[:, 0] * x
        return np.asarray(np.exp(-self.rate * within))

    @cached_property
    def _streams(self) -> Callable[[Work], Streams]:
        if isinstance(self.policy, MLFQ):
            return Levels(self.policy.thresholds)
        known: dict[type[Policy], Callable[[Work], Streams]] = {
            SJF: shortest_job,
            PSJF: preemptive_shortest_job,
            LAS: least_attained,
        }
        return known[type(self.policy)]

    @cached_property
    def _marks(self) -> frozenset[float]:
        return marks_of((self.law, *self.others))

    @cached_property
    def _atoms(self) -> tuple[Floats, Floats]:
        values, masses = arrays_of(self.law)
        more = np.setdiff1d([value for law in self.others for value in arrays_of(law)[0]], values)
        places = np.searchsorted(values, more)
        return np.insert(values, places, more), np.insert(masses, places, 0.0)

    @cached_property
    def _few(self) -> bool:
        """Whether the law of size is but a few values."""
        values, masses = self._atoms
        return 0 < len(values) <= FEW and bool(masses.sum() > 1.0 - SAME)


class SizeLaw:
    """The law of the response of requests whose sizes have these laws, parts of the queue's, in these shares.

    >>> from qmodel.workload import Exponential
    >>> unit = Exponential(mean=1.0)
    >>> round(SizeLaw([(1.0, unit)], SizedQueue(SJF(), 0.5, unit)).cdf(2.0), 6)
    0.705314
    """

    def __init__(self, own: Sequence[tuple[float, Distribution]], queue: SizedQueue) -> None:
        self._own, self._queue = own, queue
        self._terms = FIRST_TERMS
        self._error = 0.0
        self._seen: dict[float, float] = {}

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return self._error

    def together(self, shares: Sequence[float], laws: Sequence[Law]) -> Law | None:
        """The law of a request of any of these classes, if all are of one queue."""
        if not all(isinstance(law, SizeLaw) and law._queue is self._queue for law in laws):
            return None
        pairs = zip(shares, laws, strict=True)
        return SizeLaw([(q * p, own) for q, law in pairs for p, own in law._own], self._queue)  # type: ignore[attr-defined]

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= 0:
            return 0.0
        while True:
            coarse, fine = self._value(t, self._terms), self._value(t, 2 * self._terms)
            change = abs(fine - coarse)
            if change < STILL or 2 * self._terms >= self._queue.most_terms:
                break
            self._terms *= 2
        self._error = max(self._error, change)
        return fine

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        while True:
            terms = self._terms
            mean = math.fsum(share * law.mean for share, law in self._own)
            start = mean / (1.0 - self._queue.rate * self._queue.law.mean) ** 0.5
            jumps = self._queue.jumps
            t = interpolated(lambda t: self._value(t, self._terms), percent / 100.0, self._seen, start, jumps)
            self.cdf(t)
            if self._terms == terms:
                return t
            self._seen.clear()

    def _value(self, t: float, terms: int) -> float:
        sizes, given = self._queue.responses(t, terms)
        weights = sum(share * sizes.weights(law) for share, law in self._own)
        return float(np.clip(weights @ given, 0.0, 1.0))


def laws_by_size(policy: Policy, rate: float, law: Distribution, owners: Sequence[Distribution]) -> list[SizeLaw]:
    """One law for each of these laws of size, all parts of `law`, that share one queue.

    None at all where the components of the laws are so many that a simulation would be faster.
    """
    queue = SizedQueue(policy, rate, law, tuple(owners))
    return [SizeLaw([(1.0, own)], queue) for own in owners] if queue.is_quick else []
