"""SOAP: the exact mean response of M/G/1 under any order whose rank depends on a request's facts and its age.

For a request of size x with facts d let r be its worst rank over ages [0, x). Another request is relevant at
ages where its rank is at most r (below r if it comes later). With X_i the lengths of an old request's
relevant intervals, X_0 the one from age 0, and X' that of a new request, lambda their rate:

    E[T] = (lambda/2) sum_i E[X_i^2] / ((1 - lambda E[X_0]) (1 - lambda E[X']))
           + int_0^x da / (1 - lambda E[X'_{r(a)}])

where r(a) is the worst rank over ages [a, x). The rank is looked at, not assumed: it becomes straight pieces
with jumps. Ranks that know sizes or predictions are taken at a fine sample of them, twice, and extrapolated.
Source: Scully, Harchol-Balter & Scheller-Wolf, *Proc. ACM Meas. Anal. Comput. Syst.* 2 (SIGMETRICS 2018),
article 16.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.rank.rank_path import Path
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


TOGETHER = 200_000
"""Pieces of paths, once a level of rank, that are looked at in one go."""


@dataclass(frozen=True)
class Kind:
    """Requests of one rank path: their rate, and the law of their size; without one, the path ends at their size.

    `sampled`: that size stands for a small range of sizes, so that its ties with itself count half.
    """

    rate: float
    path: Path
    law: Distribution | None = None
    sampled: bool = False

    def first_two(self, start: Floats, end: Floats) -> tuple[Floats, Floats]:
        """E[L] and E[L^2] of the part L of the service at ages from start to end."""
        assert self.law is not None
        far, near = ([limited_moment(self.law, k, age) for k in (1, 2)] for age in (end, start))
        first = far[0] - near[0]
        with np.errstate(invalid="ignore"):
            second = np.where(np.isinf(far[1]), math.inf, far[1] - near[1] - 2 * start * first)
        return first, np.maximum(second, 0.0)


@dataclass(frozen=True)
class Background:
    """Requests outside the order that always go first, per second: their load, and half their E[S^2].

    Classes of higher priority, say: every age of theirs outranks every age of the others that can be interrupted;
    with `interrupts`, also those that no rank of the order itself interrupts.
    """

    load: float = 0.0
    residual: float = 0.0
    interrupts: bool = True


@dataclass(frozen=True)
class Level:
    """What is relevant at a level of rank, per second: E[sum X_i^2]/2 and E[X_0] of old work, E[X'] of new work."""

    residual: float
    old: float
    new: float


class Relevance:
    """Relevant work at any level of rank, over all kinds of requests."""

    def __init__(self, kinds: Sequence[Kind], accidental: int = 1, background: Background | None = None) -> None:
        """`accidental`: up to so many sampled kinds may begin at one rank by the way they were sampled."""
        self._kinds, self._accidental = kinds, accidental
        self.background = background or Background()
        self._known: dict[tuple[float, bool], Level] = {}
        self._owner = np.repeat(np.arange(len(kinds)), [len(kind.path.start) for kind in kinds])
        paths = [kind.path for kind in kinds]
        self._start, self._end = (np.concatenate([getattr(p, n) for p in paths]) for n in ("start", "end"))
        self._first, self._last = (np.concatenate([getattr(p, n) for p in paths]) for n in ("first", "last"))
        self._sum_known: dict[tuple[float, bool], tuple[float, float]] = {}
        self._at_birth = np.array([path.first[0] for path in paths])
        self._ties = Counter(self._at_birth.tolist())
        self._rate = np.array([kind.rate for kind in kinds])
        self._by_law = [i for i, kind in enumerate(kinds) if kind.law is not None]

    def at(self, level: float, sampled: bool = False) -> Level:
        """At this level; accidental ties of sampled kinds count half, others for the earlier arrival."""
        halved = sampled and self.tied(level) <= self._accidental
        key = (level, halved)
        if key not in self._known:
            self._known[key] = self._averaged(level) if halved else self._exact(level)
        return self._known[key]

    def tied(self, level: float) -> int:
        """Number of kinds that begin exactly at this level."""
        return self._ties.get(level, 0)

    def _exact(self, level: float) -> Level:
        squares, first = self._sums(level, strict=False)
        return self._with_background(squares / 2.0, first, self._sums(level, strict=True)[1])

    def _with_background(self, residual: float, old: float, new: float) -> Level:
        more = self.background
        return Level(residual + more.residual, old + more.load, new + more.load)

    def _averaged(self, level: float) -> Level:
        with_ties, without = (self._sums(level, strict) for strict in (False, True))
        load = (with_ties[1] + without[1]) / 2.0
        return self._with_background((with_ties[0] + without[0]) / 4.0, load, load)

    def prepare(self, levels: Floats) -> None:
        """Look at many levels at once, for kinds with a law of size: their moments are asked for in one go."""
        if not self._by_law or len(self._by_law) < len(self._kinds):
            return
        wanted = [(float(level), strict) for level in np.unique(levels) for strict in (False, True)]
        met = {*self._first.tolist(), *self._last.tolist()}
        keys = [(level, strict) for level, strict in wanted if not strict or level in met]
        levels, stricts = np.array([key[0] for key in keys]), np.array([key[1] for key in keys])
        asked, owner, low, high = self._all_intervals(levels, stricts)
        level, strict = levels[asked], stricts[asked]
        birth = self._at_birth[owner]
        from_birth = (low == 0) & np.where(strict, birth < level, birth <= level)
        one, two = np.empty(len(owner)), np.empty(len(owner))
        for i in self._by_law:
            mine = owner == i
            one[mine], two[mine] = self._kinds[i].first_two(low[mine], high[mine])
        rate = self._rate[owner]
        squares = np.bincount(asked, weights=rate * two, minlength=len(keys))
        first = np.bincount(asked, weights=rate * one * from_birth, minlength=len(keys))
        sums = dict(zip(keys, zip(squares.tolist(), first.tolist(), strict=True), strict=True))
        self._sum_known |= {(level, strict): sums[level, strict and level in met] for level, strict in wanted}

    def _sums(self, level: float, strict: bool) -> tuple[float, float]:
        """Per second, E of the squared lengths of all relevant intervals, and of the length of the one at age 0."""
        if (level, strict) in self._sum_known:
            return self._sum_known[level, strict]
        owner, low, high = self._intervals(level, strict)
        born = self._at_birth < level if strict else self._at_birth <= level
        rate = self._rate[owner]
        from_birth = (low == 0) & born[owner]
        if not self._by_law:
            length = high - low
            return float(rate @ length**2), float((rate * from_birth) @ length)
        squares = first = 0.0
        for i in self._by_law:
            mine = owner == i
            one, two = self._kinds[i].first_two(low[mine], high[mine])
            squares += float(self._rate[i] * two.sum())
            first += float(self._rate[i] * one[from_birth[mine]].sum())
        return squares, first

    def _intervals(self, level: float, strict: bool) -> tuple[NDArray[np.int_], Floats, Floats]:
        """Relevant intervals of age, those that touch at a relevant age made one: whose, from, to."""
        return self._some_intervals(np.array([level]), np.array([strict]))[1:]

    def _all_intervals(
        self, levels: Floats, stricts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int_], NDArray[np.int_], Floats, Floats]:
        """As `_intervals` for many levels: at which, whose, from, to."""
        rows = max(1, TOGETHER // len(self._start))
        begins = range(0, len(levels), rows)
        found = [self._some_intervals(levels[i : i + rows], stricts[i : i + rows]) for i in begins]
        asked = np.concatenate([each[0] + i for i, each in zip(begins, found, strict=True)])
        owner, low, high = (np.concatenate([each[k] for each in found]) for k in (1, 2, 3))
        return asked, owner, low, high

    def _some_intervals(
        self, levels: Floats, stricts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int_], NDArray[np.int_], Floats, Floats]:
        start, end, first, last = self._start, self._end, self._first, self._last
        level, strict = levels[:, None], stricts[:, None]
        in_first, in_last = (np.where(strict, rank < level, rank <= level) for rank in (first, last))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            crossing = start + (level - first) / (last - first) * (end - start)
        low = np.where(in_first, start, np.where(in_last, crossing, end))
        high = np.where(in_last, end, np.where(in_first, crossing, start))
        kept = high > low
        asked, piece = np.nonzero(kept)
        owner, low, high, starts_in = self._owner[piece], low[kept], high[kept], in_first[kept]
        if not len(owner):
            return asked, owner, low, high
        same = (owner[1:] == owner[:-1]) & (asked[1:] == asked[:-1])
        opens = np.append(True, ~same | (low[1:] != high[:-1]) | ~starts_in[1:])
        closes = np.append(opens[1:], True)
        return asked[opens], owner[opens], low[opens], high[closes]


@dataclass(frozen=True)
class Newcomers:
    """Load of newcomers below a rank, at ranks that may occur; straight in between. `always` goes before any."""

    levels: Floats
    loads: Floats
    always: float = 0.0

    @classmethod
    def of(cls, kinds: Sequence[Kind], relevance: Relevance, more: Floats) -> Newcomers:
        """At the worst ranks of sampled kinds, the ends of all pieces, and `more`."""
        sampled = {kind.path.worst: kind.sampled for kind in kinds}
        blind = [kind.path for kind in kinds if kind.law is not None]
        ends = {float(end) for path in blind for end in (*path.first, *path.last)}
        levels = sorted(level for level in {*sampled, *ends, *more.tolist()} if math.isfinite(level))
        relevance.prepare(np.array(levels))
        loads = [relevance.at(level, sampled.get(level, False)).new for level in levels]
        always = relevance.background.load if relevance.background.interrupts else 0.0
        return cls(np.array(levels), np.array(loads), always)

    def below(self, ranks: Floats) -> Floats:
        """Load of newcomers that outrank each rank; only the background outranks minus infinity."""
        found = np.interp(np.maximum(ranks, self.levels[0]), self.levels, self.loads)
        return np.where(ranks == -math.inf, self.always, found)


def mean_response(kind: Kind, size: float, relevance: Relevance, newcomers: Newcomers) -> float:
    """Mean response of requests of this kind and size."""
    worst = kind.path.worst_upto(size)
    here = relevance.at(worst, kind.sampled)
    delay = here.residual / ((1.0 - here.old) * (1.0 - here.new))
    return delay + _stay(kind.path, size, newcomers, {worst: here.new})


def mean_responses(kind: Kind, sizes: Floats, relevance: Relevance, newcomers: Newcomers) -> Floats:
    """`mean_response` for many sizes of one kind, of which no size is sampled."""
    worst = kind.path.worst_before(sizes)
    levels = [relevance.at(float(level)) for level in worst]
    residual, old, new = (np.array([getattr(each, name) for each in levels]) for name in ("residual", "old", "new"))
    return np.asarray(residual / ((1.0 - old) * (1.0 - new)) + _stays(kind.path, sizes, newcomers, worst, new))


def _stays(path: Path, sizes: Floats, newcomers: Newcomers, worst: Floats, loads: Floats) -> Floats:
    """`_stay` for many sizes, one a row; `loads` are those of newcomers at the worst ranks."""
    start, seen = path.start, path.start < sizes[:, None]
    end = np.minimum(path.end, sizes[:, None])
    part = np.clip((sizes[:, None] - start) / (path.end - start), 0.0, 1.0)
    finite = np.isfinite(path.first)
    first = np.where(seen, path.first, -math.inf)
    last = np.where(seen, np.where(finite, path.first, 0.0) + part * path.rises, -math.inf)
    last[:, ~finite] = first[:, ~finite]
    ahead = np.maximum.accumulate(np.maximum(first, last)[:, ::-1], axis=1)[:, ::-1]
    later = np.hstack((ahead[:, 1:], np.full((len(sizes), 1), -math.inf)))
    rank = np.maximum(last, later)
    known = np.where(rank == worst[:, None], loads[:, None], newcomers.below(rank))
    stretch = 1.0 / (1.0 - known)
    row, piece = np.nonzero((last < first) & (first > later) & seen)
    drop = last[row, piece] - first[row, piece]
    falling = np.maximum(first[row, piece, None] + _PLACES * drop[:, None], later[row, piece, None])
    below = np.where(falling == worst[row, None], loads[row, None], newcomers.below(falling))
    stretch[row, piece] = (1.0 / (1.0 - below)) @ _WEIGHTS
    return np.asarray(np.where(seen, (end - start) * stretch, 0.0).sum(axis=1))


def _stay(path: Path, size: float, newcomers: Newcomers, exactly: dict[float, float]) -> float:
    """Time from the first service on: each age stretched by the newcomers that outrank the worst still to come.

    `exactly`: loads of newcomers at ranks where they need no table.
    """
    seen = path.start < size
    start, end = path.start[seen], np.minimum(path.end[seen], size)
    first, last = path.first[seen], path.at_end(size)[seen]
    later = np.append(np.maximum.accumulate(np.maximum(first, last)[::-1])[::-1][1:], -math.inf)
    falling = (last < first) & (first > later)
    drop = np.zeros_like(first)
    drop[falling] = last[falling] - first[falling]
    ranks = np.where(falling[:, None], first[:, None] + _PLACES * drop[:, None], last[:, None])
    ranks = np.maximum(ranks, later[:, None])
    loads = newcomers.below(ranks.reshape(-1)).reshape(ranks.shape)
    for rank, load in exactly.items():
        loads[ranks == rank] = load
    return float((end - start) @ ((1.0 / (1.0 - loads)) @ _WEIGHTS))


_PLACES, _WEIGHTS = (
    0.5 * (part + shift) for part, shift in zip(np.polynomial.legendre.leggauss(16), (1.0, 0.0), strict=True)
)
