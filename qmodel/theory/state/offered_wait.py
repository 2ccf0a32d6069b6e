"""The wait offered to a request that would wait for ever, in a queue that others leave: M/G/1 with any patience.

Requests of class i wait at most G_i (the survival of their patience at u is g_i(u)) and then leave unserved. The
offered wait V, which is the unfinished work of those who stay, has mass p_0 at 0 and the density f with

    f(x) = p_0 sum_i lambda_i P(S_i > x) + sum_i lambda_i int_0^x g_i(u) f(u) P(S_i > x - u) du,

since V crosses each level x downwards as often as upwards. A linear Volterra equation: f g_i is taken linear
between grid points, against which P(S_i > .) is integrated exactly, by E[min(S, x)] and E[min(S, x)^2]; the grid
has the jumps of f and g_i as double points, and results of two grids are extrapolated to grid width 0, their
distance being the error estimate. Sources: Brill & Posner, *Oper. Res.* 25 (1977) 662-674 (level crossing);
Baccelli, Boyer & Hebuterne, *Adv. Appl. Prob.* 16 (1984) 887-905 (M/G/1 with impatience).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment, partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

POINTS = 300
"""Points of the coarser grid."""
FINEST = 0.01
"""Width of the first cell, in mean sizes, if all cells but for that were alike."""
MOST_JUMPS = 40
BEYOND = 1e-8
"""Share of the mean offered wait that may lie beyond the grid."""
FAR = 1e-3
"""Width of a cell, relative to its distance, from which the survival is taken linear on it."""
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
        kept = (steps * self.end)[(near > 1e-9 * self.end) | (steps == 0) | (steps == 1)]
        x = np.sort(np.concatenate((kept, jumps, jumps)))
        return x, np.append(np.diff(x) == 0, False)

    def _jumps(self) -> list[float]:
        """Atoms and ends of sizes and patience, and sums of two to four of them, where f or its slope jumps."""
        sizes = {value for stream in self.streams for value in _marks(stream.size)}
        limits = {value for s in self.streams if s.patience is not None for value in _marks(s.patience)}
        found = sorted(sizes | limits)
        for _ in range(3):
            found = sorted(set(found) | {a + b for a, b in itertools.product(found, sizes) if a + b < self.end})
            if len(found) > MOST_JUMPS:
                return sorted(sizes | limits)[:MOST_JUMPS]
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
    gaps = np.maximum(np.subtract.outer(x, x), 0.0)
    rows, columns = np.tril_indices(len(x))
    first, second, beyond = np.zeros_like(gaps), np.zeros_like(gaps), np.zeros_like(gaps)
    u = gaps[rows, columns]
    survival = law.sf(u)  # asked for once: it is what takes the time
    beyond[rows, columns] = survival
    first[rows, columns] = partial_moment(law, 1, u) + u * survival
    second[rows, columns] = 0.5 * (partial_moment(law, 2, u) + u**2 * survival)
    width = np.diff(x)
    whole, moment = first[:, :-1] - first[:, 1:], second[:, :-1] - second[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(width > 0, (moment - gaps[:, 1:] * whole) / width, 0.0)
    right = whole - left
    if not law.atoms():  # far from the diagonal those differences cancel, and the survival is all but linear
        far = width < FAR * gaps[:, 1:]
        near, remote = beyond[:, 1:], beyond[:, :-1]
        left = np.where(far, width * (2.0 * remote + near) / 6.0, left)
        right = np.where(far, width * (remote + 2.0 * near) / 6.0, right)
    out = np.zeros_like(gaps)
    inside = np.tril(np.ones_like(gaps), -1)[:, :-1] > 0
    out[:, :-1] += np.where(inside, left, 0.0)
    out[:, 1:] += np.where(inside, right, 0.0)
    return out


def offered_waits(streams: Sequence[Stream]) -> tuple[OfferedWait, OfferedWait]:
    """The offered wait on a grid long enough, and on one twice as fine."""
    patience = [float(s.patience.quantile(0.999)) for s in streams if s.patience is not None]
    end = 8.0 * max(stream.size.mean for stream in streams) + max(patience, default=0.0)
    for _ in range(LENGTHENINGS):
        coarse = OfferedWait(tuple(streams), end, POINTS)
        if coarse.beyond < BEYOND:
            break
        end *= LONGER
    return coarse, OfferedWait(tuple(streams), end, 2 * POINTS)
