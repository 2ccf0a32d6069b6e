"""The law of the response under M/G/1 processor sharing for any law of size, infinite variance included.

A request of size x stays V(x), E[exp(-s V(x))] = (1 - rho) / D(s, x), and

    D(s, x) = 1 - rho + s int_0^x y,    y = 1 - int_0^x a + (a + s) * y,    a(v) = lambda P(S > v),

which `sharing_equation` solves on panels of sizes for a whole contour of s. The point masses at n x (see
`sharing_law`) are kept apart; the rest is inverted in t, and summed over the law of each class's sizes by parts,

    E[g(S); S <= t] = -[g P(S > x)]_0^t + int_0^t g'(x) P(S > x) dx,

so that nothing but P(S > x) is asked of a law: no density, no transform. Moments: E[V(x)] = x/(1 - rho), and the
variance is in `processor_sharing`. Sources: Yashkov, *Probl. Control Inf. Theory* 12 (1983); Ott, *J. Appl. Prob.*
21 (1984) 360-378; Schassberger, *Adv. Appl. Prob.* 16 (1984) 202-213; Zwart & Boxma, *Queueing Systems* 35 (2000)
141-166 (D as a power series in s of convolutions of the law of the wait).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics import euler
from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.one_server.sharing_equation import SharingEquation
from qmodel.theory.one_server.sharing_law import SharingLaw
from qmodel.theory.one_server.sharing_percentiles import Values
from qmodel.theory.one_server.sharing_phases import AT_ONCE, EARLY, MULTIPLES, MULTIPLES_EARLY, SAME, PointMasses
from qmodel.theory.one_server.sharing_pieces import Pieces
from qmodel.theory.one_server.sharing_sizes import MOST_NARROW, SizeTable, narrow_parts, turning_points
from qmodel.theory.one_server.sharing_values import MOST_VALUES, AmongValues
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

MOST_TERMS = 80
HIGHEST_LOAD = 0.999
PERIODS, GROWTH, STEEPEST = 4.0, 8.0, 0.4
"""Panels of the equation are no longer than PERIODS t / terms, nor than GROWTH mean times between arrivals or
STEEPEST times the size at which they begin, whichever is larger."""
FINEST = 0.02
"""Ends of the table's panels below this share of t, or of the mean time between arrivals, are no ends of these."""
CERTAIN = 10.0
"""From lambda t (1 - rho)^4 = CERTAIN rho^2 on, sizes near t (1 - rho) need panels shorter by 1 - rho."""
AVERAGE, WIDENING = 10, 3.0
"""Order of the panels over which the law of sizes is summed, and their ratio at most."""
ALONE, MOST_ALONE, FELT = 0.02, 16, 0.25
"""Point masses x of at least ALONE, the last so many and not below this share of t, are inverted by themselves:
V(x) has an edge at x, and V(x) - x has it at 0."""
SOON, SHORT = 0.2, 0.1
"""Up to a span t - x of SOON x the double inversion loses nothing; from a span of SHORT t on the equation does."""
FINER = 8
"""Terms of a single size's closed form to one of the equation's."""
REACH = 8.0
"""Tables of the laws reach to powers of this many mean sizes."""


def tabulated(rate: float, size: Distribution, owners: Sequence[Distribution]) -> bool:
    """Whether these laws are answered to 1e-4: not too near saturation, nor of many all but constant parts.

    >>> from qmodel.workload import Lognormal
    >>> tabulated(0.95, Lognormal(1.0, 4.0), []), tabulated(0.9999, Lognormal(1.0, 4.0), [])
    (True, False)
    """
    few = all(len(narrow_parts(law)) <= MOST_NARROW for law in (size, *owners))
    return few and rate * size.mean <= HIGHEST_LOAD


@dataclass(frozen=True)
class Given:
    """P(V(x) <= t) at the nodes of `pieces`, less the point masses of V(x); with these, at the sizes of `alone`."""

    pieces: Pieces
    rest: Floats
    masses: Floats
    alone: dict[float, float]


@dataclass
class AnySharedServer:
    """The server that requests at `rate`, with sizes of law `size`, share; `others`: laws of size until delivery.

    >>> from qmodel.workload import Deterministic, Lognormal
    >>> constant = Deterministic(1.0)
    >>> server = AnySharedServer(0.5, constant, (constant,))
    >>> round(server.probability(constant, 1.0, 40), 12) == round(0.5 * math.exp(-0.5), 12)
    True
    >>> law = Lognormal(1.0, 4.0)
    >>> round(AnySharedServer(0.8, law, (law,)).probability(law, 20.0, 40), 5)
    0.95098
    """

    rate: float
    size: Distribution
    others: tuple[Distribution, ...] = ()
    most_terms: int = MOST_TERMS
    values: Values = field(default_factory=dict)
    _known: dict[tuple[float, int], Given] = field(default_factory=dict)
    _sizes_among: dict[float, AmongValues | None] = field(default_factory=dict)
    _untold: float = 0.0
    _tables: dict[int, SizeTable] = field(default_factory=dict)

    @cached_property
    def load(self) -> float:
        """lambda E[S]."""
        return self.rate * self.size.mean

    @cached_property
    def atoms(self) -> tuple[Floats, Floats]:
        """Values of the point masses of the laws until delivery, and the largest mass of any of them there."""
        largest: dict[float, float] = {}
        for law in self.others:
            for value, mass in law.atoms():
                largest[value] = max(mass, largest.get(value, 0.0))
        values = np.array(sorted(largest))
        return values, np.array([largest[value] for value in values])

    @property
    def error(self) -> float:
        """Error that more terms do not show: that of the tables of the laws, and of point masses not told apart."""
        tables = max((table.smooth.error for table in self._tables.values()), default=0.0)
        return tables / (1.0 - self.load) + self._untold

    def times(self, terms: int) -> list[float]:
        """Times at which the law is known with so many terms."""
        return [t for t, known in self._known if known == terms]

    def probability(self, law: Distribution, t: float, terms: int) -> float:
        """P(T <= t) of requests with this law until delivery."""
        if law.support()[0] > t:
            return 0.0
        table = self._table(law, t)
        direct = self._directly(table, t, terms)
        if direct is not None:
            return direct
        given = self._given(t, terms)
        smooth = table.weights(given.pieces) @ (given.rest + given.masses)
        x = table.values[table.values <= t * (1 + 1e-12)]
        if not len(x):
            return float(smooth)
        panel, weights = given.pieces.interpolation(np.minimum(x, t))
        upto = (weights * given.rest.reshape(-1, given.pieces.order)[panel]).sum(axis=1)
        upto += self._point_masses(x, t).upto(t)
        upto = np.array([given.alone.get(float(each), some) for each, some in zip(x, upto, strict=True)])
        self._untold = max(self._untold, self._half_a_jump(x, table.masses[: len(x)], t, given.alone))
        return float(smooth + table.masses[: len(x)] @ upto)

    def _half_a_jump(self, x: Floats, masses: Floats, t: float, alone: dict[float, float]) -> float:
        """Half of the largest point mass of V(x) at x and a smaller size that is not told apart from the rest.

        One request of that size came, and left while x was there: a share lambda x p of the mass at x.
        """
        size = self._table(self.size, t)
        if not len(size.values):
            return 0.0
        told = np.array([each in alone and self._sizes_among.get(each) is not None for each in x.tolist()])
        likeliest = np.append(0.0, np.maximum.accumulate(size.masses))[np.searchsorted(size.values, x)]
        jumps = masses * self._point_masses(x, t).first * self.rate * x * likeliest
        near = (x >= FELT * t) & (t - x >= size.values[0])
        return 0.5 * float(jumps[near & ~told].max(initial=0.0))

    def _directly(self, table: SizeTable, t: float, terms: int) -> float | None:
        """P(T <= t) in closed form, where all sizes are few values."""
        if not (table.discrete and self._table(self.size, t).discrete):
            return None
        sizes = table.values[table.values <= t * (1 + SAME)].tolist()
        among = [self._among(x) for x in sizes] if len(sizes) <= MOST_VALUES else [None]
        given = [None if each is None else each.probability(t, FINER * terms) for each in among if all(among)]
        if len(given) < len(sizes) or None in given:
            return None
        return math.fsum(mass * p for mass, p in zip(table.masses.tolist(), given, strict=False))

    def _among(self, x: float) -> AmongValues | None:
        """The size x among all sizes."""
        if x not in self._sizes_among:
            table = self._table(self.size, x)
            beyond = 1.0 - float(table.attained(np.array([x]))[0])
            self._sizes_among[x] = AmongValues.of(self.rate, self.load, table.values, table.masses, x, beyond)
        return self._sizes_among[x]

    def _table(self, law: Distribution, t: float) -> SizeTable:
        """The table of a law that reaches t at least."""
        known = self._tables.get(id(law))
        if known is None or known.reach < t:
            mean = law.mean if known is None else known.mean
            steps = max(math.ceil(math.log(t / mean, REACH)), 0)
            known = self._tables[id(law)] = SizeTable.of(law, mean * REACH**steps * (1 + 1e-9))
        return known

    def _point_masses(self, x: Floats, t: float) -> PointMasses:
        return PointMasses.of(self.rate, self.load, self._table(self.size, t).attained(x), x)

    def _given(self, t: float, terms: int) -> Given:
        key = t, terms
        if key not in self._known:
            ends = self._ends(t, terms)
            equation = SharingEquation(Pieces(ends), self.rate, self._table(self.size, t).larger)
            many = MULTIPLES_EARLY if self.rate * t < EARLY else MULTIPLES
            marks = {t / n for n in range(2, many)} | {end for law in self.others for end in law.support()}
            marks |= {WIDENING**k * (1.0 - self.load) / self.rate for k in range(-2, self._steps(t))}
            pieces = Pieces(_apart(set(ends.tolist()) | {mark for mark in marks if 0 < mark < t}), AVERAGE)
            rest = self._rest(equation, pieces.nodes, t, t, terms)
            alone = {x: self._upto_alone(equation, x, t, terms) for x in self._alone(t)}
            masses = self._point_masses(pieces.nodes, t).upto_on_average(t, many - 1)
            self._known[key] = Given(pieces, rest, masses, alone)
        return self._known[key]

    def _upto_alone(self, equation: SharingEquation, x: float, t: float, terms: int) -> float:
        """P(V(x) <= t), on a contour of V(x) - x: in closed form, by the double inversion, or by the equation."""
        at, span = np.array([x]), t - x
        known = float(self._point_masses(at, t).upto(t)[0])
        if x <= self.size.support()[0]:
            if span <= AT_ONCE * t:
                return known
            below = self._closed(euler.contour(span, terms), x)[None, :]
            return known + float(self._inverted(below, at, t, span, terms)[0])
        if span <= self._soon(x):
            return known + float(SharingLaw(self.size, self.rate, self.size).rest(at, t - at)[0])
        below = self._below(equation, at, span, terms)
        among = self._among(x)
        several = None if among is None else among.upto(span)
        if among is None or several is None:
            return known + float(self._inverted(below, at, t, span, terms)[0])
        return several + among.rest(below[0], span, terms)

    def _closed(self, s: Complex, x: float) -> Complex:
        """D(s, x) exp(-s x) where no request is smaller than x, and so a is lambda up to x."""
        rate, alone = self.rate, np.exp(-s * x)
        inside = s * (math.exp(rate * x) - alone) / (s + rate) ** 2 + rate * x * alone / (s + rate)
        return (1.0 - self.load) * alone + s * inside

    def _soon(self, x: float) -> float:
        """Span in which no request of a given size can have come and gone: the double inversion has it exactly."""
        values = self._table(self.size, x).larger.values
        return min(SOON * x, float(values.min(initial=math.inf)))

    def _rest(self, equation: SharingEquation, x: Floats, t: float, span: float, terms: int) -> Floats:
        """P(V(x) <= t) less the point masses of V(x); `span` is the time to which the contour is scaled."""
        return self._inverted(self._below(equation, x, span, terms), x, t, span, terms)

    def _below(self, equation: SharingEquation, x: Floats, span: float, terms: int) -> Complex:
        """D(s, x) exp(-s x), one row an x."""
        s = euler.contour(span, terms)
        inside = equation.denominators(equation.solve(s), x, self.load)
        return np.asarray(inside * exponential(np.multiply.outer(-x, s)))

    def _inverted(self, below: Complex, x: Floats, t: float, span: float, terms: int) -> Floats:
        """From D(s, x) exp(-s x)."""
        return self._point_masses(x, t).rest((1.0 - self.load) / below, t, span, terms)

    def _alone(self, t: float) -> list[float]:
        values, masses = self.atoms
        chosen = values[(masses >= ALONE) & (values <= t) & (values >= FELT * t)]
        return [float(x) for x in chosen[-MOST_ALONE:] if self._quick(x, t) or t - x >= SHORT * t]

    def _quick(self, x: float, t: float) -> bool:
        """Whether the equation is not needed for this size alone."""
        return x <= self.size.support()[0] or t - x <= self._soon(x)

    def _steps(self, t: float) -> int:
        """Powers of WIDENING from (1 - rho)/lambda, the size in which the point masses fall, to t."""
        return max(math.ceil(math.log(self.rate * t / (1.0 - self.load), WIDENING)), 0)

    def _ends(self, t: float, terms: int) -> Floats:
        """Ends of the panels of the equation, from 0 to t."""
        least = FINEST * min(1.0 / self.rate, t)
        inner = {end for end in self._table(self.size, t).smooth.pieces.ends.tolist() if least < end < t}
        marks = _apart(inner | {0.0, t} | set(turning_points(self.size, t)))
        spans = [t - x for x in self._alone(t) if not self._quick(x, t)]
        finest = PERIODS * min(spans, default=t) / terms
        certain = self.rate * t * (1.0 - self.load) ** 4 > CERTAIN * self.load**2
        dense = 3.0 * t * (1.0 - self.load) if certain else 0.0
        ends = [0.0]
        for mark in marks[1:]:
            while ends[-1] < mark:
                a = ends[-1]
                longest = min(
                    finest * (1.0 - self.load) if a < dense else finest, max(GROWTH / self.rate, STEEPEST * a)
                )
                pieces = math.ceil((mark - a) / longest - 1e-9)
                ends.append(mark if pieces <= 1 else a + (mark - a) / pieces)
        return np.array(ends)


def _apart(ends: set[float]) -> Floats:
    """These ends in order, without those that all but meet another."""
    found = np.array(sorted(ends))
    keep = np.diff(found, prepend=-1.0) > 1e-9 * found[-1]
    keep[-1] = True
    return found[keep]
