"""What processor sharing reads of a law of size: P(S > v) in pieces, its point masses, and where it turns.

Nothing else is asked of the law, so one of a thousand components, or with a density infinite at 0, is as good as
any. With F = E[g(S)] by parts, only P(S > v) is ever evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.sizes import weighted_components
from qmodel.theory.one_server.sharing_equation import INSIDE, LargerSizes
from qmodel.theory.one_server.sharing_pieces import Pieces, Table, derivatives, gauss, legendre, primitives
from qmodel.theory.size_order.sizes_upto import arrays_of
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RATIO = 8.0
"""Ratio of the ends of a panel, before it is halved where P(S > v) asks for it."""
SHORTEST, RARE = 1e-4, 1e-3
"""The first panel is at least this share of the mean long, and as long as where P(S <= v) is RARE."""
SMALL = 0.3
"""Share of the mean below which the borders of sums by parts are not taken from the table."""
ROUGH = 1e-3
"""Panels of the table shorter than this share of the mean may be too rough for sums over small sizes alone."""
MOST_SUPPORTS = 32
"""Ends of the supports of no more components than these are ends of panels."""
NARROW, MOST_NARROW, FAR = 1e-3, 40, 1e-9
"""Components with an scv below NARROW have panels of their own, between their quantiles FAR from both ends."""
MOST_MASSES, MOST_VALUES = 128, 20_000
"""Point masses in the equation, and in the sum over sizes; more are put together by twos."""
UNFELT = 1e-12
MOST_TURNS, FELT, DEEPEST = 24, 1e-3, 6
"""Turning points: how many, the least weight of one, and sums of how many."""


@dataclass(frozen=True)
class SizeTable:
    """P(S > v) of one law for v up to `reach`: a table without the point masses, which are apart; and as it is."""

    mean: float
    exact: Callable[[Floats], Floats]
    smooth: Table
    values: Floats
    masses: Floats

    @classmethod
    def of(cls, law: Distribution, reach: float) -> SizeTable:
        """Its table from 0 to `reach`."""
        values, masses = in_cells(*arrays_of(law), MOST_VALUES)
        mean = law.mean
        exact = smooth_part(law)
        return cls(mean, exact, Table.of(exact, _ends(law, mean, reach), mean), values, masses)

    @property
    def reach(self) -> float:
        """Where the table ends."""
        return float(self.smooth.pieces.ends[-1])

    @cached_property
    def discrete(self) -> bool:
        """Whether all sizes are point masses."""
        return bool(self.masses.sum() > 1.0 - UNFELT)

    @cached_property
    def larger(self) -> LargerSizes:
        """For the equation: the table and few point masses."""
        felt = self.masses > UNFELT
        return LargerSizes(self.smooth, *in_cells(self.values[felt], self.masses[felt], MOST_MASSES))

    def attained(self, x: Floats) -> Floats:
        """E[min(S, x)] / E[S], elementwise.

        >>> from qmodel.workload import Exponential
        >>> table = SizeTable.of(Exponential(1.0), 10.0)
        >>> bool(abs(table.attained(np.array([2.0])) - (1 - math.exp(-2.0))).max() < 1e-8)
        True
        """
        pieces = self.smooth.pieces
        panel = pieces.panel_of(x)
        inside = np.einsum(
            "sp,ps->s", self.smooth.coefficients[panel], primitives(pieces.local(x, panel), pieces.order)
        )
        whole = self.smooth.coefficients[:, 0] * pieces.width
        before = np.concatenate(([0.0], np.cumsum(whole)))[panel]
        place = np.searchsorted(self.values, x, side="right")
        below = np.concatenate(([0.0], np.cumsum(self.values * self.masses)))[place]
        above = np.concatenate((np.cumsum(self.masses[::-1])[::-1], [0.0]))[place]
        return np.asarray((before + 0.5 * pieces.width[panel] * inside + below + x * above) / self.mean)

    def weights(self, pieces: Pieces) -> Floats:
        """Weights w with E[g(S); S <= the last end] = w @ g(nodes), for g smooth in each panel; no point masses."""
        order, count = pieces.order, len(pieces.width)
        at_ends = self.smooth(pieces.ends[:, None])[:, 0]
        small = pieces.ends < SMALL * self.mean  # the table's panels are short there, and so less exact
        at_ends[small] = self.exact(pieces.ends[small])
        signs = (-1.0) ** np.arange(order)
        borders = signs * at_ends[:-1, None] - at_ends[1:, None]
        moments = self._moments(pieces, count, order)
        by_parts = borders + (2.0 / pieces.width)[:, None] * (moments @ derivatives(order).T)
        return np.asarray((by_parts @ gauss(order)[2]).reshape(-1))

    def _moments(self, pieces: Pieces, count: int, order: int) -> Floats:
        """Integrals of P(S > x) with each Legendre polynomial over each panel."""
        cuts = np.union1d(pieces.ends, np.clip(self.smooth.pieces.ends, pieces.ends[0], pieces.ends[-1]))
        half = 0.5 * np.diff(cuts)[:, None]
        x = 0.5 * (cuts[1:] + cuts[:-1])[:, None] + half * gauss(INSIDE)[0]
        panel = pieces.panel_of(x[:, 0])
        larger = self.smooth(x)
        rough = self.smooth.pieces.width[self.smooth.pieces.panel_of(x[:, 0])] < ROUGH * self.mean
        if rough.any():
            larger[rough] = self.exact(x[rough])
        weighted = larger * half * gauss(INSIDE)[1]
        each = np.einsum("sn,psn->sp", weighted, legendre(pieces.local(x, panel[:, None]), order))
        return np.asarray(np.stack([np.bincount(panel, column, count) for column in each.T], axis=1))


def smooth_part(law: Distribution) -> Callable[[Floats], Floats]:
    """P(S > v) less the point masses above v, as a function of v.

    >>> from qmodel.workload import Deterministic, Mixture, Uniform
    >>> smooth_part(Mixture((0.5, 0.5), (Deterministic(1.0), Uniform(0.0, 2.0))))(np.array([0.5])).tolist()
    [0.375]
    """
    parts = []
    for share, part in weighted_components(law):
        values, masses = arrays_of(part) if part.atoms() else _NOTHING
        if masses.sum() < 1.0 - UNFELT:
            parts.append((share, part, values, np.append(np.cumsum(masses[::-1])[::-1], 0.0)))

    def function(v: Floats) -> Floats:
        out = np.zeros_like(v)
        for share, part, values, above in parts:
            out += share * np.clip(part.sf(v) - above[np.searchsorted(values, v, side="right")], 0.0, 1.0)
        return out

    return function


_NOTHING = (np.empty(0), np.empty(0))


def _ends(law: Distribution, mean: float, reach: float) -> Floats:
    """0, `reach`, where the components' supports end, and steps of a constant ratio between."""
    first = max(float(law.quantile(np.array([RARE]))[0]), SHORTEST * mean)
    steps = max(math.ceil(math.log(reach / first, RATIO)), 0)
    inner = {first * RATIO**k for k in range(steps)} | {end for end, _ in _supports(law)}
    for part in narrow_parts(law)[:MOST_NARROW]:
        inner |= {*part.quantile(np.array([FAR, 0.5])).tolist(), float(part.upper_quantile(FAR))}
    return np.array(sorted({0.0, reach} | {end for end in inner if 0 < end < reach}))


def narrow_parts(law: Distribution) -> list[Distribution]:
    """The components of hardly any spread that are no point masses."""
    return [part for _, part in weighted_components(law) if part.scv < NARROW and not part.atoms()]


def _supports(law: Distribution) -> list[tuple[float, float]]:
    """Ends of the supports of the components that have a density, with their shares."""
    parts = [(share, part) for share, part in weighted_components(law) if not part.atoms()]
    ends = [(end, share) for share, part in parts[:MOST_SUPPORTS] for end in part.support()]
    return [(end, share) for end, share in ends if 0 < end < math.inf]


def in_cells(values: Floats, masses: Floats, most: int) -> tuple[Floats, Floats]:
    """The point masses; of more than `most` the largest half of `most`, and the others two to a cell of many.

    A cell keeps its first three moments.

    >>> values, masses = in_cells(np.arange(1.0, 1001.0), np.full(1000, 1e-3), 128)
    >>> len(values), round(float(values**3 @ masses), 3) == round(500500**2 / 1000, 3)
    (128, True)
    """
    if len(values) <= most:
        return values, masses
    few = len(values) - most // 2
    points, shares = _by_twos(values[:few], masses[:few], most // 4)
    return np.concatenate((points, values[few:])), np.concatenate((shares, masses[few:]))


def _by_twos(values: Floats, masses: Floats, count: int) -> tuple[Floats, Floats]:
    """Two points for each of `count` cells, with its mass, mean, variance and third moment."""
    starts = np.unique(np.linspace(0, len(values), count + 1).astype(int))[:-1]
    mass = np.add.reduceat(masses, starts)
    mean = np.add.reduceat(masses * values, starts) / mass
    away = values - np.repeat(mean, np.diff(np.append(starts, len(values))))
    spread = np.sqrt(np.add.reduceat(masses * away**2, starts) / mass)
    third = np.add.reduceat(masses * away**3, starts) / mass
    skew = np.divide(third, spread**3, out=np.zeros_like(third), where=spread > 1e-9 * mean)
    root = np.sqrt(1.0 + 0.25 * skew**2)
    points = mean + spread * np.stack((0.5 * skew - root, 0.5 * skew + root))
    shares = mass * 0.5 * (1.0 + np.stack((0.5 * skew, -0.5 * skew)) / root)
    order = np.argsort(points.reshape(-1))
    return points.reshape(-1)[order], shares.reshape(-1)[order]


def turning_points(law: Distribution, t: float) -> list[float]:
    """Sizes below t where y bends: point masses, ends of support, and sums of few of them, the sharpest first.

    The k-th derivative of y jumps at a sum of k, ever less.
    """
    values, masses = arrays_of(law)
    known = [(float(v), float(p)) for v, p in zip(values, masses, strict=True) if p > FELT]
    known = _sharpest(known + [(end, 0.3 * share) for end, share in _supports(law)], t)
    found, last = known, known
    for depth in range(2, DEEPEST + 1):
        last = _sharpest([(a + b, p * q / depth) for a, p in last for b, q in known], t)
        found = found + last
    return [place for place, _ in _sharpest(found, t)]


def _sharpest(points: list[tuple[float, float]], t: float) -> list[tuple[float, float]]:
    """Those below t of some weight, at most MOST_TURNS."""
    kept = [(place, weight) for place, weight in points if place < t and weight > FELT]
    return sorted(kept, key=lambda point: -point[1])[:MOST_TURNS]
