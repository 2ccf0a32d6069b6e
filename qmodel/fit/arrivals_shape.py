"""What a stretch of arrivals looks like: rate over time, gaps, lags, dispersion, silences, stationarity."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WINDOWS = 12
"""Windows in which the rate over time is told."""
LAGS = (1, 2, 5, 10, 20)
DISPERSION_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86400.0)
FEWEST_WINDOWS = 10
SILENCE = 3.0
"""A gap is a silence from so many times the longest that a Poisson process at the rate of the rest would show."""
KPSS_1_PERCENT, KPSS_5_PERCENT = 0.739, 0.463
"""Critical values of the KPSS test for a level (Kwiatkowski et al., *J. Econometrics* 54 (1992) 159-178)."""
REPEATED = 1e-3
"""Successive gaps this close to each other (relative) are the same gap drawn once."""


@dataclass(frozen=True)
class Silences:
    """Gaps too long to belong to the rest: how many, the share of the time they take, and the rest without them."""

    count: int
    longest_s: float
    share: float
    from_s: float
    rate_without: float
    cv_without: float


@dataclass(frozen=True)
class Stationarity:
    """KPSS statistic of counts in equal windows: large when the level wanders more than its bursts explain."""

    statistic: float
    windows: int

    @property
    def verdict(self) -> str:
        """Stationary, doubtful (between the 5 % and 1 % points) or not."""
        if self.statistic != self.statistic:
            return "not tested: too few arrivals"
        if self.statistic >= KPSS_1_PERCENT:
            return "the rate is not stationary (KPSS refuses at 1 %)"
        if self.statistic >= KPSS_5_PERCENT:
            return "stationarity is doubtful (KPSS refuses at 5 %)"
        return "no sign against a stationary rate (KPSS)"


@dataclass(frozen=True)
class Shape:
    """Statistics of arrival times (stamps on a coarse grid are spread over their cell first)."""

    n: int
    span_s: float
    rate: float
    cv: float
    lags: tuple[tuple[int, float], ...]
    dispersion: tuple[tuple[float, float], ...]
    rates: tuple[float, ...]
    silences: Silences | None
    stationarity: Stationarity
    repeated_gaps: float


def shape_of(times_s: Floats, grid_s: float | None = None) -> Shape:
    """Statistics of increasing arrival times, two at least; nothing below twice the grid of the stamps."""
    gaps = np.diff(times_s)
    span = float(times_s[-1] - times_s[0])
    return Shape(
        n=times_s.size,
        span_s=span,
        rate=gaps.size / span,
        cv=float(gaps.std() / gaps.mean()),
        lags=tuple((lag, lag_correlation(gaps, lag)) for lag in LAGS if gaps.size >= 10 * lag),
        dispersion=dispersions(times_s, grid_s),
        rates=tuple(counts(times_s, WINDOWS) * WINDOWS / span),
        silences=silences(gaps),
        stationarity=stationarity(times_s),
        repeated_gaps=repeated_gaps(gaps) if grid_s is None else 0.0,
    )


def counts(times_s: Floats, windows: int) -> Floats:
    """Arrivals in so many equal windows of the span."""
    found, _ = np.histogram(times_s, bins=windows, range=(times_s[0], times_s[-1]))
    return found.astype(float)


def lag_correlation(gaps: Floats, lag: int) -> float:
    """Correlation of gaps that are `lag` apart.

    >>> round(lag_correlation(np.array([1.0, 2.0] * 50), 1), 2)
    -0.99
    """
    x = gaps - gaps.mean()
    total = float(x @ x)
    return float(x[:-lag] @ x[lag:]) / total if total > 0 else math.nan


def dispersions(times_s: Floats, grid_s: float | None = None) -> tuple[tuple[float, float], ...]:
    """(window in s, variance over mean of the counts in such windows); 1 for Poisson arrivals.

    Windows from half an arrival up to a tenth of the span, and not below twice the grid of the stamps.
    """
    span = float(times_s[-1] - times_s[0])
    rate = (times_s.size - 1) / span
    least = max(0.5 / rate, 2.0 * (grid_s or 0.0))
    return tuple(
        (window, index_of_dispersion(times_s, window))
        for window in DISPERSION_S
        if least <= window <= span / FEWEST_WINDOWS
    )


def index_of_dispersion(times_s: Floats, window_s: float) -> float:
    """Variance over mean of counts in the whole windows of `window_s` that fit in the span."""
    whole = int((times_s[-1] - times_s[0]) / window_s)
    cells = ((times_s - times_s[0]) / window_s).astype(np.int64)
    found = np.bincount(cells[cells < whole], minlength=whole).astype(float)
    return float(found.var(ddof=1) / found.mean())


def silences(gaps: Floats) -> Silences | None:
    """Gaps from `SILENCE` times ln(n) over the rate of the rest on; None where there is none.

    The rest is what is left when they are taken out, so the bound is found by repetition.
    """
    rest = gaps
    while rest.size > 2:
        bound = SILENCE * math.log(gaps.size) * float(rest.mean())
        kept = gaps[gaps <= bound]
        if kept.size == rest.size:
            break
        rest = kept
    out = gaps[gaps > SILENCE * math.log(max(gaps.size, 2)) * float(rest.mean())] if rest.size else gaps[:0]
    if not out.size or rest.size < 2 or rest.mean() <= 0:
        return None
    return Silences(
        count=int(out.size),
        longest_s=float(out.max()),
        share=float(out.sum() / gaps.sum()),
        from_s=float(out.min()),
        rate_without=1.0 / float(rest.mean()),
        cv_without=float(rest.std() / rest.mean()),
    )


def repeated_gaps(gaps: Floats) -> float:
    """Share of gaps that repeat the one before: a drawn gap used twice, as no continuous law does.

    >>> repeated_gaps(np.array([0.5, 0.5, 0.5, 0.2]))
    0.6666666666666666
    """
    if gaps.size < 2:
        return 0.0
    same = np.abs(np.diff(gaps)) <= REPEATED * gaps[1:]
    return float(np.mean(same & (gaps[1:] > 0)))


def stationarity(times_s: Floats) -> Stationarity:
    """KPSS test of the counts in windows of about 20 arrivals, 1,000 of them at most."""
    windows = min(1000, times_s.size // 20)
    if windows < 15:
        return Stationarity(math.nan, windows)
    from statsmodels.tsa.stattools import kpss

    found = counts(times_s, windows)
    if found.std() == 0:
        return Stationarity(0.0, windows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the p value is only looked up in a table: its ends are warned about
        return Stationarity(float(kpss(found, regression="c", nlags="auto")[0]), windows)
