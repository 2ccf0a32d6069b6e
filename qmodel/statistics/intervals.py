"""Output analysis: intervals for means, percentiles and shares of series whose values depend on one another.

Response times of successive requests are correlated, so an interval that takes them as independent is far too
narrow. Batch means are used instead: the series is cut into a few long batches, whose means are nearly
independent (Law, *Simulation Modeling and Analysis*, 5th ed. 2015, section 9.5.3). What is left of their
correlation widens the interval, and their skewness, which response times have much of, moves it towards the long
tail (both after Tafazzoli & Wilson, *IIE Trans.* 43 (2011) 110-128).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, ndtri, stdtrit

from qmodel.errors import InputError
from qmodel.statistics.batch_means import (
    BATCHES,
    batch_averages,
    checked_series,
    counted,
    in_batches,
    skewness_of,
    squares,
    too_short,
)
from qmodel.statistics.order_statistics import InOrder
from qmodel.statistics.warm_up import mser5

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "BATCHES", "CONFIDENCE", "Interval", "batch_averages", "batch_deviation", "batch_means", "batch_quantile",
    "batch_share", "improvement", "median_interval", "mser5", "wilson",
]  # fmt: skip
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; an end is infinite where the data cannot bound it.

    `short` says that the series is too short for the interval to cover as often as it claims.

    >>> Interval(2.0, 1.5, 2.5).half_width, 1.7 in Interval(2.0, 1.5, 2.5)
    (0.5, True)
    """

    value: float
    low: float
    high: float
    short: bool = False

    @property
    def half_width(self) -> float:
        """Half the distance of the ends."""
        return 0.5 * (self.high - self.low)

    @property
    def relative(self) -> float:
        """Half width over the absolute value; infinite at 0."""
        return self.half_width / abs(self.value) if self.value else math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def batch_means(values: ArrayLike, batches: int = BATCHES, confidence: float = CONFIDENCE) -> Interval:
    """Mean of a stationary, correlated series, with a t interval over `batches` batch means.

    From ten batches on the interval follows their skewness, so it is not quite symmetric. `short` is set when the
    batch means are still correlated and skewed (judged on shorter batches, whose correlation and skewness can be
    told apart from noise), or when there are fewer than two values a batch. A single value has infinite ends, none
    gives NaN.
    Raises InputError for values that are not finite.

    >>> batch_means([1.0, 2.0, 3.0, 4.0], batches=2)
    Interval(value=2.5, low=-10.206204736174694, high=15.206204736174694, short=True)
    """
    series = np.asarray(values, dtype=float).reshape(-1)
    if series.size < 2:
        return _unbounded(checked_series(series))
    batches = min(batches, max(2, series.size // 2))
    return _interval(*in_batches(series, batches), confidence)


def batch_deviation(values: ArrayLike, batches: int = BATCHES, confidence: float = CONFIDENCE) -> Interval:
    """Standard deviation of a stationary, correlated series (divisor n), with its interval.

    The interval is that of the mean squared distance from the series' mean, by batch means; the mean's own error
    is of smaller order.

    >>> round(batch_deviation([1.0, 3.0] * 50).value, 12)
    1.0
    """
    series = np.asarray(values, dtype=float).reshape(-1)
    if series.size < 2:
        return Interval(math.nan, math.nan, math.nan, short=True)
    batches = min(batches, max(2, series.size // 2))
    square = _interval(*in_batches(series, batches, squares(float(series.mean()))), confidence)
    low, high = (math.sqrt(max(end, 0.0)) for end in (square.low, square.high))
    return Interval(math.sqrt(square.value), low, high, square.short)


def batch_quantile(
    values: ArrayLike,
    p: float,
    batches: int = BATCHES,
    confidence: float = CONFIDENCE,
    ordered: Floats | InOrder | None = None,
) -> Interval:
    """p-quantile (0 < p < 1) of a stationary, correlated series, with its interval.

    The share of values up to the quantile has a batch-means half width h; the interval is from the
    (p-h)-quantile to the (p+h)-quantile, so it needs no density. An end that leaves (0, 1) is infinite.
    `ordered`: the same values in order, to save sorting them for each of several percentiles; finite.

    >>> batch_quantile(range(1, 1001), 0.5).value
    500.5
    """
    if not 0 < p < 1:
        raise InputError("quantile", f"{p} is not between 0 and 1", "e.g. 0.95")
    series = np.asarray(values, dtype=float).reshape(-1)
    if series.size < 2:
        return _unbounded(checked_series(series))
    ordered = InOrder(checked_series(series).copy()) if ordered is None else ordered
    value = _quantile(ordered, p)
    batches = min(batches, max(2, series.size // 2))
    _, averages, correlation, correlated = in_batches(series <= value, batches, counted)
    half = _t(confidence, batches - 1) * _standard_error(averages) * _widened(correlation)
    low = _quantile(ordered, p - half) if p - half > 0 else -math.inf
    high = _quantile(ordered, p + half) if p + half < 1 else math.inf
    return Interval(value, low, high, correlated or not math.isfinite(high - low))


def batch_share(successes: ArrayLike, batches: int = BATCHES, confidence: float = CONFIDENCE) -> Interval:
    """Share of True (or 1) in a correlated series of 0 and 1: Wilson's interval at the effective sample size.

    The effective size is that of an independent series with the same batch-means variance, never more than the
    true one, so a series of ones alone still has an interval of some width.
    """
    series = checked_series(successes)
    if series.size < 2:
        return _unbounded(series)
    batches = min(batches, max(2, series.size // 2))
    share = float(series.mean())
    error = _standard_error(batch_averages(series, batches))
    independent = share * (1 - share) / error**2 if error > 0 else math.inf
    size = min(float(series.size), max(independent, 1.0))
    critical = _t(confidence, batches - 1)
    return _score_interval(share, size, critical, too_short(series, batches))


def improvement(
    values: ArrayLike, baseline: ArrayLike, batches: int = BATCHES, confidence: float = CONFIDENCE
) -> Interval:
    """How much lower `values` are than `baseline`, in per cent: 100 (1 - mean(values) / mean(baseline)).

    Both series belong to the same requests in the same order (common random numbers). The interval is Fieller's
    for the ratio of paired batch means (Fieller, *J. R. Stat. Soc. B* 16 (1954) 175-185).
    Raises InputError for series of different lengths or a baseline of mean 0.

    >>> improvement([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], batches=2)
    Interval(value=50.0, low=50.0, high=50.0, short=True)
    """
    ours, theirs = checked_series(values), checked_series(baseline)
    if ours.size != theirs.size:
        raise InputError("improvement", f"{ours.size} values against {theirs.size}", "pair the same requests")
    if theirs.size and theirs.mean() == 0:
        raise InputError("improvement", "the baseline has mean 0", "give positive times")
    if ours.size < 2:
        value = 100 * (1 - float(ours[0] / theirs[0])) if ours.size else math.nan
        return _unbounded(np.full(ours.size, value))
    batches = min(batches, max(2, ours.size // 2))
    ratio = float(ours.mean() / theirs.mean())
    covariance = np.cov(batch_averages(ours, batches), batch_averages(theirs, batches)) / batches
    low, high = _fieller(float(ours.mean()), float(theirs.mean()), covariance, _t(confidence, batches - 1))
    short = too_short(ours - ratio * theirs, batches)
    return Interval(100 * (1 - ratio), 100 * (1 - high), 100 * (1 - low), short)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Share of independent successes with Wilson's score interval (Wilson, *JASA* 22 (1927) 209-212).

    >>> wilson(0, 10).high
    0.2775327998628892
    """
    if not 0 <= successes <= n:
        raise InputError("share", f"{successes} of {n} is no share", "give 0 <= successes <= n")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, short=True)
    return _score_interval(successes / n, n, float(ndtri(0.5 + 0.5 * confidence)), short=False)


def median_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Median of independent values, with the interval between two order statistics that covers it.

    No law is assumed; the coverage is at least `confidence` (David & Nagaraja, *Order Statistics*, 3rd ed. 2003,
    section 7.1). Below 6 values no pair covers at 95 %: smallest and largest are given, and `short` is set.

    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    Interval(value=3.5, low=1.0, high=6.0, short=False)
    """
    ordered = np.sort(checked_series(values))
    n = ordered.size
    if n == 0:
        return _unbounded(ordered)
    tail = 0.5 * (1 - confidence)
    below = next((k for k in range(n) if bdtr(k, n, 0.5) > tail), 0)
    low, high = ordered[max(below - 1, 0)], ordered[min(n - below, n - 1)]
    return Interval(float(np.median(ordered)), float(low), float(high), short=below == 0)


def _interval(value: float, averages: Floats, correlation: float, short: bool, confidence: float) -> Interval:
    """Of a mean, from means of batches."""
    error = _standard_error(averages) * _widened(correlation)
    low, high = _skewed(_t(confidence, averages.size - 1), averages)
    return Interval(value, value - low * error, value + high * error, short)


def _widened(correlation: float) -> float:
    """Factor on the standard error of batch means that are an autoregressive series of this lag-1 correlation."""
    positive = max(correlation, 0.0)
    return math.sqrt((1 + positive) / (1 - positive))


def _skewed(critical: float, averages: Floats) -> tuple[float, float]:
    """How many standard errors an interval reaches down and up, for a mean of skewed values.

    Source: Willink, *Commun. Stat. Theory Methods* 34 (2005) 753-766.

    >>> [round(end, 3) for end in _skewed(2.0, np.arange(20.0) ** 2)]
    [1.796, 2.297]
    """
    n = averages.size
    shift = skewness_of(averages) / (6 * math.sqrt(n)) if n >= BATCHES // 2 else 0.0
    if abs(shift) < 1e-9:
        return critical, critical

    def moved(end: float) -> float:
        return (math.cbrt(1 + 6 * shift * (end - shift)) - 1) / (2 * shift)

    return moved(critical), -moved(-critical)


def _quantile(ordered: Floats | InOrder, p: float) -> float:
    """The p-quantile of sorted values, linear between two of them (numpy's default)."""
    place = p * (ordered.size - 1)
    below = min(int(place), ordered.size - 2)
    low, high = float(ordered[below]), float(ordered[below + 1])
    return low + (place - below) * (high - low)


def _unbounded(series: Floats) -> Interval:
    if not series.size:
        return Interval(math.nan, math.nan, math.nan, short=True)
    return Interval(float(series[0]), -math.inf, math.inf, short=True)


def _t(confidence: float, degrees: int) -> float:
    return float(stdtrit(degrees, 0.5 + 0.5 * confidence))


def _standard_error(means: Floats) -> float:
    return float(means.std(ddof=1)) / math.sqrt(means.size)


def _score_interval(share: float, size: float, critical: float, short: bool) -> Interval:
    z2 = critical**2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = critical / (1 + z2 / size) * math.sqrt(share * (1 - share) / size + z2 / (4 * size**2))
    low, high = (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)
    return Interval(share, low, high, short)


def _fieller(x: float, y: float, covariance: Floats, critical: float) -> tuple[float, float]:
    """Ends of the set of r with (x - r y)^2 <= critical^2 Var(x - r y)."""
    vxx, vxy, vyy = (critical**2 * float(covariance[i]) for i in ((0, 0), (0, 1), (1, 1)))
    a, b, c = y * y - vyy, x * y - vxy, x * x - vxx
    if a <= 0:
        return -math.inf, math.inf
    root = math.sqrt(max(b * b - a * c, 0.0))
    return (b - root) / a, (b + root) / a
