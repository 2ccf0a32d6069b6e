"""Measured service times against the fitted function, and what the fit leaves over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qmodel.report.figures.panels import entry, legend_above, log_ticks, signed_tick, styled, time_scale, whiskers
from qmodel.report.style import FAINT, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from qmodel.report.quantity import Scale

Predict = Callable[["pd.DataFrame"], "NDArray[np.float64]"]
"""Fitted service time (s) of each row of factors."""

SHARES = (0.05, 0.5, 0.95)


@styled
def service_times(profile: pd.DataFrame, predict: Predict, x: str, by: str, response: str = "latency_s") -> Figure:
    """Service time against factor `x`, one line a level of `by`; residuals of the fit in per cent at the right.

    Points are medians of the repetitions, bars reach from their 5th to their 95th percentile, lines are fitted.
    `profile` has one row a repetition; `predict` takes rows with the columns `x` and `by`.
    """
    cells = summarised(profile, x, by, response)
    scale = time_scale(cells["middle"])
    levels = sorted(set(cells[by]))
    figure, (left, right) = new_figure(height=2.7, columns=2, width_ratios=[1.15, 1.0])
    colors = shades(len(levels))
    for i, (level, color) in enumerate(zip(levels, colors, strict=True)):
        here = cells[cells[by] == level]
        draw_cells(left, here, x, scale, color)
        draw_line(left, here, x, by, predict, scale, color)
        draw_residuals(right, here, x, predict, color, 1.05 ** (i - (len(levels) - 1) / 2))
    right.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
    left.set(xscale="log", yscale="log", title="service time", ylabel=f"latency ({scale.symbol})")
    right.set(xscale="log", title="left over by the fit", ylabel="measured relative to fitted (%)")
    right.yaxis.set_major_formatter(signed_tick)
    log_ticks(left)
    for panel in (left, right):
        panel.set_xticks(sorted(set(cells[x])), [f"{v:g}" for v in sorted(set(cells[x]))])
        panel.set_xticks([], minor=True)
        panel.set_xlabel(words(x))
    entries = [
        entry(f"{words(by)} {level:g}", color=color, linestyle="-", marker="o")
        for level, color in zip(levels, colors, strict=True)
    ]
    legend_above(figure, entries)
    return figure


def words(factor: str) -> str:
    """A factor's name as words."""
    return factor.replace("_", " ")


def summarised(profile: pd.DataFrame, x: str, by: str, response: str) -> pd.DataFrame:
    """Median and the 5th and 95th percentile of the repetitions of each cell."""
    quantiles = profile.groupby([x, by])[response].quantile(np.array(SHARES)).unstack()
    quantiles.columns = ["low", "middle", "high"]
    return quantiles.reset_index()


def shades(count: int) -> list[str]:
    """Colours from light to dark, apart in grey too."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](share)) for share in np.linspace(0.85, 0.05, count)]


def draw_cells(panel: Axes, cells: pd.DataFrame, x: str, scale: Scale, color: str) -> None:
    """Medians with the spread of the repetitions."""
    middle, low, high = (cells[name].to_numpy(float) / scale.factor for name in ("middle", "low", "high"))
    panel.errorbar(
        cells[x], middle, whiskers(middle, low, high), fmt="o", color=color, markersize=3.2, elinewidth=0.8
    )


def draw_line(
    panel: Axes, cells: pd.DataFrame, x: str, by: str, predict: Predict, scale: Scale, color: str
) -> None:
    """The fitted function between the smallest and the largest level of `x`."""
    import pandas as pd

    grid = np.geomspace(float(cells[x].min()), float(cells[x].max()), 60)
    rows = pd.DataFrame({x: grid, by: cells[by].iloc[0]})
    panel.plot(grid, np.asarray(predict(rows)) / scale.factor, color=color, linewidth=1.0)


def draw_residuals(panel: Axes, cells: pd.DataFrame, x: str, predict: Predict, color: str, shift: float) -> None:
    """How far the medians are from the fit, with the spread of the repetitions; `shift` keeps levels apart."""
    fitted = np.asarray(predict(cells))
    middle, low, high = (100 * (cells[name].to_numpy(float) / fitted - 1) for name in ("middle", "low", "high"))
    panel.errorbar(
        cells[x] * shift,
        middle,
        whiskers(middle, low, high),
        fmt="o-",
        color=color,
        markersize=3,
        elinewidth=0.7,
        linewidth=0.6,
    )
