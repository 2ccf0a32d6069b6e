"""The Gittins rank of a size law: the least expected service per completion that going on can promise.

A request of age a may be served for up to D more seconds. Its rank is the reciprocal of the Gittins index,

    r(a) = inf over D > 0 of  E[min(S - a, D) | S > a] / P(S - a <= D | S > a)
         = inf over b > a of  (R(a) - R(b)) / (P(S > a) - P(S > b)),      R(x) = E[(S - x)^+],

and lowest rank first minimises the mean response of M/G/1 over all orders that know the law but not the sizes. As
D -> 0 the ratio is 1/hazard. Along the points (P(S > b), R(b)) it is the slope of a chord, so all ages together
take one pass over the lower convex hull. Exponential: constant (FCFS); falling hazard: 1/hazard, so LAS; rising
hazard: E[S - a | S > a], which falls, so FCFS. Sources: Gittins, *J. R. Statist. Soc.* B 41 (1979) 148-177;
Aalto, Ayesta & Righter, *Queueing Systems* 63 (2009) 437-458.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.distribution import Distribution, Mixture, Scaled, Shifted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAME = 1e-10
"""Relative difference of neighbouring ranks below which they are one: that of an exponential must not flicker."""
SMOOTH = 1e-7
"""Relative step between two pieces that is none: the hazard is looked at a little before and after an age."""
PARTS_OF_GAP = 24
"""Pieces of a stretch of ages at which nothing ends, at least, in a law of few point masses."""
MANY_ATOMS = 16
WIDEST = 1.35
"""Ratio of the ends of a piece, at most, past a hundredth of the mean."""
ROUNDING = 2e-15
"""Relative error of an age: of a cell so narrow that its ends are not told apart, the density is integrated."""
DIGITS = 12
"""Digits of a rank at birth that count: classes of one mean whose hazards rise have the same."""


@dataclass(frozen=True)
class RankTable:
    """Pieces from age `start` to age `end` on which the rank goes straight from `first` to `last`.

    After the last piece a rank that rises goes on as it did, any other stays.

    >>> from qmodel.workload import Deterministic
    >>> round(gittins_table(Deterministic(2.0)).at(0.5), 9)
    1.5
    """

    start: Floats
    end: Floats
    first: Floats
    last: Floats

    def at(self, age: float) -> float:
        """The rank at this age."""
        starts, ends, firsts, lasts = self._lists
        i = bisect_right(starts, age) - 1
        part, rise = (age - starts[i]) / (ends[i] - starts[i]), lasts[i] - firsts[i]
        return lasts[i] if part >= 1.0 and rise <= 0.0 else firsts[i] + part * rise

    def divided(self, weight: float) -> RankTable:
        """The table of a request whose completion is worth `weight`."""
        return RankTable(self.start, self.end, self.first / weight, self.last / weight)

    @property
    def falls(self) -> bool:
        """Whether no age is worse than the first: the order is FCFS."""
        return bool(max(self.first.max(), self.last.max()) <= self.first[0])

    @property
    def rises(self) -> bool:
        """Whether no age is better than one before: the order is LAS, whose ties may be broken at will."""
        steps = (self.first[1:] >= self.last[:-1] * (1 - SAME)).all() and (self.last >= self.first).all()
        return bool(steps and self.last[-1] > self.first[0])

    @cached_property
    def _lists(self) -> tuple[list[float], ...]:
        return tuple(column.tolist() for column in (self.start, self.end, self.first, self.last))


@lru_cache(maxsize=128)
def gittins_table(law: Distribution) -> RankTable:
    """The Gittins rank by age for sizes of this law.

    >>> from qmodel.workload import Exponential, Uniform
    >>> round(gittins_table(Exponential(mean=3.0)).at(7.0), 9)
    3.0
    >>> round(gittins_table(Uniform(0.0, 2.0)).at(0.5), 9)
    0.75
    """
    ages = _ages(law)
    mass = dict(law.atoms())
    at_end = np.array([mass.get(float(age), 0.0) for age in ages[1:]])
    served, ended = _cells(law, ages, at_end)
    after, before = _reciprocal_hazard(law, ages[:-1] * (1 + 1e-12)), _reciprocal_hazard(law, ages[1:] * (1 - 1e-9))
    first, last = np.empty(len(served)), np.empty(len(served))
    hull = [(float(after_all), left) for after_all, left in _tail(law, float(ages[-1]))]
    for i in range(len(served) - 1, -1, -1):
        if at_end[i] > 0:
            hull = _joined(hull, 0.0, float(at_end[i]))
        last[i] = min(_slope(hull), before[i])
        hull = _joined(hull, float(served[i]), float(ended[i]))
        first[i] = min(_slope(hull), after[i])
    smooth = np.abs(last[:-1] - first[1:]) <= SMOOTH * first[1:]
    last[:-1] = np.where(smooth, first[1:], last[:-1])
    return _level_where_same(ages[:-1], ages[1:], first, last)


def _slope(hull: list[tuple[float, float]]) -> float:
    """Slope of the first side; infinite for none."""
    if not hull:
        return np.inf
    served, ended = hull[-1]
    return served / ended if ended > 0 else np.inf


def _joined(hull: list[tuple[float, float]], served: float, ended: float) -> list[tuple[float, float]]:
    """The hull with one more side in front, sides that bend inwards made one."""
    while hull and served * hull[-1][1] >= hull[-1][0] * ended:
        more = hull.pop()
        served, ended = served + more[0], ended + more[1]
    hull.append((served, ended))
    return hull


def _cells(law: Distribution, ages: Floats, at_end: Floats) -> tuple[Floats, Floats]:
    """Expected service in each cell, and probability of ending in it before its right end."""
    width = np.diff(ages)
    places = ages[:-1, None] + width[:, None] * _PLACES
    served, smoothly = (width * (f(places.reshape(-1)).reshape(places.shape) @ _WEIGHTS) for f in (law.sf, law.pdf))
    upto, beyond = law.cdf(ages), law.sf(ages)
    rising, falling = np.diff(upto) - at_end, -np.diff(beyond) - at_end
    ended = np.where(upto[1:] < 0.5, rising, falling)
    noise = 4e-16 * np.where(upto[1:] < 0.5, upto[1:], beyond[:-1])
    rounded = np.abs(smoothly - ended) * width <= ROUNDING * ages[1:] * ended
    return served, np.where(ended > noise, np.where(rounded, smoothly, ended), 0.0)


def _tail(law: Distribution, age: float) -> Iterator[tuple[float, float]]:
    """What lies past the last age, as one side."""
    left = float(law.sf(age))
    if left > 0:
        rest = float(_reciprocal_hazard(law, np.array([age]))[0])
        if np.isfinite(rest):
            yield left * rest, left


def _reciprocal_hazard(law: Distribution, ages: Floats) -> Floats:
    with np.errstate(all="ignore"):
        density, left = np.asarray(law.pdf(ages), dtype=float), np.asarray(law.sf(ages), dtype=float)
        return np.where((density > 0) & (left > 0), left / density, np.inf)


def _level_where_same(start: Floats, end: Floats, first: Floats, last: Floats) -> RankTable:
    """Ranks that differ by rounding made equal; infinite ones (a rank without a finite mean) made large."""
    largest = float(max(first[np.isfinite(first)].max(), last[np.isfinite(last)].max(initial=0.0)))
    ranks = np.column_stack((first, last)).reshape(-1)
    ranks[~np.isfinite(ranks)] = largest
    for i in range(1, len(ranks)):
        if abs(ranks[i] - ranks[i - 1]) <= SAME * ranks[i - 1]:
            ranks[i] = ranks[i - 1]
    ranks[ranks == ranks[0]] = _to_digits(float(ranks[0]))
    return RankTable(start, end, ranks[0::2].copy(), ranks[1::2].copy())


def _to_digits(rank: float) -> float:
    """The rank at birth to `DIGITS` digits: those of two classes that are equal are not set apart by rounding."""
    return float(f"{rank:.{DIGITS}g}")


def _ages(law: Distribution) -> Floats:
    """Ages from 0 on that resolve the law: quantiles, ends of its parts, point masses, and points in between."""
    atoms = [value for value, _ in law.atoms()]
    found = {0.0, *atoms}
    for part in (law, *_parts(law)):
        if not part.atoms():
            found |= {end for end in part.support() if np.isfinite(end)}
            found |= set(np.asarray(part.quantile(np.append(10.0 ** -np.arange(12, 1, -0.5), _MIDDLE))).tolist())
            found |= set(np.asarray(part.upper_quantile(10.0 ** -np.arange(0.25, 15.1, 0.25))).tolist())
    edges = np.array(sorted(age for age in found if np.isfinite(age)))
    edges = edges[np.append(True, np.diff(edges) > 1e-12 * edges[1:])]
    few = len(atoms) <= MANY_ATOMS
    return _filled(edges, law, PARTS_OF_GAP if few else 2)


def _filled(edges: Floats, law: Distribution, parts: int) -> Floats:
    """Points added where neighbours are far apart, most where nothing ends between them."""
    floor = 0.01 * law.mean
    idle = np.asarray(law.pdf(0.5 * (edges[:-1] + edges[1:]))) == 0
    finer = [edges[:1]]
    for low, high, empty in zip(edges[:-1], edges[1:], idle, strict=True):
        pieces = 1
        if high > floor:
            pieces = int(np.ceil(np.log(high / max(low, floor)) / np.log(WIDEST)))
            pieces = max(pieces, parts if empty else 1)
        finer.append(np.linspace(low, high, pieces + 1)[1:])
    return np.concatenate(finer)


def _parts(law: Distribution) -> Iterator[Distribution]:
    """The laws that a mixture is made of, each scaled and shifted as in the whole."""
    if isinstance(law, Mixture):
        for p, part in zip(law.probabilities, law.laws, strict=True):
            if p > 0:
                yield part
                yield from _parts(part)
    elif isinstance(law, Scaled):
        yield from (part.scaled(law.factor) for part in _parts(law.law))
    elif isinstance(law, Shifted):
        yield from (part.shifted(law.offset) for part in _parts(law.law))


_MIDDLE = np.arange(1, 96) / 96.0
_PLACES, _WEIGHTS = (
    0.5 * (part + shift) for part, shift in zip(np.polynomial.legendre.leggauss(8), (1.0, 0.0), strict=True)
)
