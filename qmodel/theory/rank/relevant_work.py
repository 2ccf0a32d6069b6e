"""Work that counts at a level of rank when ranks know a request's class and age alone: see `soap` for what for.

Each kind of request has one rank path and a law of size. The part L of its service at ages in [a, b) has
E[L] = m(b) - m(a) and E[L^2] = M(b) - M(a) - 2 a E[L], with m(x) = E[min(S, x)] and M(x) = E[min(S, x)^2].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.limited_moments import first_two_limited
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.rank.monotone_runs import Runs
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.rank.soap import Background
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FELT = 1e-4
"""Relative change of a path's slope, times the square of the pieces' width relative to the age, that counts."""
SELDOM = 1e-9
"""Share of the requests below and above the ages that matter."""
INSIDE = np.array([0.25, 0.5, 0.75])
"""Places between two ranks."""


@dataclass(frozen=True)
class BlindKind:
    """Requests of one rank path and one law of size, and their rate."""

    rate: float
    path: Path
    law: Distribution

    @cached_property
    def runs(self) -> Runs:
        """The path, rise by fall."""
        return Runs(self.path)

    @cached_property
    def discrete(self) -> bool:
        """Whether the sizes are point masses alone."""
        return math.fsum(p for _, p in self.law.atoms()) > 1.0 - 1e-12

    @cached_property
    def marks(self) -> Floats:
        """Ages that resolve the law and the path: ends of panels, and where pieces meet at a bend that is felt."""
        found = np.union1d(SizeGrid(self.rate, self.law).panels.edges, self._bent)
        low, high = float(self.law.quantile(SELDOM)), float(self.law.upper_quantile(SELDOM))
        return found[(low <= found) & (found <= high)]

    @property
    def _bent(self) -> Floats:
        """Ages of bends, each weighed by the square of the width of the pieces that meet there."""
        path = self.path
        with np.errstate(invalid="ignore"):
            slopes = (path.last - path.first) / (path.end - path.start)
            bends = np.abs(np.diff(slopes)) / (np.abs(slopes[1:]) + np.abs(slopes[:-1]))
            width = (path.end[1:] - path.start[:-1]) / path.end[1:]
        return path.start[1:][np.nan_to_num(bends) * np.nan_to_num(width, nan=1.0) ** 2 > FELT]

    def load_upto(self, ages: Floats) -> Floats:
        """Load of the service before each age."""
        return self.rate * first_two_limited(self.law, ages)[0]

    def old(self, levels: Floats) -> tuple[Floats, Floats]:
        """E[sum X_i^2] and E[X_0] at each level of rank, X_i an old request's lengths of relevant service."""
        table = self._between
        if table is None or len(levels) < len(table.ranks) * INSIDE.size:
            return self.at(levels)
        return table(levels)

    def at(self, levels: Floats) -> tuple[Floats, Floats]:
        """As `old`, interval by interval."""
        level, low, high = self.runs.intervals(levels, np.zeros(len(levels), dtype=bool))
        first, second = self._first_two(low, high)
        from_birth = (low == 0) & (self.path.first[0] <= levels[level])
        squares, old = (np.bincount(level, x, len(levels)).astype(float) for x in (second, first * from_birth))
        return squares, old

    def _first_two(self, start: Floats, end: Floats) -> tuple[Floats, Floats]:
        """E[L] and E[L^2] of the part L of the service at ages from start to end."""
        (near, near_square), (far, far_square) = (first_two_limited(self.law, age) for age in (start, end))
        first = far - near
        with np.errstate(invalid="ignore"):
            second = np.where(np.isinf(far_square), math.inf, far_square - near_square - 2.0 * start * first)
        return first, np.maximum(second, 0.0)

    @cached_property
    def _between(self) -> Quadratics | None:
        """For point masses alone: between the ranks at them and at ends of pieces both of `at` are quadratic."""
        if not self.discrete:
            return None
        values = np.array([value for value, _ in self.law.atoms() if value > 0])
        path = self.path
        ranks = np.unique(np.concatenate((path.first, path.last, path.at(values), path.before(values)[0])))
        return Quadratics.of(self.at, ranks) if len(ranks) > 1 and np.isfinite(ranks).all() else None


@dataclass(frozen=True)
class Quadratics:
    """Two functions of a rank that are quadratic between these ranks, 0 below the first, constant from the last on.

    Each row has the values at the rank, and the coefficients of 1, t, t^2 on the way to the next.
    """

    ranks: Floats
    values: tuple[Floats, Floats]
    coefficients: tuple[Floats, Floats]

    @classmethod
    def of(cls, function: Callable[[Floats], tuple[Floats, Floats]], ranks: Floats) -> Quadratics:
        """By their values at the ranks and at three places in between."""
        inside = ranks[:-1, None] + np.diff(ranks)[:, None] * INSIDE
        at, between = function(ranks), function(inside.reshape(-1))
        solve = np.linalg.inv(np.vander(INSIDE, increasing=True)).T
        first, second = (values.reshape(-1, INSIDE.size) @ solve for values in between)
        return cls(ranks, (at[0], at[1]), (first, second))

    def __call__(self, levels: Floats) -> tuple[Floats, Floats]:
        place = np.searchsorted(self.ranks, levels, side="right") - 1
        low = np.clip(place, 0, len(self.ranks) - 2)
        part = (levels - self.ranks[low]) / (self.ranks[low + 1] - self.ranks[low])
        met = (levels == self.ranks[place]) | (place == len(self.ranks) - 1)
        first, second = (
            np.where(met, at[place], (row[low] * part[:, None] ** np.arange(INSIDE.size)).sum(axis=1))
            * (place >= 0)
            for at, row in zip(self.values, self.coefficients, strict=True)
        )
        return first, second


@dataclass(frozen=True)
class RelevantWork:
    """The kinds of an order, and what goes before all of it."""

    kinds: Sequence[BlindKind]
    background: Background

    @cached_property
    def turns(self) -> tuple[Floats, Floats]:
        """Ranks at which the load of newcomers may jump, and those at which it bends, in order."""
        jumps, bends = (
            np.unique(np.concatenate([getattr(kind.runs, name) for kind in self.kinds]))
            for name in ("turning_ranks", "record_ranks")
        )
        return jumps, bends

    def newcomers(self, levels: Floats) -> Floats:
        """Load of newcomers below each rank; only what interrupts all outranks minus infinity."""
        strict = np.ones(len(levels), dtype=bool)
        load = sum(kind.load_upto(kind.runs.first_end(levels, strict)) for kind in self.kinds)
        always = self.background.load if self.background.interrupts else 0.0
        return np.asarray(np.where(levels == -math.inf, always, self.background.load + load))

    def delays(self, levels: Floats, new: Floats) -> Floats:
        """Mean time before the first service at these worst ranks, below which the load of newcomers is `new`."""
        residual = np.full(len(levels), self.background.residual)
        old = np.full(len(levels), self.background.load)
        for kind in self.kinds:
            squares, first = kind.old(levels)
            residual += 0.5 * kind.rate * squares
            old += kind.rate * first
        return np.asarray(residual / ((1.0 - old) * (1.0 - new)))
