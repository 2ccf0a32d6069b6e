"""The law of the response under M/G/1 processor sharing where sizes are mixtures of Erlangs, by its roots.

The inner transform of `sharing_law` is rational then, and its inversion a sum over the roots q_i of
q = s + lambda (1 - S~(q)); what belongs to its double pole at q = 0 cancels:

    E[exp(-s V(x))] = (1 - rho) / (s^2 sum_i exp(q_i x) / (q_i^2 (1 + lambda S~'(q_i)))).

With S of phase type (alpha, T, t), the roots are the eigenvalues of ((s + lambda, -lambda alpha), (t, T)). They do
not depend on x: one contour of s does for all sizes, over which the law is summed. The point masses at n x, n = 1,
2, ..., are kept apart. Sources: as for `sharing_law`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics import euler
from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.numerics.sizes import weighted_components
from qmodel.theory.one_server.sharing_percentiles import Values
from qmodel.theory.size_order.sizes_upto import SizesUpto, arrays_of, marks_of
from qmodel.workload import Distribution, Gamma, Hyperexponential
from qmodel.workload.distribution import Scaled
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

MOST_PHASES = 12
MOST_TERMS = 320
TERMS_A_PANEL = 4
MULTIPLES, MULTIPLES_EARLY, EARLY = 12, 40, 5.0
"""Panels of sizes end at t/n for n below this, where point masses pass t; there are more of those early on, while
fewer requests than EARLY are likely to have come."""
SAME, AT_ONCE = 1e-12, 2e-6
"""Up to x (1 + AT_ONCE) there are but the point masses."""
LARGEST = 600.0
UNFELT = 1e-9
"""Share of the work that a part of the law may bring without being told apart."""

Erlangs = list[tuple[float, int, float]]
"""(probability, phases, mean of a phase) of each Erlang law."""


def erlang_phases(law: Distribution) -> Erlangs | None:
    """The Erlang laws that the law mixes, or None if it is no mixture of few.

    >>> from qmodel.workload import Erlang
    >>> erlang_phases(Erlang(2, 1.0))
    [(1.0, 2, 0.5)]
    """
    found: Erlangs = []
    felt = UNFELT * law.mean
    for share, part in weighted_components(law):
        if share * part.mean <= felt:
            continue
        factor, inner = (part.factor, part.law) if isinstance(part, Scaled) else (1.0, part)
        if isinstance(inner, Hyperexponential):
            found += [(share * p, 1, factor * mean) for p, mean in inner.phases]
        elif isinstance(inner, Gamma) and abs(1.0 / inner.scv - round(1.0 / inner.scv)) < 1e-9 / inner.scv:
            found.append((share, round(1.0 / inner.scv), factor * inner.mean * inner.scv))
        else:
            return None
    return found if sum(phases for _, phases, _ in found) <= MOST_PHASES else None


@dataclass(frozen=True)
class PointMasses:
    """V(x) = n x has mass first ratio^(n-1), for each x; what is left of the law is inverted."""

    x: Floats
    first: Floats
    ratio: Floats

    @classmethod
    def of(cls, rate: float, load: float, attained: Floats, x: Floats) -> PointMasses:
        """`attained` is P(R <= x), R the residual size."""
        alone = np.exp(-rate * x)
        return cls(x, (1.0 - load) * alone, load * (1.0 - attained) * alone)

    def upto(self, t: float) -> Floats:
        """Mass of the multiples of x up to t."""
        return np.asarray(self.first * (1.0 - self.ratio ** np.floor(t / self.x * (1 + SAME))) / (1.0 - self.ratio))

    def upto_on_average(self, t: float, many: int) -> Floats:
        """As `upto`; where more than `many` multiples of x are below t, the mean over t +- x/2 or so.

        For sums over sizes x without an end of a panel at each t/n: there floor(t/x) is any number next to t/x, and
        the mean of r^floor(y) over a unit of y is r^y (1/r - 1)/(-log r).
        """
        multiples = t / self.x
        left = np.maximum(self.ratio, 1e-300)
        smooth = left**multiples * (1.0 / left - 1.0) / -np.log(left)
        mean = self.first * (1.0 - smooth) / (1.0 - self.ratio)
        return np.where(multiples > many, mean, self.upto(t))

    def rest(self, excess: Complex, t: float, span: float, terms: int) -> Floats:
        """P(V(x) <= t) besides, from E[exp(-s (V(x) - x))] on the contour of `span`, one row an x."""
        s = euler.contour(span, terms)
        known = self.first[:, None] / (1.0 - self.ratio[:, None] * euler.decays(self.x, span, terms))
        turned = (excess - known) * exponential(np.multiply.outer(t - self.x, s)) / s
        return np.asarray(turned.real @ euler.weights(terms) / span)


@dataclass
class SharedServer:
    """The server that requests at `rate`, with sizes of law `size`, share; `erlangs` are those of the size."""

    rate: float
    size: Distribution
    erlangs: Erlangs
    others: tuple[Distribution, ...] = ()
    most_terms: int = MOST_TERMS
    error: float = 0.0
    values: Values = field(default_factory=dict)
    _known: dict[tuple[float, int], tuple[SizesUpto, Floats]] = field(default_factory=dict)

    @cached_property
    def load(self) -> float:
        """lambda E[S]."""
        return self.rate * self.size.mean

    def times(self, terms: int) -> list[float]:
        """Times at which the law is known with so many terms."""
        return [t for t, known in self._known if known == terms]

    def responses(self, t: float, terms: int) -> tuple[SizesUpto, Floats]:
        """Sizes x up to t and P(V(x) <= t)."""
        key = (t, terms)
        if key not in self._known:
            multiples = MULTIPLES_EARLY if self.rate * t < EARLY else MULTIPLES
            marks = self._marks | {t / n for n in range(2, multiples)}
            sizes = SizesUpto.of(self.size, marks, self.atoms, t, (TERMS_A_PANEL * t / terms, t))
            alone = [self._upto(np.array([x]), t, t - x, terms) for x in sizes.atoms]
            self._known[key] = sizes, np.concatenate((self._upto(sizes.nodes, t, t, terms), *alone))
        return self._known[key]

    def probability(self, law: Distribution, t: float, terms: int) -> float:
        """P(T <= t) of requests with this law until delivery."""
        sizes, given = self.responses(t, terms)
        return float(sizes.weights(law) @ given)

    def _upto(self, x: Floats, t: float, span: float, terms: int) -> Floats:
        """P(V(x) <= t), elementwise; `span` is the time to which the contour is scaled."""
        masses = PointMasses.of(self.rate, self.load, limited_moment(self.size, 1, x) / self.size.mean, x)
        if not len(x) or span <= AT_ONCE * t:
            return masses.upto(t)
        s = euler.contour(span, terms)
        roots, weights = self._roots(s)
        turns = sum(w * _below(np.multiply.outer(x, q - s)) for q, w in zip(roots.T, weights.T, strict=True))
        return np.asarray(masses.upto(t) + masses.rest((1.0 - self.load) / turns, t, span, terms))

    def _roots(self, s: Complex) -> tuple[Complex, Complex]:
        """The roots q_i at each s (rows), and s^2 / (q_i^2 (1 + lambda S~'(q_i)))."""
        phases = sum(count for _, count, _ in self.erlangs)
        matrix = np.zeros((len(s), phases + 1, phases + 1), dtype=complex)
        matrix[:, 0, 0] = s + self.rate
        first = 1
        for p, count, mean in self.erlangs:
            chain = np.arange(first, first + count)
            matrix[:, 0, first] = -self.rate * p
            matrix[:, chain, chain] = -1.0 / mean
            matrix[:, chain[:-1], chain[1:]] = 1.0 / mean
            matrix[:, chain[-1], 0] = 1.0 / mean
            first += count
        q = np.asarray(np.linalg.eigvals(matrix), dtype=complex)
        slope = 1.0 - self.rate * sum(
            p * count * mean / (1.0 + mean * q) ** (count + 1) for p, count, mean in self.erlangs
        )
        return q, s[:, None] ** 2 / (q * q * slope)

    @cached_property
    def _marks(self) -> frozenset[float]:
        return marks_of((self.size, *self.others))

    @cached_property
    def atoms(self) -> tuple[Floats, Floats]:
        """Values of the point masses of the other laws; sizes themselves have none."""
        values = np.unique([value for law in self.others for value in arrays_of(law)[0]])
        return values, np.zeros(len(values))


def _below(z: Complex) -> Complex:
    """exp(z), held at exp(LARGEST): one over it is 0 to any purpose."""
    np.minimum(z.real, LARGEST, out=z.real)
    return exponential(z)
