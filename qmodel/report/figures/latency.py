"""Latency against load: predicted lines, measured points with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from textwrap import wrap
from typing import TYPE_CHECKING

from qmodel.report.figures.panels import (
    LONG,
    METRICS,
    SHORT,
    chosen,
    classes_of,
    entry,
    in_order,
    legend_above,
    load_ticks,
    log_ticks,
    styled,
    time_scale,
    whiskers,
)
from qmodel.report.names import policy_name, sentence_start
from qmodel.report.quantity import Scale
from qmodel.report.style import POLICY_ORDER, Mark, marks, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESPONSES = tuple(name for name in METRICS if name.endswith("response_s"))

BROKEN = (0, (4, 1.5))
"""Line of predictions that are not exact."""


@styled
def latency_against_load(
    comparison: pd.DataFrame,
    exit_setting: str = "none",
    classes: Sequence[str] | None = None,
    policies: Sequence[str] | None = None,
) -> Figure:
    """Mean, median, 95th and 99th percentile of response time against load: one panel a policy and class.

    Lines are predicted (broken where not exact), points measured with their 95 % interval, hollow where the
    interval does not hold the prediction, half filled where the run is too short for one. Rows without
    a measurement only carry the line.
    """
    rows = chosen(comparison, exit=exit_setting, metric=RESPONSES, policy=policies)
    names = in_order(rows.policy, policies or POLICY_ORDER)
    kinds = list(classes or classes_of(rows))
    scale = time_scale(rows.predicted, rows.measured)
    figure, panels = new_figure(
        height=0.65 + 1.45 * len(kinds), rows=len(kinds), columns=len(names), sharex=True, sharey="row"
    )
    for panel, (kind, policy) in zip(panels, product(kinds, names), strict=True):
        here = rows[(rows["class"] == kind) & (rows.policy == policy)]
        for metric, mark in METRICS.items():
            draw_series(panel, here[here.metric == metric], mark, scale)
        log_ticks(panel)
        load_ticks(panel, rows.load)
        panel.label_outer()
    label_grid(panels, kinds, names, scale)
    legend_above(figure, [*(entry(SHORT[m], METRICS[m]) for m in RESPONSES), *common_entries(rows)])
    return figure


@styled
def policies_against_load(
    comparison: pd.DataFrame,
    metric: str = "mean_response_s",
    exit_setting: str = "none",
    classes: Sequence[str] | None = None,
) -> Figure:
    """One metric against load, policies side by side: one panel a class."""
    rows = chosen(comparison, exit=exit_setting, metric=metric)
    kinds = list(classes or classes_of(rows))
    names = in_order(rows.policy, POLICY_ORDER)
    scale = time_scale(rows.predicted, rows.measured)
    figure, panels = new_figure(height=2.6, columns=len(kinds), width=min(1.0, 0.36 + 0.32 * len(kinds)))
    for panel, kind in zip(panels, kinds, strict=True):
        for policy, mark in marks(names).items():
            draw_series(panel, rows[(rows["class"] == kind) & (rows.policy == policy)], mark, scale)
        log_ticks(panel)
        load_ticks(panel, rows.load)
        panel.set_title(class_title(kind))
    panels[0].set_ylabel(f"{LONG.get(metric, metric)} ({scale.symbol})")
    legend_above(figure, [*(entry(policy_name(n), m) for n, m in marks(names).items()), *common_entries(rows)])
    return figure


def draw_series(panel: Axes, rows: pd.DataFrame, mark: Mark, scale: Scale) -> None:
    """One line of predictions and its measured points."""
    ordered = rows.sort_values("load")
    exact = bool((ordered.predicted_method == "exact").all())
    line = "-" if exact else BROKEN
    panel.plot(ordered.load, ordered.predicted / scale.factor, linestyle=line, color=mark.color)
    missed, unjudged = outside(ordered), without_interval(ordered)
    for filling, points in (
        ("full", ordered[~missed & ~unjudged]), ("none", ordered[missed]), ("left", ordered[unjudged]),
    ):  # fmt: skip
        draw_points(panel, points, mark, scale, filling)


def draw_points(panel: Axes, points: pd.DataFrame, mark: Mark, scale: Scale, filling: str) -> None:
    """Measured points with their intervals."""
    measured, low, high = (points[name].to_numpy(float) / scale.factor for name in ("measured", "low", "high"))
    panel.errorbar(
        points.load,
        measured,
        whiskers(measured, low, high),
        fmt=mark.marker,
        color=mark.color,
        markersize=3.6,
        markerfacecolor="white" if filling == "none" else mark.color,
        markerfacecoloralt="white",
        fillstyle="left" if filling == "left" else "full",
        markeredgewidth=0.9,
        elinewidth=0.8,
    )


def common_entries(rows: pd.DataFrame) -> list[Artist]:
    """What full, hollow and half filled points and broken lines mean, as far as they occur."""
    entries = []
    if rows.measured.notna().any():
        entries.append(entry("measured, 95 % interval", marker="o", markersize=3.6))
    if outside(rows).any():
        entries.append(entry("prediction outside", marker="o", markersize=3.6, markerfacecolor="white"))
    if without_interval(rows).any():
        entries.append(
            entry("no interval", marker="o", markersize=3.6, fillstyle="left", markerfacecoloralt="white")
        )
    if (rows.predicted_method != "exact").any():
        entries.append(entry("predicted, not exact", linestyle=BROKEN))
    return entries


def outside(rows: pd.DataFrame) -> pd.Series:
    """Whether the interval misses the prediction; not where there is no interval."""
    return rows.inside.map(lambda inside: inside is not None and inside == 0).astype(bool)


def without_interval(rows: pd.DataFrame) -> pd.Series:
    """Whether something was measured, in too short a run for an interval."""
    return rows.measured.notna() & rows.inside.isna()


def class_title(kind: str) -> str:
    """A class as a heading."""
    return "all requests" if kind == "all" else f"class {kind}"


def broken(name: str, width: int = 15) -> str:
    """A name in lines of at most so many characters, where it has blanks.

    >>> broken("preemptive priority")
    'preemptive\\npriority'
    """
    return "\n".join(wrap(name, width, break_long_words=False, break_on_hyphens=False))


def label_grid(panels: list[Axes], kinds: list[str], names: list[str], scale: Scale) -> None:
    """Policies as heads, classes at the left."""
    for panel, name in zip(panels, names, strict=False):
        panel.set_title(sentence_start(broken(policy_name(name))))
    for panel, kind in zip(panels[:: len(names)], kinds, strict=True):
        panel.set_ylabel(f"{class_title(kind)}\nresponse time ({scale.symbol})")
