"""Means of batches of a correlated series, and what is left in them of its correlation and skewness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from qmodel.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

BATCHES = 20
FINE_BATCHES_PER_BATCH = 32
LONG = 100_000
"""Series from here on are gone through in parts that a processor holds in its cache."""
# A series is too short where the correlation that its batch means have left, and their skewness, say so together:
# r (1 + |g|) above this, with r the lag-1 correlation of the means of 1/16 of a batch, and g the skewness of those
# of 1/8. Both fall as the series gets longer. Measured on 1,000 runs each of M/M/1 and M/H2/1, in several orders at
# loads 0.5 to 0.95 (benchmarks/interval_coverage.py): where less than 93 % of the 95 % intervals cover the mean,
# more than half the runs exceed it; from some ten times the length at which 94 % cover, one run in fifty.
STRAIN_LET_PASS = 0.6
CORRELATED_PER_BATCH, SKEWED_PER_BATCH = STRAINED_PER_BATCH = (16, 8)


def batch_averages(values: ArrayLike, batches: int) -> Floats:
    """Means of `batches` successive stretches of the series, of equal length up to one value."""
    series = np.asarray(values, dtype=float)
    edges = np.arange(batches + 1) * series.size // batches
    return np.add.reduceat(series, edges[:-1]) / np.diff(edges)


def in_batches(
    series: Floats | NDArray[np.bool_], batches: int, summed: Callable[..., Floats] = np.add.reduceat
) -> tuple[float, Floats, float, bool]:
    """Mean of at least two values, means of batches, their lag-1 correlation, and whether the series is too short.

    One pass if it is long (else the correlation is not told from noise, and 0). The edges of long batches are edges
    of the fine ones too, so that sums of fine ones are theirs. `summed` gives the sums from each edge to the next.
    """
    fine = FINE_BATCHES_PER_BATCH * batches
    if series.size < fine:
        values = summed(checked_series(series), np.arange(series.size))
        return float(values.mean()), batch_averages(values, batches), 0.0, too_short(values, batches)
    edges = np.arange(fine + 1) * series.size // fine
    sums = summed(series, edges[:-1])
    total = float(sums.sum())
    if not math.isfinite(total):
        checked_series(series)

    def together(each: int) -> Floats:
        return sums.reshape(fine // each, each).sum(axis=1) / np.diff(edges[::each])

    correlation = _lag1(together(1)) / FINE_BATCHES_PER_BATCH
    short = _strained((together(FINE_BATCHES_PER_BATCH // each) for each in STRAINED_PER_BATCH), batches)
    return total / series.size, together(FINE_BATCHES_PER_BATCH), correlation, short


def counted(happened: NDArray[np.bool_], edges: NDArray[np.int64]) -> Floats:
    """How often True stands from each edge to the next."""
    if happened.size < LONG:
        return np.add.reduceat(happened.astype(float), edges)
    ends = np.append(edges[1:], happened.size)
    counts = [np.count_nonzero(happened[a:b]) for a, b in zip(edges.tolist(), ends.tolist(), strict=True)]
    return np.array(counts, dtype=float)


def squares(mean: float) -> Callable[[Floats, NDArray[np.int64]], Floats]:
    """Sums, from each edge to the next, of squared distances from `mean`; no array of many of them is made."""

    def summed(series: Floats, edges: NDArray[np.int64]) -> Floats:
        if series.size < LONG:
            return np.add.reduceat(np.square(series - mean), edges)
        ends = np.append(edges[1:], series.size)
        parts = (series[a:b] - mean for a, b in zip(edges.tolist(), ends.tolist(), strict=True))
        return np.array([float(np.square(part, out=part).sum()) for part in parts])

    return summed


def too_short(series: Floats, batches: int) -> bool:
    """Whether batches of this length are too few values, or their means too correlated and skewed."""
    if series.size < 2 * batches:
        return True
    counts = (min(each * batches, series.size) for each in STRAINED_PER_BATCH)
    return _strained((batch_averages(series, count) for count in counts), batches)


def _strained(shorter: Iterable[Floats], batches: int) -> bool:
    """The same from means of shorter batches: those whose correlation is taken, and those whose skewness is.

    Once batches are well above the correlation time, the lag-1 correlation of their means falls in inverse
    proportion to their length, and the skewness to the root of it: thus figures of other lengths are carried over.
    """
    if batches < BATCHES // 2:
        return True
    correlated, skewed = shorter
    correlation = _lag1(correlated)
    if correlation <= float(ndtri(0.95)) / math.sqrt(correlated.size):  # not told from noise
        return False
    correlation *= CORRELATED_PER_BATCH * batches / correlated.size
    skewness = abs(skewness_of(skewed)) * math.sqrt(SKEWED_PER_BATCH * batches / skewed.size)
    return correlation * (1.0 + skewness) > STRAIN_LET_PASS


def _lag1(values: Floats) -> float:
    centred = values - values.mean()
    square = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / square if square > 0 else 0.0


def skewness_of(values: Floats) -> float:
    """Of at least three values; 0 if they are all the same."""
    n, centred = values.size, values - values.mean()
    square = float(centred @ centred) / (n - 1)
    return float(centred @ centred**2) * n / ((n - 1) * (n - 2)) / square**1.5 if square > 0 else 0.0


def checked_series(values: ArrayLike) -> Floats:
    """As numbers in a row. Raises InputError for those that are not finite."""
    series = np.asarray(values, dtype=float).reshape(-1)
    if not math.isfinite(float(series.sum())) and not np.isfinite(series).all():  # the sum is the quicker look
        raise InputError("series", "holds a value that is not finite", "leave it out and say so")
    return series
