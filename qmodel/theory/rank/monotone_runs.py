"""A rank path as runs of ages on which it falls, rises, falls: where it crosses a level, for many levels at once.

The path comes down from infinity at age 0, as it were, and goes back there at its end: fall 0, rise 0, fall 1, ...
with peak 0 before fall 0. The ages at which the rank is at most a level are intervals: each begins in a fall whose
peak is above the level and ends in the next rise whose peak is.

Ranks and levels are compared by whole numbers: 4 i + 2 for the i-th rank of all ends of pieces, 4 i if a piece only
comes near it; 4 i for a level in between, 4 i + 3 for "at most" and 4 i + 1 for "below" the i-th rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.rank.rank_path import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int_]

TOGETHER = 4_000_000
"""Levels times runs that are looked at in one go."""


@dataclass(frozen=True)
class Runs:
    """The runs of a path.

    >>> path = Path(*(np.array(x) for x in ([0.0, 1.0, 3.0], [1.0, 3.0, 4.0], [0.0, 2.0, 1.0], [2.0, 1.0, 5.0])))
    >>> runs = Runs(path)
    >>> runs.first_end(np.array([1.5, 2.0, 2.0]), np.array([False, False, True])).tolist()
    [0.75, 3.25, 1.0]
    >>> level, low, high = runs.intervals(np.array([0.5, 1.5]), np.array([False, False]))
    >>> level.tolist(), low.tolist(), high.tolist()
    ([0, 1, 1], [0.0, 0.0, 2.0], [0.25, 0.75, 3.125])
    """

    path: Path

    @cached_property
    def _values(self) -> Floats:
        """Ranks at ends of pieces, each once."""
        return np.unique(np.concatenate((self.path.first, self.path.last)))

    @cached_property
    def _points(self) -> tuple[Floats, Floats, Whole]:
        """Age, rank and number of every end of a piece, between the two at infinity."""
        path = self.path
        ages = np.column_stack((path.start, path.end)).reshape(-1)
        ranks = np.column_stack((path.first, path.last)).reshape(-1)
        met = np.ones(len(ranks), dtype=bool)
        met[1:-1:2] = (path.last[:-1] == path.first[1:]) | (path.last[:-1] == path.first[:-1])
        numbers = 4 * np.searchsorted(self._values, ranks) + 2 * met
        top = 4 * len(self._values) + 2
        return (
            np.concatenate((ages[:1], ages, ages[-1:])),
            np.concatenate(([np.inf], ranks, [np.inf])),
            np.concatenate(([top], numbers, [top])),
        )

    @cached_property
    def _falls(self) -> NDArray[np.bool_]:
        """Whether the path falls from each point to the next; where it stays, as before."""
        numbers = self._points[2]
        turns = np.sign(np.diff(numbers))
        latest = np.maximum.accumulate(np.where(turns != 0, np.arange(len(turns)), 0))
        return np.asarray(turns[latest] < 0)

    @cached_property
    def _peaks_valleys(self) -> tuple[Whole, Whole]:
        """The points at the peaks, the two at infinity among them, and at the valleys between them."""
        falls = self._falls
        changes = np.flatnonzero(falls[1:] != falls[:-1]) + 1
        return np.concatenate(([0], changes[1::2], [len(falls)])), changes[0::2]

    @cached_property
    def _segments(self) -> tuple[Whole, Whole, Whole, Whole]:
        """Where segments that fall end, and their sorted keys; the same of those that rise."""
        numbers, falls = self._points[2], self._falls
        begins = np.append(True, falls[1:] & ~falls[:-1])
        run = np.cumsum(begins) - 1
        down, up = np.flatnonzero(falls), np.flatnonzero(~falls)
        base = self._base
        return (
            down + 1,
            run[down] * base + (base - 1 - numbers[down + 1]),
            up + 1,
            run[up] * base + numbers[up + 1],
        )

    @property
    def _base(self) -> int:
        return 4 * len(self._values) + 4

    @property
    def peak_ages(self) -> Floats:
        """Ages of the peaks; the first and the last are those at infinity."""
        return self._points[0][self._peaks_valleys[0]]

    @property
    def peak_ranks(self) -> Floats:
        """Ranks of the peaks."""
        return self._points[1][self._peaks_valleys[0]]

    @property
    def turning_ranks(self) -> Floats:
        """Ranks at birth, at peaks and where the path stays, those that are finite."""
        at = self._points[1][np.append(self._peaks_valleys[0], 1)]
        ranks = np.unique(np.concatenate((at, self.path.first[self.path.first == self.path.last])))
        return ranks[np.isfinite(ranks)]

    @cached_property
    def record_ranks(self) -> Floats:
        """Ranks, among those at ends of pieces, that are worse than all before."""
        ranks = self._points[1][1:-1]
        best = np.maximum.accumulate(ranks)
        return ranks[np.append(True, best[1:] > best[:-1])]

    def run_of(self, ages: Floats) -> tuple[Whole, NDArray[np.bool_]]:
        """Number of the fall or rise in which each age ends, and whether it is a fall."""
        piece = np.searchsorted(self.path.start, ages, side="left") - 1
        segment = 2 * np.maximum(piece, 0) + 1
        begins = np.append(True, self._falls[1:] & ~self._falls[:-1])
        return (np.cumsum(begins) - 1)[segment], self._falls[segment]

    def numbered(self, levels: Floats, strict: NDArray[np.bool_]) -> Whole:
        """Levels as whole numbers: a rank whose number is less is at most the level, or below it if `strict`."""
        left = np.searchsorted(self._values, levels)
        equal = self._values[np.minimum(left, len(self._values) - 1)] == levels
        return np.asarray(4 * left + np.where(equal, np.where(strict, 1, 3), 0))

    def first_end(self, levels: Floats, strict: NDArray[np.bool_]) -> Floats:
        """Age until which the rank has been at most each level (below it, if strict) from birth on."""
        asked = self.numbered(levels, strict)
        numbers = self._points[2]
        tops = np.maximum.accumulate(numbers[self._peaks_valleys[0][1:]])
        run = np.searchsorted(tops, asked)
        return np.where(numbers[1] < asked, self._rises_to(run, asked, levels), 0.0)

    def intervals(self, levels: Floats, strict: NDArray[np.bool_]) -> tuple[Whole, Floats, Floats]:
        """Intervals of age at which the rank is at most a level (below it, if strict): of which level, from, to."""
        rows = max(1, TOGETHER // len(self._peaks_valleys[1]))
        found = [
            self._intervals(levels[i : i + rows], strict[i : i + rows]) for i in range(0, max(1, len(levels)), rows)
        ]
        asked = np.concatenate([each[0] + i * rows for i, each in enumerate(found)])
        return asked, np.concatenate([each[1] for each in found]), np.concatenate([each[2] for each in found])

    def _intervals(self, levels: Floats, strict: NDArray[np.bool_]) -> tuple[Whole, Floats, Floats]:
        asked, numbers = self.numbered(levels, strict), self._points[2]
        peaks, valleys = (numbers[points] for points in self._peaks_valleys)
        above, inside = peaks >= asked[:, None], valleys < asked[:, None]
        level, fall = np.nonzero(above[:, :-1] & inside)
        _, rise = np.nonzero(inside & above[:, 1:])
        return (
            level,
            self._falls_to(fall, asked[level], levels[level]),
            self._rises_to(rise, asked[level], levels[level]),
        )

    def latest_above(self, levels: Floats, run: Whole) -> tuple[Floats, Whole]:
        """Last age, in falls up to number `run`, at which the rank is above each level, or 0; and that fall."""
        rows = max(1, TOGETHER // len(self._peaks_valleys[1]))
        found = [self._latest_above(levels[i : i + rows], run[i : i + rows]) for i in range(0, len(levels), rows)]
        ages, falls = zip(*found, strict=True) if found else ((levels,), (run,))
        return np.concatenate(ages), np.concatenate(falls)

    def _latest_above(self, levels: Floats, run: Whole) -> tuple[Floats, Whole]:
        asked = self.numbered(levels, np.zeros(len(levels), dtype=bool))
        peaks = self._points[2][self._peaks_valleys[0]]
        number = np.arange(int(run.max()) + 1)
        above = (peaks[number] >= asked[:, None]) & (number <= run[:, None])
        fall = number[-1] - np.argmax(above[:, ::-1], axis=1)
        return self._falls_to(fall, asked, levels), fall

    def _falls_to(self, run: Whole, asked: Whole, levels: Floats) -> Floats:
        """Where the falls of these numbers come down to each level."""
        ends, keys, _, _ = self._segments
        place = np.searchsorted(keys, run * self._base + (self._base - 1 - asked), side="right")
        return self._crossing(ends[place], levels)

    def _rises_to(self, run: Whole, asked: Whole, levels: Floats) -> Floats:
        """Where the rises of these numbers come up to each level."""
        _, _, ends, keys = self._segments
        return self._crossing(ends[np.searchsorted(keys, run * self._base + asked)], levels)

    @cached_property
    def _lines(self) -> Floats:
        """Of the segment that ends at each point: ages from and to, the rank at first, and age gained by rank."""
        ages, ranks, _ = self._points
        start, end, first, last = ages[:-1], ages[1:], ranks[:-1], ranks[1:]
        sloped = (end > start) & np.isfinite(first) & np.isfinite(last) & (first != last)
        pace = np.zeros_like(ages)
        pace[1:][sloped] = (end[sloped] - start[sloped]) / (last[sloped] - first[sloped])
        start, first = np.where(sloped, start, end), np.where(sloped, first, 0.0)
        return np.stack((np.append(0.0, start), ages, np.append(0.0, first), pace))

    def _crossing(self, point: Whole, levels: Floats) -> Floats:
        """Age of each level between the point before and this one."""
        start, end, first, pace = self._lines.take(point, axis=1)
        with np.errstate(invalid="ignore"):
            found = np.where(pace == 0.0, start, start + (levels - first) * pace)
        return np.clip(found, start, end)
