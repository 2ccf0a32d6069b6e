"""The law of the response under M/G/1 processor sharing, for any law of size.

A request of size x stays V(x), with transform

    E[exp(-sV(x))] = (1 - rho) / (1 - rho + s x + s^2 g(s, x)),
    int_0^inf exp(-qx) g(s, x) dx = 1 / (q^2 (q - s - lambda (1 - S~(q)))).

With n - 1 others present, all of them still to need x or more and nobody coming, V(x) = n x exactly: mass (1
- rho) (rho P(R > x))^(n-1) exp(-lambda n x), R the residual size. What is left has no point masses and is
inverted twice, g in q and then V(x) - x in s, both by Fourier series with Euler's summation, and summed over
sizes. Sources: Yashkov, *Probl. Control Inf. Theory* 12 (1983); Ott, *J. Appl. Prob.* 21 (1984) 360-378;
Schassberger, *Adv. Appl. Prob.* 16 (1984) 202-213.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.roots import interpolated
from qmodel.theory.numerics.sizes import weighted_components
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.supply import blended
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

DAMPING = 22.0
TERMS, AVERAGED = 20, 12
TAILS = (0.5, 0.1, 0.01, 1e-4, 1e-7)
"""Ends of the panels of sizes, as probabilities of larger ones."""
MULTIPLES = 12
"""Panels of sizes end at t/n for n below this, where point masses pass t."""
THINNEST = 1e-10
NARROW = 0.02
"""Components of smaller scv need no panels but one: what is smooth in the size hardly changes over them."""
PRECISION = 1e-7
FLUID = 300.0
"""Requests of the length of so many mean times between arrivals take x / (1 - rho), their limit."""
COARSE = 1e-4
"""Error of the double inversion and the sum over sizes, as measured on laws known otherwise."""


@dataclass(frozen=True)
class SharingLaw:
    """Response of a request of size law `own` where all requests together have `rate` and `size`."""

    own: Distribution
    rate: float
    size: Distribution

    error = COARSE

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= 0:
            return 0.0
        x, weights = self._sizes_upto(t, fine=True)
        first, ratio = self._point_masses(x)
        exact = first * (1.0 - ratio ** np.floor(t / x * (1 + 1e-12))) / (1.0 - ratio)
        met = weights @ exact
        x, weights = self._sizes_upto(t, fine=False)
        first, ratio = self._point_masses(x)
        return float(met + weights @ np.clip(self.rest(x, t - x), 0.0, 1.0 - first / (1.0 - ratio)))

    def together(self, shares: Sequence[float], laws: Sequence[Law]) -> Law | None:
        """The law of a request of any of these classes, if all are of one queue."""
        known = [law for law in laws if isinstance(law, SharingLaw)]
        if len(known) < len(laws) or {(law.rate, law.size) for law in known} != {(self.rate, self.size)}:
            return None
        return SharingLaw(blended(shares, [law.own for law in known]), self.rate, self.size)

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        start = self.own.mean / (1.0 - self._load)
        return interpolated(self.cdf, percent / 100.0, self._seen, start, still=PRECISION, tolerance=PRECISION)

    @cached_property
    def _seen(self) -> dict[float, float]:
        """Probabilities computed so far for percentiles."""
        return {}

    @cached_property
    def _load(self) -> float:
        return self.rate * self.size.mean

    def _sizes_upto(self, t: float, fine: bool) -> tuple[Floats, Floats]:
        """Sizes up to t and their weights: Gauss nodes in probability, component by component."""
        found = [
            _component_upto(part, share, t, fine or part.scv > NARROW)
            for share, part in weighted_components(self.own)
        ]
        x, weights = (np.concatenate([part[i] for part in found]) for i in (0, 1))
        return x, weights

    def _point_masses(self, x: Floats) -> tuple[Floats, Floats]:
        """Mass at x, and the ratio of the masses at successive multiples of it."""
        alone = np.exp(-self.rate * x)
        residual = 1.0 - limited_moment(self.size, 1, x) / self.size.mean
        return (1.0 - self._load) * alone, self._load * residual * alone

    def rest(self, x: Floats, u: Floats) -> Floats:
        """P(V(x) - x <= u) without the point masses, elementwise."""
        out = np.zeros_like(x)
        out[x * self.rate > FLUID] = (u >= self._load * (x + u))[x * self.rate > FLUID]
        late = (u > 1e-9 * x) & (x * self.rate <= FLUID)
        x, u = x[late], u[late]
        if not len(x):
            return out
        steps = DAMPING / 2.0 + 1j * np.pi * np.arange(TERMS + AVERAGED)
        s = np.asarray(steps / u[:, None], dtype=complex)
        first, ratio = self._point_masses(x)
        known = first[:, None] / (1.0 - ratio[:, None] * np.exp(-s * x[:, None]))
        values = (self._excess_transform(s, x) - known) / s
        out[late] = np.exp(DAMPING / 2.0) / u * _euler(values.real)
        return out

    def _excess_transform(self, s: Complex, x: Floats) -> Complex:
        """E[exp(-s (V(x) - x))], one row a size.

        With w = q - lambda (1 - S~(q)) and c = s/(s + lambda), D = 1 - rho + s x + s^2 g(s, x) is exactly

            c^2 exp((s + lambda) x) + 1 - rho - c^2 + lambda c x - s^2 lambda f(s, x),

        where f has the transform S~(q) / (q^2 (w - s) (q - s - lambda)), inverted in p = q - s.
        """
        rate, at = self.rate, x[:, None]
        shift = np.maximum((prolonged(s, rate, self.size) - s).real.max(axis=1), rate)
        n = np.arange(-(TERMS + AVERAGED - 1), TERMS + AVERAGED)
        p = (shift[:, None] + (DAMPING / 2.0 + 1j * np.pi * n) / at)[:, None, :]
        q = s[:, :, None] + p
        given = self.size.lst(q)
        terms = given / (q * q * (p - rate * (1.0 - given)) * (p - rate))
        middle = TERMS + AVERAGED - 1
        total = _euler(terms[..., middle:]) + _euler(terms[..., middle::-1])
        f = np.exp(DAMPING / 2.0 + shift * x)[:, None] / (2.0 * at) * total
        c = s / (s + rate)
        plain = c * c * np.exp(rate * at) + (1.0 - self._load - c * c + rate * c * at) * np.exp(-s * at)
        return (1.0 - self._load) / (plain - s * s * rate * f)


def _component_upto(law: Distribution, share: float, t: float, fine: bool) -> tuple[Floats, Floats]:
    """Nodes of one component; if fine, in panels that end at TAILS and where point masses pass t: t/2, t/3, ..."""
    atoms = np.array([atom for atom in law.atoms() if atom[0] <= t * (1 + 1e-12)]).reshape(-1, 2)
    if law.atoms():
        return atoms[:, 0], share * atoms[:, 1]
    left = float(law.sf(t))
    if left > 1.0 - TAILS[-1]:
        return np.empty(0), np.empty(0)
    ends = {*TAILS, *(float(law.sf(t / n)) for n in range(2, MULTIPLES))} if fine else set()
    tails = np.array([1.0, *sorted((tail for tail in ends if left < tail < 1), reverse=True), max(left, TAILS[-1])])
    width = tails[:-1] - tails[1:]
    held = width > THINNEST
    tails, width = tails[:-1][held], width[held]
    places = (tails[:, None] - width[:, None] * _NODES).reshape(-1)
    return np.minimum(law.upper_quantile(places), t), share * (width[:, None] * _WEIGHTS).reshape(-1)


def _euler(values: NDArray) -> NDArray:
    """Sum of (-1)^k values_k over the last axis, the first halved; Euler's average of the last partial sums."""
    signs = (-1.0) ** np.arange(values.shape[-1])
    signs[0] = 0.5
    partial = np.cumsum(values * signs, axis=-1)[..., -(AVERAGED + 1) :]
    binomial = np.array([math.comb(AVERAGED, k) for k in range(AVERAGED + 1)]) / 2.0**AVERAGED
    return np.asarray(partial @ binomial)


_NODES, _WEIGHTS = (
    0.5 * (part + shift) for part, shift in zip(np.polynomial.legendre.leggauss(6), (1.0, 0.0), strict=True)
)
