"""FCFS with a queue threshold: how many are present as services begin, by change of mode, and how many then arrive.

Up to K present: from the chain at departures. Beyond K services are long. Those after a short one begin with what
that leaves. Of those after a long one the generating function X(z) is rational in polynomials of the numbers of
arrivals: as many services go down from n as up to it,

    X(z) (a_0 - sum_{j>=1} P(A > j) z^j) = sum_{n>K} z^n sum_k b_k P(A_k > n - k) - P(A' = 0) Y(z),

with A, A' the arrivals in a long service after a long or a short one, Y of the services after short ones, and k
over all services known to begin with fewer than n. So no queue is too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.service.transform import QueueCondition
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.state.modes import LONG, SHORT, mode_of
from qmodel.theory.state.threshold import ThresholdChain
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Complex = NDArray[np.complex128]

Change = tuple[int, int]
"""Modes of a service and of the one before: (before, own)."""
MODES = (SHORT, LONG)
MOST_ARRIVALS = 128
"""Arrivals in one service that are followed."""
LEFT_OUT = 1e-10
"""Probability of more."""
FARTHEST = 512
"""Number present up to which single services are told apart."""
ALIAS = 1e-14
NODES = 400


@dataclass(frozen=True)
class Step:
    """A service, its swap included, and the arrivals during it."""

    law: Distribution
    rate: float

    @cached_property
    def counts(self) -> Vector:
        """P(A = j) up to where it is negligible, or MOST_ARRIVALS."""
        most = next((n for n in (32, 64) if self.more_than(n) < 0.01 * LEFT_OUT), MOST_ARRIVALS)
        return count_probabilities(self.law.lst, self.rate, most)

    @cached_property
    def tails(self) -> Vector:
        """P(A > j), j >= 1, in place j; 0 in place 0."""
        tails = 1.0 - np.cumsum(self.counts)
        return np.concatenate(([0.0], np.maximum(tails[1:], 0.0)))

    def more_than(self, most: int) -> float:
        """P(A > most): that the time of so many arrivals and one, a gamma law, is within the service."""
        atoms = self.law.atoms()
        if atoms and self.law.sf(atoms[-1][0]) == 0 and sum(p for _, p in atoms) > 1.0 - 1e-12:
            from scipy.special import gammainc

            return float(sum(p * gammainc(most + 1.0, self.rate * value) for value, p in atoms))
        times, weights = _gamma(most)
        return float(weights @ self.law.sf(times / self.rate))


@lru_cache
def _gamma(most: int) -> tuple[Vector, Vector]:
    """Nodes and weights for the gamma law of most + 1 unit phases, dense towards 0 where services end."""
    from scipy.special import gammaln

    nodes = (most + 1.0) * 2.5 * (np.arange(NODES) + 0.5) / NODES
    weights = np.exp(most * np.log(nodes) - nodes - gammaln(most + 1.0)) * (nodes[1] - nodes[0])
    return nodes, weights


@dataclass(frozen=True)
class Begun:
    """Services begun, per departure, by change of mode and by the number present, the own request included."""

    rate: float
    laws: tuple[Distribution, Distribution]
    condition: QueueCondition
    chain: ThresholdChain

    @cached_property
    def steps(self) -> dict[Change, Step]:
        """Service and arrivals by change of mode; the same object where they are the same."""
        plain = [Step(law, self.rate) for law in self.laws]
        if self.condition.swap_time_s == 0.0:
            return {(last, mode): plain[mode] for last in MODES for mode in MODES}
        swap = [Step(law.shifted(self.condition.swap_time_s), self.rate) for law in self.laws]
        return {(last, mode): (plain if last == mode else swap)[mode] for last in MODES for mode in MODES}

    @cached_property
    def too_long(self) -> bool:
        """Whether arrivals in one service are too many to follow, or the load is too near 1."""
        near_one = 1.0 - self.rate * self.laws[LONG].mean < 1e-4
        return near_one or any(step.more_than(MOST_ARRIVALS) > LEFT_OUT for step in self.steps.values())

    @cached_property
    def known(self) -> dict[Change, Vector]:
        """All but those after long services that begin with more than K: by the number present."""
        boundary, above = self.chain.boundary / self.chain.total, self.condition.above
        found = {change: np.zeros(above + 2) for change in self.steps}
        for last in MODES:
            for n in range(above + 1):
                found[last, mode_of(max(n, 1), last, self.condition)][max(n, 1)] += boundary[last, n]
        after = [np.convolve(found[last, SHORT], self.steps[last, SHORT].counts) for last in MODES]
        left = _sum(after)[1:]  # one of them has left
        left[: above + 1] = 0.0
        found[SHORT, LONG] = _sum([left, found[SHORT, LONG]])
        return found

    @cached_property
    def _fraction(self) -> tuple[Vector, Vector]:
        """Numerator and denominator of X(z)."""
        above = self.condition.above
        parts = [np.convolve(found, self.steps[change].tails) for change, found in self.known.items()]
        later = np.where(np.arange(len(self.known[SHORT, LONG])) > above, self.known[SHORT, LONG], 0.0)
        parts.append(-self.steps[SHORT, LONG].counts[0] * later)
        upper = _sum(parts)
        upper[: above + 1] = 0.0
        lower = -self.steps[LONG, LONG].tails
        lower[0] = self.steps[LONG, LONG].counts[0]
        return upper, lower

    @cached_property
    def by_number(self) -> dict[Change, Vector]:
        """Services begun with n = 0, 1, ... present, up to `FARTHEST`."""
        upper, lower = self._fraction
        points = 4 * FARTHEST
        radius = ALIAS ** (1.0 / points)
        parts = [np.fft.rfft(part * radius ** np.arange(len(part)), points) for part in (upper, lower)]
        later = np.fft.irfft(parts[0] / parts[1], points)[:FARTHEST] * radius ** -np.arange(float(FARTHEST))
        found = {change: np.zeros(FARTHEST) for change in self.known}
        for change, part in self.known.items():
            found[change][: len(part)] = part[:FARTHEST]
        found[LONG, LONG] += np.where(np.arange(FARTHEST) > self.condition.above, np.maximum(later, 0.0), 0.0)
        return found

    def generating(self, change: Change, w: Complex, lowest: int) -> Complex:
        """sum_{n >= lowest} of the services begun with n times w^(n - lowest), lowest at most 2."""
        out = _polynomial(self.known[change][lowest:], w)
        if change == (LONG, LONG):
            upper, lower = self._fraction
            out = out + _polynomial(upper[lowest:], w) / _polynomial(lower, w)
        return out


def _sum(parts: Sequence[Vector]) -> Vector:
    """The sum of sequences of unequal length."""
    out = np.zeros(max(map(len, parts)))
    for part in parts:
        out[: len(part)] += part
    return out


def _polynomial(coefficients: Sequence[float] | Vector, w: Complex) -> Complex:
    return np.asarray(np.polynomial.polynomial.polyval(w, np.asarray(coefficients, dtype=float)))
