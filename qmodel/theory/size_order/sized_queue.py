"""P(T <= t | x) under SJF, PSJF, SRPT, LAS and multilevel feedback, at all sizes x up to t at once.

For each t the law conditional on the size is inverted at all sizes up to t at once, to be summed over sizes: the
law of a request of any size is smooth where that of one size is not. Orders that need one theta for each s
(see `size_transforms`) are inverted along a contour of theta instead of s, ds = (1 - M''(theta)) dtheta, the same
for all sizes, so that no root has to be found. Point masses are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT, Policy
from qmodel.theory.numerics import euler
from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.numerics.sizes import components
from qmodel.theory.numerics.transforms import arrays_of
from qmodel.theory.one_server.atoms import Atoms
from qmodel.theory.size_order.remaining_time import RemainingTime
from qmodel.theory.size_order.size_atoms import PointMasses, multiples, point_masses
from qmodel.theory.size_order.size_transforms import (
    Levels,
    Streams,
    Work,
    least_attained,
    preemptive_shortest_job,
    shortest_job,
)
from qmodel.theory.size_order.sizes_upto import SizesUpto, marks_of
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]
    Masses = Callable[[SizesUpto, Floats, slice], PointMasses]

MOST_TERMS, MOST_TERMS_SRPT, MOST_TERMS_FEW = 256, 128, 4096
FEW, SAME = 16, 1e-12
TERMS_A_PANEL = 4
MULTIPLES = 7
"""Point masses at 2x ... (MULTIPLES + 1) x under LAS are kept apart."""
MOST_MARKS, MOST_MARKS_SRPT = 400, 120
"""Most ends of panels; the time grows with their number, under SRPT with its square."""
AT_ONCE, FEWEST_TERMS = 2e-6, 16
"""Up to x (1 + AT_ONCE) there are but the point masses, found with FEWEST_TERMS."""
FELT = 16.0
"""A point mass farther beyond t than FELT t / terms is not felt at t."""
BLOCK, NARROWEST = 8000, 12
"""Numbers that an array holds, about, and values of theta, so that what is made of them stays in the cache."""
WIDE = 0.5
"""Squared coefficient of variation of a law that is spread out."""
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
        if self.is_few:
            return MOST_TERMS_FEW
        return MOST_TERMS_SRPT if isinstance(self.policy, SRPT) else MOST_TERMS

    def responses(self, t: float, terms: int) -> tuple[SizesUpto, Floats]:
        """Sizes x up to t and P(T <= t | x)."""
        key = (t, terms)
        if key not in self._known:
            sizes = self._sizes(t, t, terms, self._atoms)
            given = np.zeros(len(sizes.x))
            upto = _rows_upto(t, sizes)
            if upto.stop:
                values, known = self._integrals(sizes, t, t, terms, self._masses, upto)
                given[upto] = values / t + known.upto(t)
            self._known[key] = sizes, np.where(sizes.x <= t * (1 + SAME), given, 0.0)
        return self._known[key]

    def times(self, terms: int) -> list[float]:
        """Times at which the law is known with so many terms."""
        return [t for t, known in self._known if known == terms]

    @property
    def is_quick(self) -> bool:
        """Whether the panels that the components of the laws need are not too many."""
        return len(self._marks) <= (MOST_MARKS_SRPT if isinstance(self.policy, SRPT) else MOST_MARKS)

    @cached_property
    def is_smooth(self) -> bool:
        """Whether sizes are spread over all lengths, and ranks have no steps: laws of responses bend at those."""
        return not isinstance(self.policy, MLFQ) and all(
            _is_wide(part) for law in (self.law, *self.others) for part in components(law)
        )

    @property
    def jumps(self) -> Floats:
        """Times at which the law of a response may jump, as far as they are known, in order."""
        if not self.is_few:
            return self._atoms[0]
        rows = [row for (x, idle) in self._found_masses for row in self._found_masses[x, idle]]
        return np.unique([time for time, _ in rows])

    def jumps_of(self, x: float) -> Floats:
        """Times at which the law given the size x may jump."""
        rows = [row for (size, idle), row in self._found_masses.items() if size == x]
        return np.unique([time for row in rows for time, _ in row])

    def response_of(self, x: float, t: float, terms: int) -> float:
        """P(T <= t | x)."""
        if x > t * (1 + SAME):
            return 0.0
        values, masses = self._atoms
        place = int(np.searchsorted(values, x * (1 - SAME)))
        if place == len(values) or values[place] > x * (1 + SAME):
            values, masses = np.insert(values, place, x), np.insert(masses, place, 0.0)
        at_once = t - x <= AT_ONCE * x
        span = x if at_once else t - x
        terms = min(terms, FEWEST_TERMS) if at_once else terms
        sizes = self._sizes(x * (1 + SAME), span, terms, (values, masses))
        row = len(sizes.nodes) + place
        values, known = self._integrals(sizes, t, span, terms, self._masses_of_one, slice(row, row + 1))
        return float(known.upto(t)[0] + (0.0 if at_once else values[0] / span))

    def _sizes(self, largest: float, span: float, terms: int, atoms: tuple[Floats, Floats]) -> SizesUpto:
        marks, reach = self._marks, largest
        if isinstance(self.policy, LAS):
            marks = marks | {span / k for k in range(2, MULTIPLES + 2)}
        if isinstance(self.policy, MLFQ):
            marks = marks | {largest, *self.policy.thresholds}
            reach = max(largest, min(self.policy.thresholds[-1], REACH * span))
        return SizesUpto.of(self.law, marks, atoms, reach, (TERMS_A_PANEL * span / terms, REACH * span))

    @property
    def _integrals(self) -> Callable[..., tuple[Floats, PointMasses]]:
        """P(T <= t | x) at the sizes in some rows: `span` times all but the point masses, and these.

        `span` is the time to which the contour is scaled.
        """
        return self._by_s if isinstance(self.policy, SRPT) else self._by_theta

    def _by_theta(
        self, sizes: SizesUpto, t: float, span: float, terms: int, masses: Masses, rows: slice
    ) -> tuple[Floats, PointMasses]:
        """The integral along a contour of theta, without the point masses, and these."""
        contour, weights = euler.contour(span, terms), euler.tapered(terms)
        decays = euler.decays(sizes.x, span, terms)
        x, width = sizes.x[rows, None], max(NARROWEST, BLOCK // len(sizes.x))
        values, known = np.zeros(len(x)), None
        for start in range(0, len(contour), width):
            here = slice(start, start + width)
            theta = contour[here]
            streams = self._streams(Work(sizes, self.rate, theta, np.ascontiguousarray(decays[:, here]))).at(rows)
            s = theta - streams.new
            delay = (streams.idle * theta + streams.again) / (theta - streams.old)
            stay = exponential(s * t - (theta if self.policy.preemptive else s) * x)
            if known is None:
                limit = t + min(FELT * span / terms, 1.0 / self.rate)
                known = masses(sizes, streams.idle[:, 0], rows).before(limit)
            gone = known.turned(s, t) if self.policy.preemptive else known.masses * stay
            integrand = (delay * stay - gone) * ((1.0 - streams.slope) / s)
            values += integrand.real @ weights[here]
        assert known is not None
        return values, known

    def _by_s(
        self, sizes: SizesUpto, t: float, span: float, terms: int, masses: Masses, rows: slice
    ) -> tuple[Floats, PointMasses]:
        """The same along a contour of s."""
        s = euler.contour(span, terms)
        found = RemainingTime(sizes, self.rate, s)
        known = masses(sizes, found.idle[rows], rows)
        turned = known.turned(np.broadcast_to(s, (len(sizes.x[rows]), len(s))), t)
        return ((found.transform(t, rows) - turned) / s).real @ euler.weights(terms), known

    def _masses(self, sizes: SizesUpto, idle: Floats, rows: slice) -> PointMasses:
        """Of each size, those that the sum over sizes does not smooth out."""
        x = sizes.x[rows]
        if self.is_few:
            sizes_and_chances = zip(x.tolist(), idle.tolist(), strict=True)
            return PointMasses.of([self._point_masses(size, chance) for size, chance in sizes_and_chances])
        if isinstance(self.policy, LAS):
            return multiples(self.rate * sizes.larger[rows], self.rate, x, idle, MULTIPLES)
        return PointMasses(x[:, None], (idle * self._uninterrupted(sizes)[rows])[:, None])

    def _masses_of_one(self, sizes: SizesUpto, idle: Floats, rows: slice) -> PointMasses:
        """Of one size alone, all of them."""
        return PointMasses.of([self._point_masses(float(sizes.x[rows][0]), float(idle[0]))])

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
    def is_few(self) -> bool:
        """Whether the law of size is but a few values."""
        values, masses = self._atoms
        return 0 < len(values) <= FEW and bool(masses.sum() > 1.0 - SAME)


def _rows_upto(t: float, sizes: SizesUpto) -> slice:
    """Rows of the sizes up to t, or of all where there are atoms, which come after all nodes."""
    if len(sizes.atoms):
        return slice(0, len(sizes.x))
    return slice(0, int(np.searchsorted(sizes.nodes, t * (1 + SAME))))


def _is_wide(law: Distribution) -> bool:
    """Whether a law has sizes of all lengths, none much likelier than those around it."""
    return law.support() == (0.0, np.inf) and law.moment(2) >= (1.0 + WIDE) * law.mean**2
