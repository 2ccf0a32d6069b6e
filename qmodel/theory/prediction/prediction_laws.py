"""Which joint law of size and prediction a class has, where predictions are a continuum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import landmarks, weighted_components
from qmodel.theory.prediction.prediction_copula import Correlated
from qmodel.theory.prediction.prediction_errors import Predicted, predicted
from qmodel.theory.prediction.prediction_table import tabled
from qmodel.workload import Distribution, Exponential, Lognormal, PredictedSize
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST = 10
"""Predictions below the 10^-SMALLEST quantiles are in the first panel."""
FACTORS = ("exponential", "lognormal")
REMEMBERED = 128
"""Laws whose ends of panels are kept."""


def predictors(served: ServedClass, limit: float = math.inf) -> Iterator[tuple[float, Predicted]]:
    """Parts of the class: probability, and joint law of size and prediction; `limit` is TRAIL's C."""
    guess = served.predicted_size
    if guess.error == "correlated" and guess.correlation < 1.0:
        r = guess.normal_correlation
        yield 1.0, tabled(served.size, lambda size: Correlated(size, r, _ends_of(size, limit)))
        return
    for share, size in weighted_components(served.size):
        if guess.error in FACTORS:
            error = error_law(guess)
            yield share, tabled(size, partial(_with_factor, error))
        else:
            yield share, Exact(size, _ends_of(size, limit))


def _with_factor(error: Distribution, size: Distribution) -> Predicted:
    return predicted(size, error, _product_ends(size, error))


def is_smooth(served: ServedClass) -> bool:
    """Whether predictions of this class are a continuum: error factors, or a law of size without point masses."""
    error = served.predicted_size.error
    return error in FACTORS or (error in ("exact", "correlated") and not served.size.atoms())


def error_law(prediction: PredictedSize) -> Distribution:
    """Law of the factor between predicted and true size."""
    return Exponential(1.0) if prediction.error == "exponential" else Lognormal(1.0, prediction.scv)


@dataclass(frozen=True)
class Exact(Predicted):
    """Y = S, of a law without point masses, for company with other predictions and for TRAIL."""

    size: Distribution
    marks: frozenset[float] = frozenset()

    def ends(self) -> frozenset[float]:
        return self.marks

    def upto(self, k: int, y: Floats) -> Floats:
        return partial_moment(self.size, k, y)

    def density(self, k: int, y: Floats) -> Floats:
        return np.asarray(y**k * self.size.pdf(y))

    def kept(self, y: Floats, limit: float) -> Floats:
        if limit >= 1:
            return np.asarray(y**2 * self.size.sf(y))
        turn = y / (1.0 - limit)
        later = self.size.moment(2) - partial_moment(self.size, 2, turn)
        return np.asarray(y**2 * (self.size.sf(y) - self.size.sf(turn)) + (1.0 - limit) ** 2 * later)

    def passing(self, y: Floats, limit: float) -> Floats:
        beyond = np.zeros_like(y) if limit >= 1 else self.size.sf(y / (1.0 - limit))
        return np.asarray(self.size.sf(y) - beyond)

    def beyond(self, limit: float) -> float:
        return max(1.0 - limit, 0.0) * self.size.mean


@lru_cache(maxsize=REMEMBERED)
def _ends_of(size: Distribution, limit: float = math.inf) -> frozenset[float]:
    """Quantiles; and predictions y with an end of the support at y / (1 - limit), where TRAIL's sums bend."""
    found: set[float] = set()
    for _, part in weighted_components(size):
        found |= set(landmarks(part, SMALLEST))
        found |= {end * (1.0 - limit) for end in part.support() if limit < 1.0}
    return frozenset(float(mark) for mark in found if 0 < mark < math.inf)


@lru_cache(maxsize=REMEMBERED)
def _product_ends(size: Distribution, error: Distribution) -> frozenset[float]:
    """Products of like quantiles of size and error."""
    marks = [sorted(m for m in landmarks(law, SMALLEST) if 0 < m < math.inf) for law in (size, error)]
    medians = [float(law.quantile(0.5)) for law in (size, error)]
    ends = {medians[0] * medians[1]}
    for law, other in ((0, 1), (1, 0)):
        ends |= {float(mark * medians[other]) for mark in marks[law]}
    return frozenset(ends | {marks[0][0] * marks[1][0], marks[0][-1] * marks[1][-1]})
