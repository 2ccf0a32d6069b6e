"""Transforms of the response of a request of size x under SJF, PSJF, LAS and multilevel feedback, by size.

In SOAP's words (Scully, Harchol-Balter & Scheller-Wolf 2018): X' is what a later arrival brings that goes
first, X_0 what an earlier one brings from its birth on, X_1 what it brings when its rank has come back, per
second M'(theta) = lambda E[1 - exp(-theta X')], M_0 and M_1 likewise, rho' = lambda E[X'], and so on. Then with
theta the root of s = theta - M'(theta)

    T~(s | x) = ((1 - rho_0 - rho_1) theta + M_1(theta)) / (theta - M_0(theta)) * exp(-theta x)

and exp(-s x) in place of exp(-theta x) if nothing interrupts:

    SJF   X' = S; S < x         X_0 = S; S <= x       X_1 = S; S > x
    PSJF  X' = S; S < x         X_0 = S; S <= x
    LAS   X' = X_0 = min(S, x)
    MLFQ  X' = min(S, a)        X_0 = min(S, b)       for x in the level from a to b.

Sources of the transforms one by one: Conway, Maxwell & Miller, *Theory of Scheduling* (1967), chapter 8;
Schrage, *Management Sci.* 13 (1967) 466-474; Kleinrock, *Queueing Systems II* (1976), sections 3.6-4.7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.theory.numerics.transforms import arrays_of
from qmodel.theory.size_order.sizes_upto import SizesUpto, cells_of
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]
    Column = NDArray[Any]


@dataclass(frozen=True)
class Streams:
    """What goes before each size x (rows) at each theta (columns); all per second.

    `new`: M'; `slope`: its derivative; `old`: M_0; `again`: M_1. Single columns: `rate` of later arrivals that go
    first, and `idle` = 1 - rho_0 - rho_1.
    """

    new: Complex
    slope: Complex
    old: Complex
    again: Complex | float
    rate: Column
    idle: Column

    def at(self, rows: slice) -> Streams:
        """Of these sizes."""
        again = self.again if isinstance(self.again, float) else self.again[rows]
        return Streams(self.new[rows], self.slope[rows], self.old[rows], again, self.rate[rows], self.idle[rows])


@dataclass(frozen=True)
class Work:
    """Work brought by requests of size below, and up to, each x: sums over the law at rate `rate`."""

    sizes: SizesUpto
    rate: float
    theta: Complex
    kept: Complex
    """exp(-theta x)."""

    @property
    def reach(self) -> float:
        """Size up to which there are nodes."""
        return math.inf if self.sizes.panels is None else float(self.sizes.panels.edges[-1])

    @property
    def x(self) -> Column:
        """Sizes, in a column."""
        return self.sizes.x[:, None]

    def cut(self) -> tuple[Column, Column, Column, Column, Column, Column]:
        """M, its derivative and the load of S; S < x, then of S; S <= x."""
        n = len(self.theta)
        values = np.empty((len(self.x), 2 * n + 1), dtype=complex)
        np.subtract(1.0, self.kept, out=values[:, :n])
        np.multiply(self.x, self.kept, out=values[:, n:-1])
        values[:, -1:] = self.x
        values *= self.rate
        below, upto = self.sizes.cumulative(values)
        return (
            below[:, :n], below[:, n:-1], below[:, -1:].real,
            upto[:, :n], upto[:, n:-1], upto[:, -1:].real,
        )  # fmt: skip

    def limited(self) -> tuple[Complex, Complex, Column]:
        """M, its derivative and the load of min(S, x)."""
        *_, total, slope, load = self.cut()
        larger = self.rate * self.sizes.larger[:, None]
        kept = larger * self.kept
        return total + (larger - kept), slope + self.x * kept, load + larger * self.x


def shortest_job(work: Work) -> Streams:
    """SJF."""
    law, rate = work.sizes.law, work.rate
    below, slope, _, upto, _, _ = work.cut()
    whole = rate * (1.0 - whole_transform(law, work.theta))
    idle = np.full_like(work.x, 1.0 - rate * law.mean)
    return Streams(below, slope, upto, whole - upto, rate * _below(work), idle)


def preemptive_shortest_job(work: Work) -> Streams:
    """PSJF."""
    below, slope, _, upto, _, load = work.cut()
    return Streams(below, slope, upto, 0.0, work.rate * _below(work), 1.0 - load)


def least_attained(work: Work) -> Streams:
    """LAS."""
    total, slope, load = work.limited()
    return Streams(total, slope, total, 0.0, np.full_like(work.x, work.rate), 1.0 - load)


def _below(work: Work) -> Column:
    """P(0 < S < x)."""
    ones = (work.x > 0).astype(float)
    return work.sizes.cumulative(ones)[0]


def whole_transform(law: Distribution, theta: Complex) -> Complex:
    """E[exp(-theta S)]; of data with many values, from cells of them."""
    if arrays_of(law)[1].sum() < 1.0 - 1e-12:
        return law.lst(theta)
    values, masses = cells_of(law)
    return np.asarray(np.exp(-np.multiply.outer(theta, values)) @ masses)


@dataclass(frozen=True)
class Levels:
    """Multilevel feedback with these thresholds, which are ends of panels as far as the nodes reach."""

    thresholds: Sequence[float]

    def __call__(self, work: Work) -> Streams:
        """MLFQ."""
        ends = np.array([0.0, *self.thresholds, math.inf])
        level = np.searchsorted(ends[1:], work.sizes.x * (1 - 1e-13), side="left")
        kept = np.ascontiguousarray(work.kept.T)
        met = np.unique([*level, *(level + 1)])
        total, slope, load = _limited_at(work, kept, ends[met])
        places = np.searchsorted(met, level)
        rate = work.rate * (level > 0)[:, None].astype(float)
        return Streams(total[places], slope[places], total[places + 1], 0.0, rate, 1.0 - load[places + 1, None])


def _limited_at(work: Work, kept: Complex, ends: Floats) -> tuple[Complex, Complex, Floats]:
    """M, its derivative and the load of min(S, end), one row for each end in order; the last may be infinite."""
    law, theta, rate, sizes = work.sizes.law, work.theta, work.rate, work.sizes
    total, slope = (np.zeros((len(ends), len(theta)), dtype=complex) for _ in range(2))
    finite = int(np.isfinite(ends).sum())
    within = sizes.weights(law)[:, None] * (sizes.x[:, None] <= ends[:finite] * (1 + 1e-13))
    sums = (kept @ np.concatenate((within, sizes.x[:, None] * within), axis=1)).T
    for k, end in enumerate(ends[:finite].tolist()):
        larger = _beyond(law, end) * np.exp(-theta * end)
        seen = float(within[:, k].sum()) + _beyond(law, min(end, work.reach))
        total[k] = rate * (seen - sums[k] - larger)
        slope[k] = rate * (sums[finite + k] + larger * end)
    if finite < len(ends):
        total[-1] = rate * (1.0 - whole_transform(law, theta))
    loads = [rate * (_limited_mean(law, end) if end < math.inf else law.mean) for end in ends.tolist()]
    return total, slope, np.array(loads)


@lru_cache(maxsize=256)
def _beyond(law: Distribution, end: float) -> float:
    """P(S > end)."""
    return float(law.sf(end))


@lru_cache(maxsize=256)
def _limited_mean(law: Distribution, end: float) -> float:
    """E[min(S, end)]."""
    return float(limited_moment(law, 1, end))
