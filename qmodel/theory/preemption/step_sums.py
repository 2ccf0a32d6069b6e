"""Sums over the steps of a service, at all sizes at once: what SRPT in steps of g seconds asks for.

    recycled(x)  = E[j g^2 + (S - j g)^2; S > x],  j = ceil((S - x)/g) - 1
    stretched(x) = sum_{0 < i < ceil(x/g)} g / (1 - rho((x - i g)-))

Both are sums over x + j g or x - i g, so that along the sizes xi, xi + g, xi + 2g, ... they are running sums: with
m_k(l) = E[S^k; xi + l g < S <= xi + (l + 1) g], from size xi + k g on,

    recycled = sum_{l >= k} m_2(l) - 2 g sum_{l > k} A_1(l) + 2 g^2 sum_{l > k} sum_{i >= l} A_0(i),

A_k(l) = sum_{i >= l} m_k(i). They are worked out at a few places xi of a step and interpolated. What the step at
the size itself brings (the first of recycled, the last of stretched) changes fast at small sizes and is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from qmodel.theory.numerics.sizes import components, landmarks, weighted_components
from qmodel.workload import Distribution
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int_]

PLACES, FEWER_PLACES, MANY_EDGES = 8, 4, 40
"""Of each part of a step, and where the law has many edges in it."""
UNFELT = 1e-30
"""Share of the requests below and above the sizes at which a component's moments change."""
NEAR = 1e-12
"""Relative distance at which a place is an end of a part of a step."""
HARD, SOFT = 1e-9, 1e-2
"""Least width of a part between point masses, and between places where the law merely changes fast, in steps."""


@dataclass(frozen=True)
class StepSums:
    """The sums for sizes of a law, arriving at this rate, in so many steps of length `grain`."""

    rate: float
    law: Distribution
    grain: float
    steps: int

    @cached_property
    def edges(self) -> Floats:
        """Places in a step, from 0 to g, where the sums jump or bend: at point masses and ends of the support."""
        found = {0.0, 1.0}
        for part in components(self.law):
            ends = [value for value, _ in part.atoms()] or part.support()
            found |= {end / self.grain % 1.0 for end in ends if end < math.inf}
        return self.grain * _apart(np.array(sorted(found)))

    @cached_property
    def parts(self) -> Floats:
        """Ends of the parts of a step inside which the sums are smooth: edges, and what is narrower than a step."""
        places: list[float] = []
        for part in components(self.law):
            marks = np.array([mark for mark in sorted(landmarks(part)) if self.grain < mark < math.inf])
            places += (marks[:-1][np.diff(marks) < self.grain] / self.grain % 1.0).tolist()
        after = np.clip(np.searchsorted(self.edges, self.grain * np.array(places)), 1, None)
        soft = {
            place
            for place, i in zip(places, after.tolist(), strict=True)
            if min(place - self.edges[i - 1] / self.grain, self.edges[i] / self.grain - place) > SOFT
        }
        wide = np.array(sorted({round(place / SOFT): place for place in soft}.values()))
        return np.union1d(self.edges, self.grain * wide)

    @cached_property
    def _places(self) -> Floats:
        """Of each part of a step, on (-1, 1)."""
        several = PLACES if len(self.edges) <= MANY_EDGES else FEWER_PLACES
        return np.polynomial.legendre.leggauss(several)[0]

    @cached_property
    def _polynomials(self) -> tuple[Floats, Floats]:
        """Both sums without the step at the size, as Legendre polynomials: by step, part of it, and degree."""
        low, high = self.parts[:-1, None], self.parts[1:, None]
        inside = self._places
        places = (0.5 * (low + high) + 0.5 * (high - low) * inside).reshape(-1)
        x = self.grain * np.arange(self.steps + 2)[:, None] + places
        upto = [moments_upto(self.law, k, x.reshape(-1)).reshape(x.shape) for k in (0, 1, 2)]
        none, first, second = (_tails(np.diff(moment, axis=0)) for moment in upto)
        recycled = second - 2.0 * self.grain * _tails(first) + 2.0 * self.grain**2 * _tails(_tails(none))
        prolonged = self.grain / (1.0 - self.rate * upto[1][1:-1])
        stretched = np.vstack((np.zeros((2, len(places))), np.cumsum(prolonged, axis=0)))[:-1]
        shape = (self.steps + 1, len(self.parts) - 1, len(inside))
        later = np.vstack((recycled[1:], np.zeros((1, len(places)))))
        to_polynomial = np.linalg.inv(np.polynomial.legendre.legvander(inside, len(inside) - 1)).T
        return later.reshape(shape) @ to_polynomial, stretched.reshape(shape) @ to_polynomial

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """Both sums at these sizes; one by one if they are few.

        >>> from qmodel.workload import Deterministic
        >>> sums = StepSums(0.5, Deterministic(1.0), 0.5, 3)
        >>> [float(found[0]) for found in sums(np.array([0.75]))], float(sums(np.array([1.75]))[1][0])
        ([1.0, 0.5], 2.0)
        """
        if len(x) <= (len(self.parts) - 1) * len(self._places):
            return self._recycled(x), self._stretched(x)
        recycled, stretched = self._polynomials
        step = np.floor(x / self.grain * (1.0 + NEAR)).astype(int)
        here = partial_moment(self.law, 2, x + self.grain) - partial_moment(self.law, 2, x)
        begun, left = self._begun(x)
        alone = np.where(begun > 0, self.grain / (1.0 - self.rate * partial_moment(self.law, 1, left)), 0.0)
        return (
            np.maximum(here + self._at(recycled, step, x - self.grain * step, "right"), 0.0),
            alone + self._at(stretched, begun, left, "left"),
        )

    def _begun(self, x: Floats) -> tuple[Whole, Floats]:
        """Steps that are whole before the last, and the length of the last without a rounding error."""
        begun = np.ceil(x / self.grain * (1.0 - NEAR)).astype(int) - 1
        return begun, (x - self.grain * begun) * (1.0 - 1e-13)

    def _at(self, polynomials: Floats, step: Whole, place: Floats, side: Literal["left", "right"]) -> Floats:
        """The polynomials at a place of a step; at an end of two parts, that of the part on this side of it."""
        off = NEAR * self.grain * (1.0 if side == "right" else -1.0)
        part = np.clip(np.searchsorted(self.parts, place + off, side=side) - 1, 0, len(self.parts) - 2)
        low, high, degree = self.parts[part], self.parts[part + 1], len(self._places) - 1
        powers = np.polynomial.legendre.legvander((2.0 * place - low - high) / (high - low), degree)
        return np.asarray((powers * polynomials[np.minimum(step, self.steps), part]).sum(axis=1))

    def _recycled(self, x: Floats) -> Floats:
        """By the partial moments of every step after each size."""
        j = np.arange(self.steps + 2)
        ends = x[:, None] + self.grain * j
        none, first, second = (np.diff(partial_moment(self.law, k, ends), axis=1) for k in (0, 1, 2))
        length = self.grain * j[:-1]
        terms = length * (self.grain + length) * none - 2.0 * length * first + second
        return np.maximum(terms.sum(axis=1), 0.0)

    def _stretched(self, x: Floats) -> Floats:
        """By the load at the end of every whole step before the last of each size."""
        begun, left = self._begun(x)
        j = np.arange(int(begun.max(initial=0)))
        ends = np.minimum(left[:, None] + self.grain * j * (1.0 - 1e-13), x[:, None])
        times = self.grain / (1.0 - self.rate * partial_moment(self.law, 1, ends))
        return np.asarray(np.where(j < begun[:, None], times, 0.0).sum(axis=1))


def moments_upto(law: Distribution, k: int, x: Floats) -> Floats:
    """E[S^k; S <= x] at increasing x: of each component it is worked out only where it changes.

    >>> from qmodel.workload import Uniform
    >>> moments_upto(Uniform(1.0, 3.0), 1, np.array([0.5, 2.0, 9.0])).tolist()
    [0.0, 0.75, 2.0]
    """
    found = np.zeros_like(x)
    for share, part in weighted_components(law):
        low, high = _changes_between(part)
        first, last = np.searchsorted(x, (low, high))
        found[first:last] += share * partial_moment(part, k, x[first:last])
        found[last:] += share * part.moment(k) if last < len(x) else 0.0
    return found


@lru_cache(maxsize=1024)
def _changes_between(part: Distribution) -> tuple[float, float]:
    """Sizes outside which next to no request is."""
    low, high = part.support()
    if part.atoms():
        return low, math.nextafter(high, math.inf)
    return float(part.quantile(UNFELT)), float(part.upper_quantile(UNFELT))


def _apart(places: Floats) -> Floats:
    """Places in order from 0 to 1, without those that are all but met by the one before or by 1."""
    return np.append(places[:-1][(np.diff(places) > HARD)], 1.0)


def _tails(values: Floats) -> Floats:
    """Sums from each row on."""
    return np.cumsum(values[::-1], axis=0)[::-1]
