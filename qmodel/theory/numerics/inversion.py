"""Laws from their Laplace-Stieltjes transforms: numerical inversion by Fourier series, with an error estimate.

A law is split into what is known in the time domain (point masses, or a part with a closed distribution
function) and the rest, whose transform f is inverted. With damping a = A/(2T), for 0 < t <= T,

    F(t) = exp(at)/T * [ f(a)/(2a) + sum_{k>=1} Re( f(s_k)/s_k * exp(i k pi t/T) ) ] - f(0) exp(-A),

with s_k = a + i k pi/T, up to an aliasing error below f(0) exp(-A) (Dubner & Abate 1968; Abate & Whitt,
*Queueing Systems* 10 (1992) 5-88). The sum is cut at n terms with a smooth taper, and n doubled until the
value stands still.

Where f is known as a function of theta, s = s(theta), and not of s, the same sum is taken along points theta_k in
place of the s_k: exp(st) f/s ds = exp(s(theta) t) f ds/dtheta / s dtheta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from qmodel.theory.numerics.euler import taper
from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.numerics.roots import interpolated

if TYPE_CHECKING:
    from numpy.typing import NDArray

Transform = Callable[["NDArray[Any]"], "NDArray[Any]"]
Path = Callable[["NDArray[Any]"], "tuple[NDArray[Any], NDArray[Any]]"]
"""Of points theta: s(theta), and f ds/dtheta / s."""
Found = TypeVar("Found")

DAMPING = 25.0
"""A above: the aliasing error is below exp(-25) = 1.4e-11."""
STILL, STILL_ENOUGH = 2e-8, 1e-6
"""Change of a probability on doubling the number of terms below which it stands: up to MANY_TERMS, and beyond."""
MANY_TERMS = 4096
TURN, STEEP = 0.65, 4.5
"""Where the taper is at 1/2, as a share of the terms, and its slope: at the last term it is 1e-10."""
NEAR = 1e-6
"""Distance of log P(T > t) from its goal that one more step of interpolation is to remove."""
EARLIEST = 1e-120
"""Times below this, in horizons, count as 0."""
FIRST_TERMS, MOST_TERMS = 256, 2**15


def shared(function: Callable[[NDArray[Any]], Found]) -> Callable[[NDArray[Any]], Found]:
    """The transform or path, which keeps its values: for the laws of several classes, inverted with one `horizon`.

    >>> calls = []
    >>> once = shared(lambda s: calls.append(s) or s)
    >>> bool((once(np.ones(3)) == once(np.ones(3))).all()), len(calls)
    (True, 1)
    """
    kept: dict[bytes, Found] = {}

    def wrapper(s: NDArray[Any]) -> Found:
        key = s.tobytes()
        if key not in kept:
            kept[key] = function(s)
        return kept[key]

    return wrapper


def straight(transform: Transform) -> Path:
    """theta = s itself."""
    return lambda s: (s, transform(s) / s)


class Law(Protocol):
    """The law of a response time as the answers need it."""

    def cdf(self, t: float) -> float:
        """P(T <= t)."""

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""


@dataclass
class _Series:
    """The Fourier series of one horizon T, good for times up to T."""

    path: Path
    horizon: float
    mass: float
    most_terms: int
    still: float
    exponents: NDArray[np.complex128] = field(default_factory=lambda: np.empty(0, dtype=complex))
    coefficients: NDArray[np.complex128] = field(default_factory=lambda: np.empty(0, dtype=complex))

    @property
    def _damping(self) -> float:
        return DAMPING / (2.0 * self.horizon)

    def _extend(self, terms: int) -> None:
        k = np.arange(len(self.coefficients), terms)
        s, coefficients = self.path(self._damping + 1j * (np.pi / self.horizon) * k)
        self.exponents = np.concatenate((self.exponents, s))
        self.coefficients = np.concatenate((self.coefficients, coefficients))

    def _sums(self, t: float) -> tuple[float, float]:
        """The tapered sum with all terms and with the first half of them."""
        n = len(self.coefficients)
        terms = (self.coefficients * exponential(self.exponents * t)).real
        terms[0] *= 0.5
        whole, half = _taper(n) @ terms, _taper(n // 2) @ terms[: n // 2]
        alias = self.mass * math.exp(-DAMPING)
        return float(whole / self.horizon - alias), float(half / self.horizon - alias)

    def value(self, t: float) -> tuple[float, float]:
        """Mass up to t, and how much it moved with the last doubling."""
        if not len(self.coefficients):
            self._extend(FIRST_TERMS)
        while True:
            whole, half = self._sums(t)
            change = abs(whole - half)
            terms = len(self.coefficients)
            if change < (self.still if terms < MANY_TERMS else STILL_ENOUGH) or terms >= self.most_terms:
                return whole, change
            self._extend(2 * terms)


@lru_cache
def _taper(n: int) -> NDArray[np.float64]:
    return taper(n, TURN, STEEP)


class InvertedLaw:
    """P(T <= t) = known(t) + the mass up to t of the law with transform `rest` and total `mass`.

    `rest` must have no point masses: they belong in `known`. `scale` (s) is a typical time, e.g. the mean; the
    horizons of the series are `horizon` (s, else `scale`) times powers of 4.
    `most_terms` bounds the work where the law bends sharply and convergence is slow; `still` is the change of a
    probability on doubling below which it stands.

    >>> unit = InvertedLaw(lambda s: 1 / (1 + s), 1.0, lambda t: 0.0, scale=1.0)
    >>> round(unit.percentile(95), 6) == round(math.log(20), 6)
    True
    """

    def __init__(
        self,
        rest: Transform,
        mass: float,
        known: Callable[[float], float],
        scale: float,
        most_terms: int = MOST_TERMS,
        horizon: float | None = None,
        still: float = STILL,
    ) -> None:
        self._path, self._mass, self._known, self._scale = straight(rest), mass, known, scale
        self._most_terms, self._still, self._horizon = most_terms, still, horizon or scale
        self._series: dict[int, _Series] = {}
        self._error = 0.0
        self._jumps: Sequence[float] | NDArray[np.float64] = ()
        self._seen: dict[float, float] = {}
        self._found: dict[float, float] = {}

    @classmethod
    def along(
        cls,
        path: Path,
        mass: float,
        known: Callable[[float], float],
        scale: float,
        horizon: float,
        still: float = STILL,
        jumps: Sequence[float] | NDArray[np.float64] = (),
    ) -> InvertedLaw:
        """As from the transform f, known along a path of theta; `jumps`: where `known` jumps, in order."""
        law = cls(lambda s: s, mass, known, scale, horizon=horizon, still=still)
        law._path, law._jumps = path, jumps
        return law

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return self._error + self._mass * math.exp(-DAMPING)

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= EARLIEST * self._horizon or self._mass == 0:
            return float(self._known(t))
        window = math.ceil(math.log(t / self._horizon, 4))
        if window not in self._series:
            horizon = self._horizon * 4.0**window
            self._series[window] = _Series(self._path, horizon, self._mass, self._most_terms, self._still)
        value, change = self._series[window].value(t)
        self._error = max(self._error, change)
        return float(self._known(t)) + min(max(value, 0.0), self._mass)

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        if percent / 100.0 <= self._known(0.0):
            return 0.0
        if percent not in self._found:
            search = (self.cdf, percent / 100.0, self._seen, self._scale, self._jumps, NEAR)
            self._found[percent] = interpolated(*search)
        return self._found[percent]


class BlendedLaw:
    """The law of a request of any class: the classes' laws in their shares."""

    def __init__(self, shares: Sequence[float], laws: Sequence[Law], scale: float) -> None:
        self._shares, self._laws, self._scale = shares, laws, scale
        self._seen: dict[float, float] = {}

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return max(law.error for law in self._laws)

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        return math.fsum(share * law.cdf(t) for share, law in zip(self._shares, self._laws, strict=True))

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        level = percent / 100.0
        if level <= self.cdf(0.0):
            return 0.0
        for t in {law.percentile(percent) for law in self._laws}:
            self._seen[t] = self.cdf(t)
        return interpolated(self.cdf, level, self._seen, self._scale, still=NEAR)
