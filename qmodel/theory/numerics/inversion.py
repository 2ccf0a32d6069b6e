"""Laws from their Laplace-Stieltjes transforms: numerical inversion by Fourier series, with an error estimate.

A law is split into what is known in the time domain (point masses, or a part with a closed distribution
function) and the rest, whose transform f is inverted. With damping a = A/(2T), for 0 < t <= T,

    F(t) = exp(at)/T * [ f(a)/(2a) + sum_{k>=1} Re( f(s_k)/s_k * exp(i k pi t/T) ) ] - f(0) exp(-A),

with s_k = a + i k pi/T, up to an aliasing error below f(0) exp(-A) (Dubner & Abate 1968; Abate & Whitt,
*Queueing Systems* 10 (1992) 5-88). The sum is cut at n terms with a smooth taper over its second half, and n
doubled until the value stands still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qmodel.theory.numerics.roots import first_reaching

if TYPE_CHECKING:
    from numpy.typing import NDArray

Transform = Callable[["NDArray[Any]"], "NDArray[Any]"]

DAMPING = 25.0
"""A above: the aliasing error is below exp(-25) = 1.4e-11."""
STILL, STILL_ENOUGH = 2e-8, 1e-6
"""Change of a probability on doubling the number of terms below which it stands: up to MANY_TERMS, and beyond."""
MANY_TERMS = 4096
FIRST_TERMS, MOST_TERMS = 256, 2**15


def shared(transform: Transform) -> Transform:
    """The transform, which keeps its values: for the laws of several classes, inverted with one `horizon`.

    >>> calls = []
    >>> once = shared(lambda s: calls.append(s) or s)
    >>> bool((once(np.ones(3)) == once(np.ones(3))).all()), len(calls)
    (True, 1)
    """
    kept: dict[bytes, NDArray[Any]] = {}

    def wrapper(s: NDArray[Any]) -> NDArray[Any]:
        key = s.tobytes()
        if key not in kept:
            kept[key] = transform(s)
        return kept[key]

    return wrapper


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

    transform: Transform
    horizon: float
    mass: float
    most_terms: int
    coefficients: NDArray[np.complex128] = field(default_factory=lambda: np.empty(0, dtype=complex))

    @property
    def _damping(self) -> float:
        return DAMPING / (2.0 * self.horizon)

    def _extend(self, terms: int) -> None:
        k = np.arange(len(self.coefficients), terms)
        s = self._damping + 1j * (np.pi / self.horizon) * k
        self.coefficients = np.concatenate((self.coefficients, self.transform(s) / s))

    def _sums(self, t: float) -> tuple[float, float]:
        """The tapered sum with all terms and with the first half of them."""
        n = len(self.coefficients)
        turning = np.exp(1j * (np.pi * t / self.horizon) * np.arange(n))
        terms = (self.coefficients * turning).real
        terms[0] *= 0.5
        whole, half = _taper(n) @ terms, _taper(n // 2) @ terms[: n // 2]
        scale = math.exp(self._damping * t) / self.horizon
        alias = self.mass * math.exp(-DAMPING)
        return float(scale * whole - alias), float(scale * half - alias)

    def value(self, t: float) -> tuple[float, float]:
        """Mass up to t, and how much it moved with the last doubling."""
        if not len(self.coefficients):
            self._extend(FIRST_TERMS)
        while True:
            whole, half = self._sums(t)
            change = abs(whole - half)
            terms = len(self.coefficients)
            if change < (STILL if terms < MANY_TERMS else STILL_ENOUGH) or terms >= self.most_terms:
                return whole, change
            self._extend(2 * terms)


def _taper(n: int) -> NDArray[np.float64]:
    """1 over the first half of the terms, then half a cosine wave down to 0."""
    x = np.arange(n) / n
    return np.where(x < 0.5, 1.0, 0.5 + 0.5 * np.cos(2.0 * np.pi * np.maximum(x - 0.5, 0.0)))


class InvertedLaw:
    """P(T <= t) = known(t) + the mass up to t of the law with transform `rest` and total `mass`.

    `rest` must have no point masses: they belong in `known`. `scale` (s) is a typical time, e.g. the mean; the
    horizons of the series are `horizon` (s, else `scale`) times powers of 4.
    `most_terms` bounds the work where the law bends sharply and convergence is slow.

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
    ) -> None:
        self._rest, self._mass, self._known, self._scale = rest, mass, known, scale
        self._most_terms, self._horizon = most_terms, horizon or scale
        self._series: dict[int, _Series] = {}
        self._error = 0.0

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return self._error + self._mass * math.exp(-DAMPING)

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= 0 or self._mass == 0:
            return float(self._known(t))
        window = max(-20, math.ceil(math.log(t / self._horizon, 4)))
        if window not in self._series:
            self._series[window] = _Series(self._rest, self._horizon * 4.0**window, self._mass, self._most_terms)
        value, change = self._series[window].value(t)
        self._error = max(self._error, change)
        return float(self._known(t)) + min(max(value, 0.0), self._mass)

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        return first_reaching(self.cdf, percent / 100.0, self._scale)


class BlendedLaw:
    """The law of a request of any class: the classes' laws in their shares."""

    def __init__(self, shares: Sequence[float], laws: Sequence[Law], scale: float) -> None:
        self._shares, self._laws, self._scale = shares, laws, scale

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return max(law.error for law in self._laws)

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        return math.fsum(share * law.cdf(t) for share, law in zip(self._shares, self._laws, strict=True))

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        return first_reaching(self.cdf, percent / 100.0, self._scale)
