"""A size x under processor sharing among sizes that are few values: its transform, and its point masses, exactly.

With sizes d_j of probabilities p_j, theta = s + lambda and v_k = x - k.d, over all k with k.d < x, n = |k|,

    D(s, x) = 1 - rho + s x + s^2 sum_k n! prod_j (-lambda p_j)^k_j / k_j! I_n(v_k),
    I_n(v)  = sum_(m <= n) (-1)^m (m + 1) v^(n-m) exp(theta v) / ((n-m)! theta^(m+2))
              + (-theta)^(-n-1) (v + (n+1)/theta),

from the transform in `sharing_law`, expanded in powers of that of the size. Point masses: V(x) is m x plus the
sizes of the requests that came and left while x was there, if no other was served in part. With

    g(s) = sum_k prod_j (-lambda p_j v_k exp(-s d_j))^k_j / k_j! exp(lambda v_k)

(1/g: the transform of what comes and goes), those of V(x) - x have the transform

    (1 - rho) / (g(s) - rho P(R > x) exp(-s x)),    R the residual size,

whether sizes have a density besides or not. Sources: as for `sharing_law`; the second, by the branching argument of
Yashkov (1983), is a power series in the exp(-s d_j).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics import euler
from qmodel.theory.numerics.exponentials import exponential

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

MOST_CAME = 6.0
"""Expected requests in a time x, at most: the sums over k alternate in sign."""
MOST_VALUES, MOST_TERMS, MOST_SUMS, MOST_ORDER = 24, 3000, 250, 60
SMALLEST = 1e-13
"""Terms of the sums below this are left out."""
SAME = 1e-10
"""Sums of sizes nearer than this, relatively, are one."""
AT_ONCE = 1e-9
"""Up to x (1 + AT_ONCE) there are but the point masses."""
MOST_MASSES, MOST_STEPS, LIGHTEST, COMPLETE = 2000, 100_000, 1e-11, 1e-9
"""Point masses that are followed, and steps between them; the least one, and what may be left of them all."""


@dataclass(frozen=True)
class AmongValues:
    """The size x among the `values`, whose probabilities are `masses`; `beyond`: P(R > x).

    >>> unit = AmongValues.of(0.5, 0.5, np.array([1.0]), np.array([1.0]), 1.0, 0.0)
    >>> round(unit.upto(9.0), 12) == round(0.5 * math.exp(-0.5), 12)
    True
    >>> round(unit.probability(2.5, 160), 6)
    0.753147
    """

    rate: float
    load: float
    x: float
    beyond: float
    sums: Floats
    """Values of k.d, increasing."""
    scaled: Floats
    """Coefficients of 1/theta^(m+2), one row a sum, of D exp(-s x) / (s^2 exp(-s k.d))."""
    powers: tuple[Floats, Floats]
    """By n: sums over k of n! prod (-lambda p)^k / k! times v, and (n + 1) times."""
    _found: list[tuple[float, float]] = field(default_factory=list)
    _next: list[float] = field(default_factory=lambda: [0.0])
    _waiting: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rate: float, load: float, values: Floats, masses: Floats, x: float, beyond: float
    ) -> AmongValues | None:
        """None where the sums are too many, or lose their digits."""
        smaller = values[values < x * (1 - SAME)]
        if rate * x > MOST_CAME or len(smaller) > MOST_VALUES:
            return None
        found = _indices(rate, smaller, masses, x)
        if found is None:
            return None
        order, place, coefficient = found
        sums, row = _distinct(place, x)
        if len(sums) > MOST_SUMS:
            return None
        most = int(order.max()) + 1
        scaled, powers = np.zeros((len(sums), most)), np.zeros((2, most))
        left = x - place
        for m in range(most):
            held = order >= m
            falling = np.array([math.perm(int(n), m) for n in order[held]])
            term = (-1) ** m * (m + 1) * falling * coefficient[held] * left[held] ** (order[held] - m)
            scaled[:, m] = np.bincount(row[held], term, len(sums))
        factorial = np.array([math.factorial(int(n)) for n in order], dtype=float)
        powers[0] = np.bincount(order, factorial * coefficient * left, most)
        powers[1] = np.bincount(order, factorial * coefficient * (order + 1), most)
        grown = np.exp(rate * (x - sums))
        return cls(rate, load, x, beyond, sums, scaled * grown[:, None], (powers[0], powers[1]))

    def denominators(self, s: Complex) -> Complex:
        """D(s, x) exp(-s x)."""
        theta = s + self.rate
        inverse = theta[None, :] ** -np.arange(self.scaled.shape[1])[:, None]
        turns = exponential(np.multiply.outer(-self.sums, s))
        inside = ((self.scaled @ inverse) * turns).sum(axis=0) / theta**2
        signs = -((-1.0) ** np.arange(self.scaled.shape[1]))
        linear = ((signs * self.powers[0]) @ inverse + (signs * self.powers[1]) @ inverse / theta) / theta
        alone = np.exp(-s * self.x)
        return np.asarray((1.0 - self.load + s * self.x + s * s * linear) * alone + s * s * inside)

    def point_masses(self, s: Complex) -> Complex:
        """Transform of the point masses of V(x) - x."""
        turns = exponential(np.multiply.outer(-self.sums, s))
        return np.asarray((1.0 - self.load) / (self.scaled[:, 0] @ turns - self._stay * np.exp(-s * self.x)))

    def probability(self, t: float, terms: int) -> float | None:
        """P(V(x) <= t) where all sizes are among the values; None where the point masses are too many."""
        span = max(t - self.x, 0.0)
        known = self.upto(span)
        if known is None or span <= AT_ONCE * t:
            return known
        return known + self.rest(self.denominators(euler.contour(span, terms)), span, terms)

    def rest(self, below: Complex, span: float, terms: int) -> float:
        """P(V(x) - x <= span) besides the point masses, from D(s, x) exp(-s x) on the contour of the span."""
        s = euler.contour(span, terms)
        excess = (1.0 - self.load) / below - self.point_masses(s)
        return float((excess * exponential(s * span) / s).real @ euler.weights(terms) / span)

    def upto(self, span: float) -> float | None:
        """Mass of the point masses of V(x) - x up to a span; None where they are too many."""
        reach = span + SAME * (span + self.x)
        if not self._follow(reach):
            return None
        return math.fsum(mass for place, mass in self._found if place <= reach)

    @property
    def _stay(self) -> float:
        return self.load * self.beyond

    @cached_property
    def _steps(self) -> list[tuple[float, float]]:
        """Point masses at l lead to those at l + step, times the factor."""
        first = float(self.scaled[0, 0])
        steps = [(float(u), -float(c) / first) for u, c in zip(self.sums[1:], self.scaled[1:, 0], strict=True)]
        return [*steps, (self.x, self._stay / first)]

    def _follow(self, span: float) -> bool:
        """Finds the point masses up to a span, in order; whether they are not too many."""
        if not self._found and not self._waiting:
            self._waiting[0.0] = (1.0 - self.load) / float(self.scaled[0, 0])
        whole = (1.0 - self.load) / (self.scaled[:, 0].sum() - self._stay)
        left = whole - math.fsum(mass for _, mass in self._found)
        while self._next and self._next[0] <= span and left > COMPLETE:
            place = heapq.heappop(self._next)
            mass = self._waiting.pop(place)
            if abs(mass) < LIGHTEST:
                continue
            if len(self._found) >= min(MOST_MASSES, MOST_STEPS // len(self._steps)):
                return False
            self._found.append((place, mass))
            left -= mass
            for step, factor in self._steps:
                self._add(place + step, mass * factor)
        return True

    def _add(self, place: float, mass: float) -> None:
        key = float(f"{place:.10e}")
        if key not in self._waiting:
            self._waiting[key] = 0.0
            heapq.heappush(self._next, key)
        self._waiting[key] += mass


def _indices(
    rate: float, values: Floats, masses: Floats, x: float
) -> tuple[NDArray[np.intp], Floats, Floats] | None:
    """n, k.d and prod (-lambda p)^k / k! of each k with k.d < x, or None if they are too many."""
    order, place, coefficient = np.zeros(1, dtype=int), np.zeros(1), np.ones(1)
    for value, mass in zip(values, masses, strict=False):
        parts = [(order, place, coefficient)]
        while len(parts[-1][0]):
            n, at, c = parts[-1][0] + 1, parts[-1][1] + value, parts[-1][2] * (-rate * mass / len(parts))
            kept = (at < x * (1 - SAME)) & (np.abs(c) * (x - np.minimum(at, x)) ** n > SMALLEST)
            parts.append((n[kept], at[kept], c[kept]))
        orders, places, coefficients = zip(*parts, strict=True)
        order, place, coefficient = _together(
            np.concatenate(orders), np.concatenate(places), np.concatenate(coefficients)
        )
        if len(order) > MOST_TERMS or order.max() > MOST_ORDER:
            return None
    return order, place, coefficient


def _together(
    order: NDArray[np.intp], place: Floats, coefficient: Floats
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """As one, those of the same n and k.d."""
    sums, row = _distinct(place, 1.0 + float(place.max()))
    key, which = np.unique(row * (MOST_ORDER + len(order)) + order, return_inverse=True)
    row, order = np.divmod(key, MOST_ORDER + len(order))
    return order, sums[row], np.asarray(np.bincount(which, coefficient), dtype=float)


def _distinct(place: Floats, x: float) -> tuple[Floats, NDArray[np.intp]]:
    """The sums that differ, and the row of each."""
    by_size = np.argsort(place)
    first = np.diff(place[by_size], prepend=-x) > SAME * x
    row = np.empty(len(place), dtype=int)
    row[by_size] = np.cumsum(first) - 1
    return place[by_size][first], row
