"""SOAP: the exact mean response of M/G/1 under any order whose rank depends on a request's facts and its age.

For a request of size x with facts d let r be its worst rank over ages [0, x). Another request is relevant at
ages where its rank is at most r (below r if it comes later). With X_i the lengths of an old request's
relevant intervals, X_0 the one from age 0, and X' that of a new request, lambda their rate:

    E[T] = (lambda/2) sum_i E[X_i^2] / ((1 - lambda E[X_0]) (1 - lambda E[X']))
           + int_0^x da / (1 - lambda E[X'_{r(a)}])

where r(a) is the worst rank over ages [a, x). The rank is looked at, not assumed: it becomes straight pieces
with jumps. Ranks that know sizes or predictions are taken at a fine sample of them, twice, and extrapolated; those
that know the class and the age alone are for `blind_order`.
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """Requests of one rank path, which ends at their size, and their rate.

    `sampled`: that size stands for a small range of sizes, so that its ties with itself count half.
    """

    rate: float
    path: Path
    sampled: bool = False


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
        self._accidental = accidental
        self.background = background or Background()
        self._known: dict[tuple[float, bool], Level] = {}
        self._owner = np.repeat(np.arange(len(kinds)), [len(kind.path.start) for kind in kinds])
        paths = [kind.path for kind in kinds]
        self._start, self._end = (np.concatenate([getattr(p, n) for p in paths]) for n in ("start", "end"))
        self._first, self._last = (np.concatenate([getattr(p, n) for p in paths]) for n in ("first", "last"))
        self._at_birth = np.array([path.first[0] for path in paths])
        self._ties = Counter(self._at_birth.tolist())
        self._rate = np.array([kind.rate for kind in kinds])

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

    def _sums(self, level: float, strict: bool) -> tuple[float, float]:
        """Per second, E of the squared lengths of all relevant intervals, and of the length of the one at age 0."""
        owner, low, high = self._intervals(level, strict)
        born = self._at_birth < level if strict else self._at_birth <= level
        rate, length = self._rate[owner], high - low
        return float(rate @ length**2), float((rate * ((low == 0) & born[owner])) @ length)

    def _intervals(self, level: float, strict: bool) -> tuple[NDArray[np.int_], Floats, Floats]:
        """Relevant intervals of age, those that touch at a relevant age made one: whose, from, to."""
        start, end, first, last = self._start, self._end, self._first, self._last
        in_first, in_last = ((rank < level) if strict else (rank <= level) for rank in (first, last))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            crossing = start + (level - first) / (last - first) * (end - start)
        low = np.where(in_first, start, np.where(in_last, crossing, end))
        high = np.where(in_last, end, np.where(in_first, crossing, start))
        kept = high > low
        owner, low, high, starts_in = self._owner[kept], low[kept], high[kept], in_first[kept]
        if not len(owner):
            return owner, low, high
        same = owner[1:] == owner[:-1]
        opens = np.append(True, ~same | (low[1:] != high[:-1]) | ~starts_in[1:])
        closes = np.append(opens[1:], True)
        return owner[opens], low[opens], high[closes]


@dataclass(frozen=True)
class Newcomers:
    """Load of newcomers below a rank, at ranks that may occur; straight in between. `always` goes before any."""

    levels: Floats
    loads: Floats
    always: float = 0.0

    @classmethod
    def of(cls, kinds: Sequence[Kind], relevance: Relevance, more: Floats) -> Newcomers:
        """At the worst ranks of the kinds, and `more`."""
        sampled = {kind.path.worst: kind.sampled for kind in kinds}
        levels = sorted(level for level in {*sampled, *more.tolist()} if math.isfinite(level))
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
