"""Where the response of a request of size x has point masses, under orders by size or age.

Nobody is present and the interruptions have lengths that have point masses themselves: see `atoms`.

    SJF   x                                  PSJF  x and interruptions by atoms below x
    SRPT  x and, at a remaining time r, by atoms below r
    LAS   x and interruptions by min(S, x), which has an atom at x: so multiples of x at least
    MLFQ  as LAS with min(S, a), x in the level that starts at a > 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import LAS, MLFQ, PSJF, SRPT, Policy
from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.one_server.atoms import MOST, NEGLIGIBLE, Atoms, prolonged_atoms
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

SAME = 1e-12


@dataclass(frozen=True)
class PointMasses:
    """Times (s) and masses, one row a size, filled up with masses 0."""

    times: Floats
    masses: Floats

    @classmethod
    def of(cls, rows: Sequence[Atoms]) -> PointMasses:
        """From lists of (time, mass)."""
        longest = max(len(row) for row in rows)
        padded = [[*row, *[(1.0, 0.0)] * (longest - len(row))] for row in rows]
        table = np.array(padded, dtype=float).reshape(len(rows), longest, 2)
        return cls(table[:, :, 0], table[:, :, 1])

    def before(self, end: float) -> PointMasses:
        """Those at times up to `end`; the others have mass 0."""
        return type(self)(self.times, np.where(self.times <= end, self.masses, 0.0))

    def turned(self, s: Complex, t: float) -> Complex:
        """sum of mass exp(s (t - time)), s one row a size."""
        if self.times.shape[1] == 1:
            return np.asarray(self.masses * exponential(s * (t - self.times)), dtype=complex)
        out = np.zeros_like(s)
        for row, at, times, masses in zip(out, s, self.times, self.masses, strict=True):
            held = masses > 0
            row += masses[held] @ exponential(np.multiply.outer(t - times[held], at))
        return out

    def upto(self, t: float) -> Floats:
        """Mass at times up to t."""
        return np.asarray((self.masses * (self.times <= t * (1 + SAME))).sum(axis=1))


class Multiples(PointMasses):
    """Masses at x, 2x, 3x, ... for each size x."""

    def turned(self, s: Complex, t: float) -> Complex:
        x = self.times[:, :1]
        z, out = exponential(-s * x), np.zeros_like(s)
        for mass in self.masses.T[::-1]:
            out *= z
            out += mass[:, None]
        return out * exponential(s * (t - x))


def multiples(larger: Floats, rate: float, x: Floats, idle: Floats, most: int) -> Multiples:
    """LAS: (k + 1) x if k later arrivals need more than x each, which come at rate `larger`; k up to `most`."""
    k = np.arange(most + 1)
    times = np.multiply.outer(x, k + 1.0)
    larger = larger[:, None] * times
    factorials = np.cumprod(np.maximum(k, 1)).astype(float)
    masses = idle[:, None] / (k + 1.0) * np.exp(-rate * times) * larger**k / factorials
    return Multiples(times, np.asarray(masses))


def point_masses(policy: Policy, rate: float, law: Distribution, x: float, idle: float) -> Atoms:
    """(time, mass) for one size x > 0; `idle` is the probability that nobody goes before."""
    if not policy.preemptive:
        return [(x, idle)]
    atoms = [(value, rate * p) for value, p in law.atoms() if value > 0]
    smaller = [(value, r) for value, r in atoms if value < x * (1 - SAME)]
    if isinstance(policy, SRPT):
        return _shrinking(rate, law, x, idle, smaller)
    if isinstance(policy, PSJF):
        return prolonged_atoms([(x, 1.0)], idle, rate * _below(law, x), smaller)
    end = x if isinstance(policy, LAS) else _level_start(policy, x)
    if end == 0.0:
        return [(x, idle)]
    cut = [(value, r) for value, r in atoms if value < end * (1 - SAME)]
    return prolonged_atoms([(x, 1.0)], idle, rate, [*cut, (end, rate * (1.0 - _below(law, end)))])


def _level_start(policy: Policy, x: float) -> float:
    assert isinstance(policy, MLFQ)
    return max((end for end in policy.thresholds if end < x * (1 - SAME)), default=0.0)


def _below(law: Distribution, x: float) -> float:
    """P(S < x)."""
    here = sum(p for value, p in law.atoms() if abs(value - x) <= SAME * x)
    return float(law.cdf(x * (1 + SAME))) - here


def _shrinking(
    rate: float, law: Distribution, x: float, idle: float, smaller: Sequence[tuple[float, float]]
) -> Atoms:
    """SRPT: stage by stage between the atoms, each prolonged by those below it."""
    ends = [value for value, _ in smaller]
    nodes, weights = np.polynomial.legendre.leggauss(20)
    found: Atoms = [(0.0, idle)]
    for k, (start, end) in enumerate(zip([0.0, *ends], [*ends, x], strict=True)):
        width = end - start
        remaining = start + width * 0.5 * (nodes + 1.0)
        total = rate * float(np.asarray(law.cdf(remaining)) @ weights) / 2.0
        found = _convolved(found, prolonged_atoms([(width, 1.0)], 1.0, total, smaller[:k]))
    return found


def _convolved(first: Atoms, second: Atoms) -> Atoms:
    sums: dict[float, float] = {}
    for a, p in first:
        for b, q in second:
            if p * q > NEGLIGIBLE:
                time = float(f"{a + b:.12g}")
                sums[time] = sums.get(time, 0.0) + p * q
    heaviest = sorted(sums.items(), key=lambda atom: -atom[1])[:MOST]
    return sorted(heaviest)
