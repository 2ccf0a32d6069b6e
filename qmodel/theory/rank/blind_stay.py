"""Mean time from the first service to the end of it, at all sizes, for an order that knows ages but not sizes.

T(x) = int_0^x s(w(a, x)) da, where w(a, x) is the worst rank over ages [a, x) and s(r) = 1 / (1 - the load of
newcomers below r). Where the rank falls, w(a, x) stays for all ages a before, and T grows by s of the rank. Where
it rises to r, w = r for all ages from b on, the last age at which the rank was above r:

    T(x) = T(b) + (x - b) s(r),    b on a fall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.rank.monotone_runs import Runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int_]

ORDER = 3
"""Ranks that are looked at in each cell of a fall."""
PLACES = 0.5 * (np.polynomial.legendre.leggauss(ORDER)[0] + 1.0)
UPTO = np.linalg.inv(np.vander(PLACES, increasing=True)) / np.arange(1, ORDER + 1)[:, None]
"""Coefficients of t, t^2, ... in the integral up to t of the polynomial through values at the places."""


MANY_CELLS, MOST_CELLS = 600, 60_000
"""Cuts beyond which bends are left out, and beyond which jumps are too."""


@dataclass(frozen=True)
class Cells:
    """Pieces of falls, cut where the load of newcomers bends, in order: ages from and to, the ranks at both."""

    start: Floats
    end: Floats
    first: Floats
    last: Floats

    @classmethod
    def of(cls, runs: Runs, jumps: Floats, bends: Floats, upto: float) -> Cells:
        """Cells up to an age, cut at jumps and bends of the load of newcomers, both in order."""
        path = runs.path
        taken = (path.start < upto) & ~(path.last > path.first)
        start, first, last = path.start[taken], path.first[taken], path.last[taken]
        end = np.where(first == last, np.minimum(path.end[taken], upto), path.end[taken])
        cuts_at = np.union1d(_fewer(jumps, first, last, MOST_CELLS), _fewer(bends, first, last, MANY_CELLS))
        high, cuts = _inside(cuts_at, first, last)
        piece = np.repeat(np.arange(len(start)), cuts + 1)
        place = np.arange(len(piece)) - np.repeat(np.cumsum(cuts + 1) - cuts - 1, cuts + 1)
        cut, opens = place < cuts[piece], place == 0
        ranks = np.where(cut, np.append(cuts_at, 0.0)[high[piece] - 1 - place], last[piece])
        with np.errstate(invalid="ignore", divide="ignore"):
            part = (ranks - first[piece]) / (last - first)[piece]
        ages = np.where(cut, start[piece] + part * (end - start)[piece], end[piece])
        begins = np.where(opens, start[piece], np.append(0.0, ages[:-1]))
        wide = ages > begins
        return cls(
            *(x[wide] for x in (begins, ages, np.where(opens, first[piece], np.append(0.0, ranks[:-1])), ranks))
        )

    @property
    def ranks(self) -> Floats:
        """Ranks at the places of every cell, one cell a row."""
        drop = np.zeros_like(self.first)
        np.subtract(self.last, self.first, out=drop, where=np.isfinite(self.first) & np.isfinite(self.last))
        return np.asarray(self.first[:, None] + PLACES * drop[:, None])


def _inside(ranks: Floats, first: Floats, last: Floats) -> tuple[Whole, Whole]:
    """For each piece that falls from first to last: how many of these ranks are below first, and above last too."""
    high = np.searchsorted(ranks, first)
    return high, np.maximum(high - np.searchsorted(ranks, last, side="right"), 0)


def _fewer(ranks: Floats, first: Floats, last: Floats, most: int) -> Floats:
    """The ranks, or every second, third, ... of them, so that they make at most about `most` cuts."""
    return ranks[:: 1 + int(_inside(ranks, first, last)[1].sum()) // most]


@dataclass(frozen=True)
class Falling:
    """The integral of s over the ages on falls, from 0; `stretch` is s at the places of every cell, one a row."""

    cells: Cells
    stretch: Floats

    def upto(self, ages: Floats) -> Floats:
        """Up to each age; only differences within one fall mean anything."""
        if not len(self.cells.start):
            return np.zeros_like(ages)
        start, width = self.cells.start, self.cells.end - self.cells.start
        whole = np.concatenate(([0.0], np.cumsum(width * (self.stretch @ UPTO.sum(axis=0)))))
        i = np.maximum(np.searchsorted(start, ages) - 1, 0)
        powers = np.clip((ages - start[i]) / width[i], 0.0, 1.0)[:, None] ** np.arange(1, ORDER + 1)
        return np.asarray(whole[i] + width[i] * ((self.stretch[i] @ UPTO.T) * powers).sum(axis=1))


@dataclass(frozen=True)
class Known:
    """The load of newcomers below ranks: known at some, in order, asked for at others."""

    levels: Floats
    loads: Floats
    ask: Callable[[Floats], Floats]

    def below(self, ranks: Floats) -> Floats:
        """Load of newcomers below each rank."""
        place = np.minimum(np.searchsorted(self.levels, ranks), len(self.levels) - 1)
        found, open_ = self.loads[place], self.levels[place] != ranks
        found[open_] = self.ask(ranks[open_])
        return found


def mean_stays(
    runs: Runs,
    sizes: Floats,
    ranks: Floats,
    turns: tuple[Floats, Floats],
    newcomers: Known,
) -> Floats:
    """T at each size, of which `ranks` are those just before their ends.

    `turns` are the ranks at which the load of newcomers jumps, and those at which it bends.
    """
    cells = Cells.of(runs, *turns, float(sizes.max()))
    run, falls = runs.run_of(sizes)
    tops, rising = runs.peak_ranks[1:-1], ranks[~falls]
    stretch = 1.0 / (1.0 - newcomers.below(np.concatenate((cells.ranks.reshape(-1), tops, rising))))
    inside, at_tops, at_rising = np.split(stretch, np.cumsum((cells.first.size * ORDER, tops.size)))
    falling = Falling(cells, inside.reshape(-1, ORDER))
    stays = _Stays(runs, falling, at_tops)
    out = np.empty_like(sizes)
    out[falls] = stays.on_fall(run[falls], sizes[falls])
    out[~falls] = stays.on_rise(run[~falls], sizes[~falls], rising, at_rising)
    return out


@dataclass(frozen=True)
class _Stays:
    """T on falls and rises, `at_tops` being s at the peaks between the first and the last."""

    runs: Runs
    falling: Falling
    at_tops: Floats

    @cached_property
    def _peaks(self) -> Floats:
        return self.falling.upto(self.runs.peak_ages[:-1])

    @cached_property
    def _from_peaks(self) -> Floats:
        """T where each fall begins, its peak included."""
        ages, tops = self.runs.peak_ages[1:-1], self.runs.peak_ranks[1:-1]
        latest, fall = self.runs.latest_above(tops, np.arange(len(tops)))
        more = self.falling.upto(latest) - self._peaks[fall] + (ages - latest) * self.at_tops
        found = [0.0]
        for before, step in zip(fall.tolist(), more.tolist(), strict=True):
            found.append(found[before] + step)
        return np.array(found)

    def on_fall(self, fall: Whole, ages: Floats) -> Floats:
        """T at ages on falls of these numbers."""
        return np.asarray(self._from_peaks[fall] + self.falling.upto(ages) - self._peaks[fall])

    def on_rise(self, rise: Whole, ages: Floats, ranks: Floats, stretch: Floats) -> Floats:
        """T at ages on rises of these numbers, of these ranks and s."""
        latest, fall = self.runs.latest_above(ranks, rise)
        return np.asarray(self.on_fall(fall, latest) + (ages - latest) * stretch)
