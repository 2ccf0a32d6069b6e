"""Predicted against measured: how near, and whether inside the interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.report.figures.panels import (
    LONG,
    chosen,
    class_marks,
    classes_of,
    entry,
    in_order,
    legend_above,
    log_ticks,
    signed_tick,
    styled,
    time_scale,
    whiskers,
)
from qmodel.report.names import PLAIN, exit_name, policy_name
from qmodel.report.style import FAINT, POLICY_ORDER, marks, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qmodel.report.quantity import Scale

BAND = 0.10
"""Relative error that the shaded band marks."""


@styled
def predicted_against_measured(
    comparison: pd.DataFrame, metrics: Sequence[str] = ("mean_response_s", "p95_response_s")
) -> Figure:
    """Predicted against measured on logarithmic axes, one panel a metric, one colour a policy.

    Every setting and class that was measured is a point; on the diagonal the two agree, in the band within 10 %.
    """
    rows = chosen(measured_rows(comparison), metric=list(metrics))
    names = in_order(rows.policy, POLICY_ORDER)
    scale = time_scale(rows.predicted, rows.measured)
    figure, panels = new_figure(height=2.9, columns=len(metrics), width=min(1.0, 0.1 + 0.4 * len(metrics)))
    ends = limits(rows, scale)
    for panel, metric in zip(panels, metrics, strict=True):
        draw_band(panel, ends)
        for name, mark in marks(names).items():
            here = rows[(rows.metric == metric) & (rows.policy == name)]
            x, low, high = (here[c].to_numpy(float) / scale.factor for c in ("measured", "low", "high"))
            y = here.predicted.to_numpy(float) / scale.factor
            panel.errorbar(
                x,
                y,
                xerr=whiskers(x, low, high),
                fmt=mark.marker,
                color=mark.color,
                markersize=2.8,
                elinewidth=0.5,
                capsize=0,
            )
        panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        for which in "xy":
            log_ticks(panel, which)
        panel.set(title=LONG.get(metric, metric), xlabel=f"measured ({scale.symbol})")
        panel.set_aspect("equal")
    panels[0].set_ylabel(f"predicted ({scale.symbol})")
    legend_above(figure, [entry(policy_name(n), m, linestyle="none") for n, m in marks(names).items()])
    return figure


def measured_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Rows that have both sides."""
    return comparison[comparison.measured.notna() & comparison.predicted.notna()]


def limits(rows: pd.DataFrame, scale: Scale) -> tuple[float, float]:
    """Ends of both axes."""
    values = np.concatenate([rows.predicted.to_numpy(float), rows.measured.to_numpy(float)]) / scale.factor
    return float(values.min() / 1.3), float(values.max() * 1.3)


def draw_band(panel: Axes, ends: tuple[float, float]) -> None:
    """The diagonal and what is within 10 % of it."""
    x = np.array(ends)
    panel.fill_between(x, x * (1 - BAND), x * (1 + BAND), color="#dcdcdc", linewidth=0, zorder=0)
    panel.plot(x, x, color=FAINT, linewidth=0.8, zorder=1)


@styled
def relative_errors(
    comparison: pd.DataFrame, metrics: Sequence[str] = ("mean_response_s", "p95_response_s")
) -> Figure:
    """How far each prediction is from its measurement in per cent, with the interval of the measurement.

    One row a policy, exit setting and load, one mark a class; an interval that reaches zero holds the prediction.
    """
    rows = chosen(measured_rows(comparison), metric=list(metrics))
    kinds = classes_of(rows)
    groups = settings_of(rows)
    lines = [(policy, setting, load) for policy, setting, loads in groups for load in loads]
    places = dict(zip(lines, row_places(groups), strict=True))
    height = 0.9 + 0.17 * len(lines) + 0.2 * len(groups)
    figure, panels = new_figure(height=height, columns=len(metrics), sharey=True)
    for panel, metric in zip(panels, metrics, strict=True):
        panel.axvspan(-100 * BAND, 100 * BAND, color="#f0f0f0", linewidth=0, zorder=0)
        panel.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        for kind in kinds:
            draw_errors(panel, rows[(rows.metric == metric) & (rows["class"] == kind)], places, kinds, kind)
        panel.xaxis.set_major_formatter(signed_tick)
        panel.set(title=LONG.get(metric, metric), xlabel="predicted relative to measured (%)")
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    label_rows(panels[0], groups, places)
    legend_above(figure, [entry(k, m, linestyle="none") for k, m in class_marks(kinds).items()])
    return figure


def settings_of(rows: pd.DataFrame) -> list[tuple[str, str, list[float]]]:
    """Policy, exit setting and the loads of each group of rows, in order."""
    policies = in_order(rows.policy, POLICY_ORDER)
    pairs = [(policy, setting) for setting in dict.fromkeys(rows.exit) for policy in policies]
    found = []
    for policy, setting in pairs:
        loads = sorted(set(rows[(rows.policy == policy) & (rows.exit == setting)].load))
        if loads:
            found.append((policy, setting, loads))
    return found


def row_places(groups: list[tuple[str, str, list[float]]]) -> list[float]:
    """Heights of the rows from the top down, with room for the head of each group."""
    places, at = [], 0.0
    for _, setting, loads in groups:
        at -= 1.0 if setting in PLAIN else 2.0
        for _ in loads:
            places.append(at)
            at -= 1.0
    return places


def draw_errors(
    panel: Axes,
    rows: pd.DataFrame,
    places: dict[tuple[str, str, float], float],
    kinds: Sequence[str],
    kind: str,
) -> None:
    """The marks of one class: predicted/measured - 1, and what it would be at each end of the interval."""
    mark = class_marks(kinds)[kind]
    shift = 0.3 * ((len(kinds) - 1) / 2 - list(kinds).index(kind))
    y = np.array([places[key] for key in zip(rows.policy, rows.exit, rows.load, strict=True)]) + shift
    predicted = rows.predicted.to_numpy(float)
    error, low, high = (100 * (predicted / rows[name].to_numpy(float) - 1) for name in ("measured", "high", "low"))
    panel.errorbar(
        error, y, xerr=whiskers(error, low, high), fmt=mark.marker, color=mark.color, markersize=3, elinewidth=0.8
    )


def label_rows(
    panel: Axes,
    groups: list[tuple[str, str, list[float]]],
    places: dict[tuple[str, str, float], float],
) -> None:
    """Loads at the rows, policy and exit setting above each group."""
    ticks = [(place, f"load {load:g}") for (_, _, load), place in places.items()]
    for policy, setting, loads in groups:
        name = policy_name(policy) if setting in PLAIN else f"{policy_name(policy)},\n{exit_name(setting)}"
        head = 1.0 if setting in PLAIN else 1.5
        ticks.append((places[policy, setting, loads[0]] + head, name))
    panel.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
    for label in panel.get_yticklabels()[len(places) :]:
        label.set_fontweight("bold")
    panel.set_ylim(min(places.values()) - 0.8, 0.9)
