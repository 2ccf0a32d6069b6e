"""The wait offered to a request that would wait for ever, in a queue that others leave: M/G/1 with any patience.

Requests of class i wait at most G_i (the survival of their patience at u is g_i(u)) and then leave unserved. The
offered wait V, which is the unfinished work of those who stay, has mass p_0 at 0 and the density f with

    f(x) = p_0 sum_i lambda_i P(S_i > x) + sum_i lambda_i int_0^x g_i(u) f(u) P(S_i > x - u) du,

since V crosses each level x downwards as often as upwards. A linear Volterra equation: f g_i is taken linear
between grid points, against which P(S_i > .) is integrated exactly, by E[min(S, x)] and E[min(S, x)^2]; the grid
has the jumps of f and g_i as double points, and results of two or three grids are extrapolated to grid width 0,
which gives the error estimate too. Sources: Brill & Posner, *Oper. Res.* 25 (1977) 662-674 (level crossing);
Baccelli, Boyer & Hebuterne, *Adv. Appl. Prob.* 16 (1984) 887-905 (M/G/1 with impatience).
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.phases import exponential_phases
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment, partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

FEWEST = 75
"""Points of the coarsest grid."""
FINEST = 0.01
"""Width of the first cell, in mean sizes, if all cells but for that were alike."""
MOST_JUMPS, FEW_JUMPS = 100, 20
"""Jumps that are points of the grid; how many hardly add to them."""
SAME = 1e-9
"""Jumps nearer to each other than this, relative to the grid's length, are one."""
BEYOND = 1e-8
"""Share of the mean offered wait that may lie beyond the grid."""
FAR = 1e-3
"""Width of a cell, relative to its distance, from which the survival is taken linear on it."""
ROWS = 48
"""Rows of the kernel at a time: all that is made of them stays in the cache."""
LENGTHENINGS, LONGER = 24, 2.0


@dataclass(frozen=True)
class Stream:
    """Arrivals of one class: rate (1/s), service, patience (None: waits for ever)."""

    rate: float
    size: Distribution
    patience: Distribution | None

    def stays(self, x: Vector, before: NDArray[np.bool_]) -> Vector:
        """P(patience > x), or P(patience >= x) where `before` (a double point's left one)."""
        return np.ones_like(x) if self.patience is None else _survival(self.patience, x, before)


def _marks(law: Distribution) -> list[float]:
    ends = [end for end in law.support() if 0 < end < math.inf]
    return [value for value, _ in law.atoms()[:MOST_JUMPS]] + ends


def _told_apart(marks: list[float], values: Collection[float], least: float) -> list[float]:
    """All of `marks`, and of `values` those that are further than `least` from what is there: sums are rounded.

    >>> _told_apart([0.3], [0.1 + 0.2, 0.6, 0.4 + 0.2], 1e-9)
    [0.3, 0.6]
    """
    kept = list(marks)
    for value in sorted(values):
        place = bisect_left(kept, value)
        if all(abs(value - other) > least for other in kept[max(place - 1, 0) : place + 1]):
            kept.insert(place, value)
    return kept


def _survival(law: Distribution, x: Vector, before: NDArray[np.bool_]) -> Vector:
    mass = dict(law.atoms())
    at = np.array([mass.get(float(value), 0.0) for value in x]) if mass else 0.0
    return np.asarray(law.sf(x) + np.where(before, at, 0.0))


@dataclass(frozen=True)
class OfferedWait:
    """f on a grid up to `end` s with about `points` points; `idle` is p_0."""

    streams: tuple[Stream, ...]
    end: float
    points: int

    @cached_property
    def grid(self) -> tuple[Vector, NDArray[np.bool_]]:
        """Points, those of jumps twice, and whether a point is the left one of two."""
        grading = math.log(self.end / (FINEST * min(stream.size.mean for stream in self.streams)))
        steps = np.expm1(grading * np.arange(self.points + 1) / self.points) / math.expm1(grading)
        jumps = [jump for jump in self._jumps() if 0 < jump < self.end]
        near = np.abs(np.subtract.outer(steps * self.end, jumps)).min(axis=1, initial=math.inf)
        kept = (steps * self.end)[(near > SAME * self.end) | (steps == 0) | (steps == 1)]
        x = np.sort(np.concatenate((kept, jumps, jumps)))
        return x, np.append(np.diff(x) == 0, False)

    def _jumps(self) -> list[float]:
        """Atoms and ends of sizes and patience, and sums of two to four of them, where f or its slope jumps."""
        sizes = {value for stream in self.streams for value in _marks(stream.size)}
        limits = {value for s in self.streams if s.patience is not None for value in _marks(s.patience)}
        marks = found = sorted(sizes | limits)
        for _ in range(3):
            sums = {a + b for a, b in itertools.product(found, sizes) if a + b < self.end}
            found = _told_apart(marks, sums.union(found), SAME * self.end)
            if len(found) > MOST_JUMPS:
                return marks[:MOST_JUMPS]
        return found

    @cached_property
    def solved(self) -> tuple[float, Vector]:
        """p_0 and f at the grid's points."""
        x, before = self.grid
        source, kernel = np.zeros(len(x)), np.zeros((len(x), len(x)))
        for stream in self.streams:
            source += stream.rate * _survival(stream.size, x, before)
            kernel += stream.rate * _moments_of_cells(stream.size, x) * stream.stays(x, before)
        from scipy.linalg import solve_triangular

        f = solve_triangular(np.eye(len(x)) - kernel, source, lower=True)
        whole = 1.0 + float(self.integral(f))
        return 1.0 / whole, f / whole

    def integral(self, values: Vector) -> float:
        """Integral over the grid of what is linear between its points."""
        return float(np.trapezoid(values, self.grid[0]))

    def staying(self, stream: Stream) -> Vector:
        """f g_i at the grid's points."""
        return self.solved[1] * stream.stays(*self.grid)

    def served(self, stream: Stream) -> float:
        """Probability that a request of the stream stays until it is served."""
        return self.solved[0] + self.integral(self.staying(stream))

    def mean_wait(self, stream: Stream) -> float:
        """Mean wait (s) of the served ones."""
        return self.integral(self.staying(stream) * self.grid[0]) / self.served(stream)

    @property
    def beyond(self) -> float:
        """Share of the mean offered wait beyond the grid, judged by the density at its end."""
        x, f = self.grid[0], self.solved[1]
        return abs(float(f[-1])) * self.end**2 / max(self.integral(f * x), 1e-300)

    def cdf(self, stream: Stream, own: Distribution, t: float) -> float:
        """P(wait of a served request + `own` <= t)."""
        x, phi = self.grid[0], self.staying(stream)
        gap = t - x
        inside = np.maximum(gap, 0.0)
        first = inside - limited_moment(own, 1, inside)
        second = 0.5 * (inside**2 - limited_moment(own, 2, inside))
        whole, moment = first[:-1] - first[1:], second[:-1] - second[1:]
        width = np.diff(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(width > 0, (moment - gap[1:] * whole) / width, 0.0)
        waited = float(left @ phi[:-1] + (whole - left) @ phi[1:])
        return (self.solved[0] * float(own.cdf(t)) + waited) / self.served(stream)


def _moments_of_cells(law: Distribution, x: Vector) -> Vector:
    """w[a, b]: int_0^{x_a} phi(u) P(S > x_a - u) du = sum_b w[a, b] phi_b for phi linear between the points."""
    out = np.zeros((len(x), len(x)))
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        columns = start + len(rows)
        out[start:columns, :columns] = _rows_of_cells(law, rows, x[:columns])
    return out


def _rows_of_cells(law: Distribution, rows: Vector, x: Vector) -> Vector:
    """The rows of these points, the last ones of x."""
    u = np.maximum(np.subtract.outer(rows, x), 0.0)
    beyond, first, second = _integrals(law, u)
    width = np.diff(x)
    whole, moment = first[:, :-1] - first[:, 1:], second[:, :-1] - second[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(width > 0, (moment - u[:, 1:] * whole) / width, 0.0)
    right = whole - left
    if not law.atoms():  # far from the diagonal those differences cancel, and the survival is all but linear
        far = width < FAR * u[:, 1:]
        near, remote = beyond[:, 1:], beyond[:, :-1]
        left = np.where(far, width * (2.0 * remote + near) / 6.0, left)
        right = np.where(far, width * (remote + 2.0 * near) / 6.0, right)
    inside = np.arange(len(x) - 1) < np.arange(len(x) - len(rows), len(x))[:, None]
    out = np.zeros_like(u)
    out[:, :-1] += np.where(inside, left, 0.0)
    out[:, 1:] += np.where(inside, right, 0.0)
    return out


def _integrals(law: Distribution, u: Vector) -> tuple[Vector, Vector, Vector]:
    """P(S > u), and the integrals of P(S > v) and v P(S > v) from 0 to u."""
    phases = exponential_phases(law)
    if phases is None:
        beyond = law.sf(u)  # asked for once: it is what takes the time
        first = partial_moment(law, 1, u) + u * beyond
        return beyond, first, 0.5 * (partial_moment(law, 2, u) + u * u * beyond)
    beyond, first, second = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
    for p, mean in phases:
        gone = -np.expm1(-u / mean)
        left = 1.0 - gone
        beyond += p * left
        first += (p * mean) * gone
        second += (p * mean) * (mean * gone - u * left)
    return beyond, first, second


@dataclass(frozen=True)
class Grids:
    """The offered wait on three grids, twice as fine each, and on the finest that a response's law is read from.

    Results are extrapolated from all three where f is smooth, from the last two where it has jumps.
    """

    waits: tuple[OfferedWait, OfferedWait, OfferedWait]
    law: OfferedWait
    smooth: bool

    def served(self, stream: Stream) -> float:
        """As `OfferedWait.served`, extrapolated."""
        return min(max(self.told(lambda wait: wait.served(stream))[0], 0.0), 1.0)

    def mean_wait(self, stream: Stream) -> float:
        """As `OfferedWait.mean_wait`, extrapolated."""
        return self.told(lambda wait: wait.mean_wait(stream))[0]

    def told(self, result: Callable[[OfferedWait], float]) -> tuple[float, float]:
        """The result, and how far it is from the one without the finest grid."""
        values = [result(wait) for wait in self.waits]
        told = extrapolated(values if self.smooth else values[1:])
        return told, abs(told - extrapolated(values[:-1]))

    def error(self, stream: Stream) -> float:
        """Estimated relative error of the mean wait, or error of the share that is served."""
        share = self.told(lambda wait: wait.served(stream))[1]
        wait, off = self.told(lambda wait: wait.mean_wait(stream))
        return max(share, off / max(abs(wait), 1e-300))

    def law_error(self, stream: Stream) -> float:
        """Estimated error of the law in probability, which is not extrapolated."""
        fine = self.waits[-1]
        share = abs(self.served(stream) - fine.served(stream))
        wait = abs(1.0 - fine.mean_wait(stream) / self.mean_wait(stream))
        return max(share, wait) * (fine.points / self.law.points) ** 2


def extrapolated(values: Sequence[float]) -> float:
    """Values on grids twice as fine each, taken to width 0: the error of linear interpolation is even in the width.

    >>> extrapolated([1.0 + 4.0**-k + 16.0**-k for k in range(3)])
    1.0
    """
    found, factor = list(values), 4.0
    while len(found) > 1:
        found = [fine + (fine - coarse) / (factor - 1.0) for coarse, fine in itertools.pairwise(found)]
        factor *= 4.0
    return found[0]


def offered_waits(streams: Sequence[Stream]) -> Grids:
    """The offered wait on grids long enough: coarse where the survivals are smooth, or the jumps many points."""
    patience = [float(s.patience.quantile(0.999)) for s in streams if s.patience is not None]
    end = 8.0 * max(stream.size.mean for stream in streams) + max(patience, default=0.0)
    for _ in range(LENGTHENINGS):
        coarse = OfferedWait(tuple(streams), end, FEWEST)
        if coarse.beyond < BEYOND:
            break
        end *= LONGER
    second, third, finest = (OfferedWait(tuple(streams), end, FEWEST << k) for k in range(1, 4))
    smooth = not any(_marks(stream.size) for stream in streams)
    if smooth or coarse.grid[1].sum() > FEW_JUMPS:
        return Grids((coarse, second, third), finest, smooth)
    return Grids((second, third, finest), finest, smooth)
