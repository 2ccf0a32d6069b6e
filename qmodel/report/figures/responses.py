"""The distribution of response times: measured curve, predicted percentiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from qmodel.report.figures.panels import chosen, class_marks, entry, legend_above, log_ticks, styled, whiskers
from qmodel.report.quantity import Scale, scale_for
from qmodel.report.style import INK, Mark, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@styled
def response_times(responses: Mapping[str, ArrayLike], comparison: pd.DataFrame) -> Figure:
    """Distribution of response times (s) by class, with predicted percentiles on it: whole at the left, tail at the
    right.

    `responses` are the measured times of one live run by class; `comparison` holds that run's rows, of which those
    of metrics p50, p95, ... are drawn: predicted as large marks, the interval of the measured percentile as bars.
    """
    kinds = list(responses)
    rows = percentile_rows(chosen(comparison, **{"class": kinds}))
    scale = scale_for([float(np.median(np.asarray(values))) for values in responses.values()], "s")
    figure, (left, right) = new_figure(height=2.5, columns=2)
    for kind, mark in class_marks(kinds).items():
        here = rows[rows["class"] == kind]
        times = np.sort(np.asarray(responses[kind], dtype=float)) / scale.factor
        share = np.arange(1, len(times) + 1) / len(times)
        left.step(times, 100 * share, where="post", color=mark.color, linewidth=1.0)
        right.step(times, 100 * (1 - share + 1 / len(times)), where="post", color=mark.color, linewidth=1.0)
        draw_percentiles(left, here, 100 * here.share.to_numpy(float), mark, scale)
        draw_percentiles(right, here, 100 * (1 - here.share.to_numpy(float)), mark, scale)
    slow = [np.quantile(np.asarray(values, dtype=float), 0.01) / scale.factor for values in responses.values()]
    finish(left, right, scale, float(min(slow)))
    legend_above(
        figure,
        [
            *(entry(kind, mark, marker="none") for kind, mark in class_marks(kinds).items()),
            entry("predicted percentile", marker="D", markersize=4, markeredgecolor=INK, color="#bbbbbb"),
            entry("95 % interval of the measured one", marker="|", markersize=6),
        ],
    )
    return figure


def percentile_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Rows of percentiles of response time, with their share (0.95 for p95)."""
    share = comparison.metric.str.extract(r"^p([\d.]+)_response_s$", expand=False).astype(float) / 100
    return comparison.assign(share=share)[share.notna()]


def draw_percentiles(panel: Axes, rows: pd.DataFrame, height: np.ndarray, mark: Mark, scale: Scale) -> None:
    """Predicted percentiles at their height, the intervals of the measured ones behind them."""
    predicted, measured, low, high = (
        rows[name].to_numpy(float) / scale.factor for name in ("predicted", "measured", "low", "high")
    )
    panel.errorbar(
        measured,
        height,
        xerr=whiskers(measured, low, high),
        fmt="none",
        color=mark.color,
        elinewidth=1.2,
        capsize=2.5,
    )
    panel.plot(
        predicted, height, "D", markersize=4.4, color=mark.color, markeredgecolor=INK, markeredgewidth=0.7, zorder=4
    )


def finish(left: Axes, right: Axes, scale: Scale, start: float) -> None:
    """Axes of both panels, from the fastest hundredth of the requests on."""
    for panel in (left, right):
        panel.set_xscale("log")
        panel.set_xlim(left=start)
        log_ticks(panel, "x")
        panel.set_xlabel(f"response time ({scale.symbol})")
    left.set(title="distribution", ylabel="requests at most this slow (%)", ylim=(0, 102))
    right.set_yscale("log")
    right.set(title="tail", ylabel="requests slower (%)", ylim=(0.08, 120))
    log_ticks(right)
