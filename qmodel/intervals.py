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

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

BATCHES = 20
CONFIDENCE = 0.95
# A lag-1 correlation of batch means above this is reported. Measured on 1,000 runs each of M/M/1 and M/H2/1 at
# loads 0.5 and 0.8 (benchmarks/interval_coverage.py): where less than 93 % of the 95 % intervals cover the mean,
# 94 % of the runs or more exceed it; from twice the length at which 94 % cover, at most one run in a hundred.
CORRELATION_LET_PASS = 0.0075
FINE_BATCHES_PER_BATCH = 32


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
    batch means are still correlated (judged on batches 32 times shorter, whose correlation can be told apart
    from noise), or when there are fewer than two values a batch. A single value has infinite ends, none gives NaN.
    Raises InputError for values that are not finite.

    >>> batch_means([1.0, 2.0, 3.0, 4.0], batches=2)
    Interval(value=2.5, low=-10.206204736174694, high=15.206204736174694, short=True)
    """
    series = np.asarray(values, dtype=float).reshape(-1)
    if series.size < 2:
        return _unbounded(_series(series))
    batches = min(batches, max(2, series.size // 2))
    value, averages, correlation, short = _in_batches(series, batches)
    error = _standard_error(averages) * _widened(correlation)
    low, high = _skewed(_t(confidence, batches - 1), averages)
    return Interval(value, value - low * error, value + high * error, short)


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
    distance = series - series.mean()
    square = batch_means(np.square(distance, out=distance), batches, confidence)
    low, high = (math.sqrt(max(end, 0.0)) for end in (square.low, square.high))
    return Interval(math.sqrt(square.value), low, high, square.short)


def batch_quantile(
    values: ArrayLike,
    p: float,
    batches: int = BATCHES,
    confidence: float = CONFIDENCE,
    ordered: Floats | None = None,
) -> Interval:
    """p-quantile (0 < p < 1) of a stationary, correlated series, with its interval.

    The share of values up to the quantile has a batch-means half width h; the interval is from the
    (p-h)-quantile to the (p+h)-quantile, so it needs no density. An end that leaves (0, 1) is infinite.
    `ordered`: the same values sorted, to save sorting them for each of several percentiles.

    >>> batch_quantile(range(1, 1001), 0.5).value
    500.5
    """
    if not 0 < p < 1:
        raise InputError("quantile", f"{p} is not between 0 and 1", "e.g. 0.95")
    series = np.asarray(values, dtype=float).reshape(-1)
    if series.size < 2:
        return _unbounded(_series(series))
    ordered = np.sort(_series(series)) if ordered is None else ordered
    if not (math.isfinite(ordered[0]) and math.isfinite(ordered[-1])):  # NaN is sorted to the end
        _series(series)
    value = _quantile(ordered, p)
    batches = min(batches, max(2, series.size // 2))
    _, averages, correlation, correlated = _in_batches((series <= value).astype(float), batches)
    half = _t(confidence, batches - 1) * _standard_error(averages) * _widened(correlation)
    low = _quantile(ordered, p - half) if p - half > 0 else -math.inf
    high = _quantile(ordered, p + half) if p + half < 1 else math.inf
    return Interval(value, low, high, correlated or not math.isfinite(high - low))


def batch_share(successes: ArrayLike, batches: int = BATCHES, confidence: float = CONFIDENCE) -> Interval:
    """Share of True (or 1) in a correlated series of 0 and 1: Wilson's interval at the effective sample size.

    The effective size is that of an independent series with the same batch-means variance, never more than the
    true one, so a series of ones alone still has an interval of some width.
    """
    series = _series(successes)
    if series.size < 2:
        return _unbounded(series)
    batches = min(batches, max(2, series.size // 2))
    share = float(series.mean())
    error = _standard_error(batch_averages(series, batches))
    independent = share * (1 - share) / error**2 if error > 0 else math.inf
    size = min(float(series.size), max(independent, 1.0))
    critical = _t(confidence, batches - 1)
    return _score_interval(share, size, critical, _too_short(series, batches))


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
    ours, theirs = _series(values), _series(baseline)
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
    short = _too_short(ours - ratio * theirs, batches)
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
    ordered = np.sort(_series(values))
    n = ordered.size
    if n == 0:
        return _unbounded(ordered)
    tail = 0.5 * (1 - confidence)
    below = next((k for k in range(n) if bdtr(k, n, 0.5) > tail), 0)
    low, high = ordered[max(below - 1, 0)], ordered[min(n - below, n - 1)]
    return Interval(float(np.median(ordered)), float(low), float(high), short=below == 0)


def mser5(values: ArrayLike) -> int:
    """How many leading values to delete as warm-up: the MSER-5 rule.

    Means of five successive values are taken; the cut is where the standard error of the mean of what is left
    is smallest, in the first half of the series (White, *Simulation* 69 (1997) 323-334). A cut at the half says
    that the series is too short to hold a steady state.

    >>> mser5([9.0] * 10 + [1.0, 2.0] * 50)
    10
    """
    series = _series(values)
    count = series.size // 5
    if count < 2:
        return 0
    means = series[: 5 * count].reshape(count, 5).mean(axis=1)
    means -= means.mean()
    left = np.arange(count, 0, -1.0)
    total, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    statistic = (squares - total**2 / left) / left**2
    return 5 * int(np.argmin(statistic[: count // 2 + 1]))


def batch_averages(values: ArrayLike, batches: int) -> Floats:
    """Means of `batches` successive stretches of the series, of equal length up to one value."""
    series = np.asarray(values, dtype=float)
    edges = np.arange(batches + 1) * series.size // batches
    return np.add.reduceat(series, edges[:-1]) / np.diff(edges)


def _in_batches(series: Floats, batches: int) -> tuple[float, Floats, float, bool]:
    """Mean of at least two values, means of batches, their lag-1 correlation, and whether the series is too short.

    One pass if it is long (else the correlation is not told from noise, and 0). The edges of long batches are edges
    of the fine ones too, so that sums of fine ones are theirs.
    """
    fine = FINE_BATCHES_PER_BATCH * batches
    if series.size < fine:
        _series(series)
        return float(series.mean()), batch_averages(series, batches), 0.0, _too_short(series, batches)
    edges = np.arange(fine + 1) * series.size // fine
    sums = np.add.reduceat(series, edges[:-1])
    total = float(sums.sum())
    if not math.isfinite(total):
        _series(series)
    averages = sums.reshape(batches, -1).sum(axis=1) / np.diff(edges[::FINE_BATCHES_PER_BATCH])
    short_averages = sums / np.diff(edges)
    correlation = _lag1(short_averages) / FINE_BATCHES_PER_BATCH
    return total / series.size, averages, correlation, _correlated(series.size, short_averages, batches)


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
    centred = averages - averages.mean()
    square = float(centred @ centred) / (n - 1)
    if n < BATCHES // 2 or square == 0:
        return critical, critical
    skewness = float(centred @ centred**2) * n / ((n - 1) * (n - 2)) / square**1.5
    shift = skewness / (6 * math.sqrt(n))
    if abs(shift) < 1e-9:
        return critical, critical

    def moved(end: float) -> float:
        return (math.cbrt(1 + 6 * shift * (end - shift)) - 1) / (2 * shift)

    return moved(critical), -moved(-critical)


def _series(values: ArrayLike) -> Floats:
    series = np.asarray(values, dtype=float).reshape(-1)
    if not math.isfinite(float(series.sum())) and not np.isfinite(series).all():  # the sum is the quicker look
        raise InputError("series", "holds a value that is not finite", "leave it out and say so")
    return series


def _quantile(ordered: Floats, p: float) -> float:
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


def _too_short(series: Floats, batches: int) -> bool:
    """Whether batches of this length are too few values, or their means still correlated.

    The lag-1 correlation of batch means falls in inverse proportion to the batch length once that is well above
    the correlation time, so it is taken from shorter batches and carried over.
    """
    fine = min(FINE_BATCHES_PER_BATCH * batches, series.size)
    return _correlated(series.size, batch_averages(series, fine), batches)


def _correlated(count: int, fine: Floats, batches: int) -> bool:
    """The same from the means of the shorter batches of `count` values."""
    if batches < BATCHES // 2 or count < 2 * batches:
        return True
    noise = float(ndtri(0.95)) / math.sqrt(fine.size)
    return _lag1(fine) > max(CORRELATION_LET_PASS * fine.size / batches, noise)


def _lag1(values: Floats) -> float:
    centred = values - values.mean()
    square = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / square if square > 0 else 0.0


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
