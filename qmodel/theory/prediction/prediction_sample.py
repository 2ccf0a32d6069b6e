"""What may be predicted for a request of a known size: a few values with their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.prediction.prediction_laws import error_law
from qmodel.theory.prediction.prediction_levels import guesses_of, is_atomic
from qmodel.theory.rank.sample import sample_of
from qmodel.workload.predicted_size import nearest_of

ERROR_CELLS = 16
ERROR_TAIL = (0.4, 1e-7)
"""Cells of a prediction's error, and of its tail: see `sample_of`."""

Guesses = list[tuple[float, float, bool]]
"""(probability, predicted value, whether it stands for a range)."""


def guesser(served: ServedClass, predicts: bool, part: float) -> Callable[[float], Guesses]:
    """Guesses by size for this class; `part` is the share of the cells to take."""
    guess = served.predicted_size
    if guess.error == "one-bit":
        return _one_bit(served)
    if guess.error == "file":
        return _measured(served)
    if not predicts or guess.error in ("exact", "none") or guess.correlation == 1.0:
        return lambda size: [(1.0, size, False)]
    if guess.error == "correlated" and is_atomic(served.size):
        return _among_few(served)
    if guess.error == "correlated":
        return _correlated(served, round(2 * part * ERROR_CELLS))
    error = error_law(guess)
    sample = sample_of(error, round(part * ERROR_CELLS), ERROR_TAIL)
    factors = [(p, x) for p, x in zip(sample.masses(error), sample.sizes, strict=True) if p > 0]
    return lambda size: [(p, x * size, True) for p, x in factors]


def _one_bit(served: ServedClass) -> Callable[[float], Guesses]:
    guess = served.predicted_size
    (short, _), (long, _) = guess.guesses(served.size)

    def guesses(size: float) -> Guesses:
        right, wrong = (short, long) if size <= guess.threshold else (long, short)
        found = [(guess.accuracy, right, False), (1.0 - guess.accuracy, wrong, False)]
        return [each for each in found if each[0] > 0]

    return guesses


def _measured(served: ServedClass) -> Callable[[float], Guesses]:
    values, groups = served.predicted_size.measured()

    def guesses(size: float) -> Guesses:
        found, counts = np.unique(groups[int(nearest_of(values, [size])[0])], return_counts=True)
        return [(float(n) / float(counts.sum()), float(y), False) for y, n in zip(found, counts, strict=True)]

    return guesses


def _among_few(served: ServedClass) -> Callable[[float], Guesses]:
    """Point masses: the joint law of size and prediction, read by size."""
    joint = [(each.y, each.share, dict(each.law.atoms())) for each in guesses_of(served)]

    def guesses(size: float) -> Guesses:
        masses = [(share * given.get(size, 0.0), y) for y, share, given in joint]
        total = math.fsum(p for p, _ in masses)
        return [(p / total, y, False) for p, y in masses if p > 0]

    return guesses


def _correlated(served: ServedClass, count: int) -> Callable[[float], Guesses]:
    """Equally likely cells of the copula's noise, each at its median."""
    from scipy.special import ndtr, ndtri

    law, r = served.size, served.predicted_size.normal_correlation
    noise = ndtri((np.arange(count) + 0.5) / count)

    def guesses(size: float) -> Guesses:
        below, beyond = float(law.cdf(size)), float(law.sf(size))
        score = ndtri(below) if below < 0.5 else -ndtri(beyond)
        scores = r * score + math.sqrt(1.0 - r * r) * noise
        lower, upper = law.quantile(ndtr(np.minimum(scores, 0))), law.upper_quantile(ndtr(-np.maximum(scores, 0)))
        return [(1.0 / count, float(y), True) for y in np.where(scores < 0, lower, upper)]

    return guesses
