"""Laws whose probabilities are sums of terms, doubled until they stand; percentiles by few evaluations.

A percentile is first found with few terms, from the values at all times that any law of the queue asked for; its
value with twice the terms tells the error, and corrects the percentile.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from qmodel.theory.numerics.roots import interpolated
from qmodel.workload import Distribution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_TERMS = 20
STILL, STILL_TAIL = 2e-5, 0.01
"""Change of a probability on doubling the number of terms below which it stands; at most this share of P(T > t)."""
NEAR = 1e-4
"""Distance of log P(T > t) from its goal that one more step of interpolation is to remove."""


class DoublingLaw(ABC):
    """A law whose probabilities are sums of terms, doubled until they stand."""

    def __init__(self, own: Sequence[tuple[float, Distribution]], load: float, most_terms: int) -> None:
        self.own, self._load, self._most_terms = own, load, most_terms
        self._terms, self._error = FIRST_TERMS, 0.0
        self._seen: dict[float, float] = {}

    @abstractmethod
    def _value(self, t: float, terms: int) -> float:
        """P(T <= t) with so many terms."""

    @abstractmethod
    def _jumps(self) -> Floats:
        """Times at which the law may jump."""

    @property
    def error(self) -> float:
        """Largest estimated error of the probabilities computed so far."""
        return self._error

    def _known_times(self) -> list[float]:
        """Times at which what other laws of the queue asked for is this law's too."""
        return []

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        if t <= 0:
            return 0.0
        fine, stands = self._checked(t, self._value(t, self._terms))
        while not stands:
            self._terms *= 2
            fine, stands = self._checked(t, fine)
        return fine

    def _checked(self, t: float, coarse: float) -> tuple[float, bool]:
        """P(T <= t) with twice the terms, and whether it stands or the terms end here."""
        fine = self._value(t, 2 * self._terms)
        change = abs(fine - coarse)
        enough = min(STILL, STILL_TAIL * (1.0 - fine)) if fine < 1.0 else STILL
        stands = change < enough or 2 * self._terms >= self._most_terms
        if stands:
            self._error = max(self._error, change)
        return fine, stands

    def percentile(self, percent: float) -> float:
        """Smallest t with P(T <= t) >= percent/100."""
        level = percent / 100.0
        while True:
            self._seen |= {t: self._value(t, self._terms) for t in self._known_times() if t not in self._seen}
            t = self._reaching(level)
            near = min(self._seen, key=lambda known: abs(known - t))
            fine, stands = self._checked(near, self._seen[near])
            if stands:
                moved = level - (fine - self._seen[near])
                return self._reaching(moved if 0.0 < moved < 1.0 else level)
            self._terms *= 2
            self._seen.clear()

    def _reaching(self, level: float) -> float:
        """Smallest t with P(T <= t) >= level, with the present number of terms."""
        return interpolated(
            lambda t: self._value(t, self._terms), level, self._seen, self._start, self._jumps(), NEAR
        )

    @cached_property
    def _start(self) -> float:
        """A time of the order of the law's."""
        mean = math.fsum(share * law.mean for share, law in self.own)
        return mean / (1.0 - self._load) ** 0.5
