"""What the analysis of variance sees: main effects of the factors, and its residuals against the normal law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from qmodel.report.figures.panels import log_ticks, plain_tick, styled, time_scale
from qmodel.report.names import words
from qmodel.report.style import FAINT, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from qmodel.report.quantity import Scale

COLOR = "#0072b2"
BAND_COLOR = "#dddddd"
BAR_COLOR = "#a8cce4"
MOST_POINTS = 1000


@styled
def main_effects(cells: pd.DataFrame, factors: Sequence[str], residuals: ArrayLike) -> Figure:
    """Geometric mean latency at each level of each factor, one panel a factor, and a QQ plot of the residuals.

    `cells` has one row a cell: the factors and `latency_s`. Bars hold the middle half of the cells of a level;
    `residuals` are those of the logarithm of latency.
    """
    scale = time_scale(cells.latency_s)
    figure, panels = new_figure(
        height=2.3, columns=len(factors) + 1, width_ratios=[*(panel_width(cells[f]) for f in factors), 1.15]
    )
    for panel, factor in zip(panels, factors, strict=False):
        draw_factor(panel, cells, factor, scale)
        panel.sharey(panels[0])
        log_ticks(panel)
        panel.label_outer(remove_inner_ticks=False)
    panels[0].set_ylabel(f"mean latency ({scale.symbol})")
    draw_residuals(panels[-1], np.asarray(residuals, dtype=float))
    return figure


def panel_width(levels: pd.Series) -> float:
    """Narrow panels for factors with few levels."""
    return 0.55 + 0.1 * min(levels.nunique(), 6)


def draw_factor(panel: Axes, cells: pd.DataFrame, factor: str, scale: Scale) -> None:
    """Means at the levels, equally spaced, with the middle half of the cells."""
    levels = sorted(set(cells[factor]))
    groups = [cells.latency_s[cells[factor] == level].to_numpy(float) / scale.factor for level in levels]
    place = np.arange(len(levels))
    low, high = (np.array([np.quantile(group, share) for group in groups]) for share in (0.25, 0.75))
    panel.vlines(place, low, high, color=BAR_COLOR, linewidth=5)
    panel.plot(place, [stats.gmean(group) for group in groups], "o-", color=COLOR)
    numeric = all(isinstance(level, int | float | np.number) for level in levels)
    labels = [plain_tick(level) if numeric else words(str(level)).replace(" ", "\n", 1) for level in levels]
    panel.set_xticks(place, labels)
    panel.set_xlim(-0.5, len(levels) - 0.5)
    panel.set(title=words(factor), yscale="log")
    panel.grid(axis="x", visible=False)


def draw_residuals(panel: Axes, residuals: np.ndarray) -> None:
    """Standardised residuals against normal quantiles, with the pointwise band of order statistics."""
    sample = np.sort((residuals - residuals.mean()) / (residuals.std(ddof=1) or 1.0))
    n = len(sample)
    rank = np.arange(1, n + 1)
    x = stats.norm.ppf((rank - 0.5) / n)
    low, high = (stats.norm.ppf(stats.beta.ppf(p, rank, n + 1 - rank)) for p in (0.025, 0.975))
    shown = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(int))
    panel.fill_between(x[shown], low[shown], high[shown], color=BAND_COLOR, linewidth=0)
    panel.plot(x[[0, -1]], x[[0, -1]], color=FAINT, linewidth=0.8)
    panel.plot(x[shown], sample[shown], "o", color="#d55e00", markersize=2.0, markeredgewidth=0)
    panel.set(title="residuals", xlabel="normal quantile", ylabel="residual (standardised)")
