"""Arrivals held against a Poisson process: gaps against the exponential, counts against their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from qmodel.errors import InputError
from qmodel.report.figures.panels import log_ticks, styled
from qmodel.report.quantity import scale_for
from qmodel.report.style import FAINT, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

COLOR = "#0072b2"
BAND_COLOR = "#dddddd"
FEWEST = 20
"""With fewer arrivals there is nothing to see."""


@styled
def arrivals_against_poisson(arrivals_s: ArrayLike) -> Figure:
    """Quantiles of the gaps against those of an exponential, and dispersion of counts against window length.

    Grey bands hold 95 % of the points of a Poisson process, each taken by itself. Raises InputError for fewer
    than 20 arrivals.
    """
    times = np.sort(np.asarray(arrivals_s, dtype=float))
    if len(times) < FEWEST:
        raise InputError("arrivals", f"{len(times)} are too few for a figure", f"give {FEWEST} or more")
    figure, (left, right) = new_figure(height=2.5, columns=2)
    draw_gaps(left, np.sort(np.diff(times)))
    draw_dispersion(right, times)
    return figure


def draw_gaps(panel: Axes, gaps: np.ndarray) -> None:
    """Sorted gaps against exponential quantiles of the same mean, with the pointwise band of order statistics."""
    n, mean = len(gaps), float(gaps.mean())
    rank = np.arange(1, n + 1)
    expected = -mean * np.log1p(-(rank - 0.5) / n)
    low, high = (-mean * np.log1p(-stats.beta.ppf(p, rank, n + 1 - rank)) for p in (0.025, 0.975))
    scale = scale_for([mean], "s")
    x = expected / scale.factor
    panel.fill_between(x, low / scale.factor, high / scale.factor, color=BAND_COLOR, linewidth=0)
    panel.plot(x, x, color=FAINT, linewidth=0.8)
    panel.plot(x, gaps / scale.factor, "o", color=COLOR, markersize=2.2, markeredgewidth=0)
    panel.set(
        title="gaps between arrivals",
        xlabel=f"exponential quantile ({scale.symbol})",
        ylabel=f"measured quantile ({scale.symbol})",
    )


def draw_dispersion(panel: Axes, times: np.ndarray) -> None:
    """Variance over mean of counts in windows of many lengths, with the chi-square band around 1."""
    lengths, index, low, high = dispersion(times)
    scale = scale_for(lengths, "s")
    panel.fill_between(lengths / scale.factor, low, high, color=BAND_COLOR, linewidth=0)
    panel.axhline(1, color=FAINT, linewidth=0.8)
    panel.plot(lengths / scale.factor, index, "o-", color=COLOR, markersize=3)
    log_ticks(panel, "x")
    panel.set(
        title="counts in windows",
        xlabel=f"window length ({scale.symbol})",
        ylabel="index of dispersion",
        ylim=(0, max(2.5, float(np.max(index)) * 1.1)),
    )


def dispersion(times: np.ndarray, points: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Window lengths (s), variance over mean of the counts in them, and the 95 % band for a Poisson process.

    Windows hold from 2 arrivals on average up to an eighth of the run. For w windows (w - 1) times the index is
    chi-square with w - 1 degrees of freedom.
    """
    start, stop = float(times[0]), float(times[-1])
    windows = np.unique(np.geomspace(8, max(9, len(times) // 2), points).astype(int))[::-1]
    counts = [np.histogram(times, bins=int(w), range=(start, stop))[0] for w in windows]
    index = np.array([c.var(ddof=1) / c.mean() for c in counts])
    low, high = (stats.chi2.ppf(p, windows - 1) / (windows - 1) for p in (0.025, 0.975))
    return (stop - start) / windows, index, low, high
