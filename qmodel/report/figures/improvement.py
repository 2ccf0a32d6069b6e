"""What each strategy brings against the baseline, with what it costs in quality beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.report.figures.panels import (
    LONG,
    chosen,
    class_marks,
    entry,
    in_order,
    legend_above,
    signed_tick,
    styled,
    whiskers,
)
from qmodel.report.names import PLAIN, exit_name, policy_name
from qmodel.report.quantity import fixed
from qmodel.report.style import FAINT, INK, POLICY_ORDER, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUALITY_COLOR = "#009e73"
DASHED = (0, (3, 2))
FLOOR = -150.0
"""Improvements below this (%) are marked at the edge with their number, so that the others can be told apart."""


@styled
def improvements(
    improvement: pd.DataFrame,
    metric: str = "mean_response_s",
    basis: str = "equal load",
    loads: Sequence[float] | None = None,
    quality_name: str = "quality",
    quality_unit: str = "ratio",
) -> Figure:
    """Improvement in per cent against the baseline, one row a strategy, one panel a load; quality at the right.

    Right of zero is better than the baseline. Marks are classes; a hollow mark's interval reaches zero, so the
    sign of its improvement is not certain; a mark without whiskers has no interval. Quality is that of all
    requests together where it is known, a share ("ratio", drawn in per cent) or a plain number ("").
    """
    rows = chosen(improvement, metric=metric, basis=basis, load=loads)
    strategies = strategies_of(rows)
    kinds = in_order(rows["class"], ["all"])
    shown = sorted(set(rows.load.dropna())) or [None]
    judged = bool(rows.quality.notna().any())
    figure, panels = new_figure(
        height=0.95 + 0.36 * len(strategies),
        columns=len(shown) + judged,
        sharey=True,
        width_ratios=[1.0] * len(shown) + [1.0] * judged,
    )
    reach = common_reach(rows)
    for panel, load in zip(panels, shown, strict=False):
        here = rows if load is None else rows[rows.load == load]
        draw_panel(panel, here, strategies, kinds, reach)
        panel.set(title=basis if load is None else f"load {load:g}", xlim=reach)
    if judged:
        draw_quality(panels[-1], rows, strategies, quality_name, quality_unit)
    panels[0].set_yticks(-np.arange(len(strategies)), [strategy_lines(*pair) for pair in strategies])
    for panel in panels:
        panel.tick_params(axis="y", length=0)
    panels[0].set_ylim(-len(strategies) + 0.4, 0.6)
    figure.supxlabel(f"improvement of {LONG.get(metric, metric)} over {baseline_of(rows)} (%)", fontsize=7.5)
    entries = [entry(k, m, linestyle="none") for k, m in class_marks(kinds).items()]
    if judged:
        entries.append(entry(f"{quality_name} of the baseline", color=INK, linestyle=DASHED, linewidth=0.8))
    legend_above(figure, entries)
    return figure


def strategies_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Policy and exit setting of each strategy, plain policies first."""
    exits = in_order(rows.exit, ["none"])
    pairs = set(zip(rows.policy, rows.exit, strict=True))
    return [(p, e) for e in exits for p in in_order(rows.policy, POLICY_ORDER) if (p, e) in pairs]


def strategy_lines(policy: str, setting: str) -> str:
    """A strategy in short lines.

    >>> strategy_lines("fcfs", "fewer-steps")
    'FCFS,\\nfewer steps'
    """
    return policy_name(policy) if setting in PLAIN else f"{policy_name(policy)},\n{exit_name(setting)}"


def baseline_of(rows: pd.DataFrame) -> str:
    """What the improvements are over."""
    return " or ".join(policy_name(name) for name in dict.fromkeys(rows.baseline.astype(str)))


def draw_panel(
    panel: Axes,
    rows: pd.DataFrame,
    strategies: list[tuple[str, str]],
    kinds: Sequence[str],
    reach: tuple[float, float],
) -> None:
    """The marks of all classes at one load."""
    panel.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    place = {pair: -i for i, pair in enumerate(strategies)}
    for i, kind in enumerate(kinds):
        here = rows[rows["class"] == kind]
        shift = 0.2 * ((len(kinds) - 1) / 2 - i)
        y = np.array([place[pair] + shift for pair in zip(here.policy, here.exit, strict=True)])
        far = here.improvement_percent.to_numpy(float) < reach[0]
        draw_marks(panel, here[~far], y[~far], kind, kinds)
        draw_far(panel, here[far], y[far], class_marks(kinds)[kind].color, reach[0])
    panel.xaxis.set_major_formatter(signed_tick)
    panel.locator_params(axis="x", nbins=3)
    panel.grid(axis="y", visible=False)


def draw_marks(panel: Axes, rows: pd.DataFrame, y: np.ndarray, kind: str, kinds: Sequence[str]) -> None:
    """The marks of one class, hollow where the sign is not certain."""
    mark = class_marks(kinds)[kind]
    value, low, high = (rows[name].to_numpy(float) for name in ("improvement_percent", "low", "high"))
    uncertain = np.isfinite(low) & np.isfinite(high) & (low <= 0) & (high >= 0)
    for hollow in (False, True):
        these = uncertain == hollow
        panel.errorbar(
            value[these],
            y[these],
            xerr=whiskers(value[these], low[these], high[these]),
            fmt=mark.marker,
            color=mark.color,
            markersize=3.4,
            markerfacecolor="white" if hollow else mark.color,
            markeredgewidth=0.9,
            elinewidth=0.8,
        )


def draw_far(panel: Axes, rows: pd.DataFrame, y: np.ndarray, color: str, edge: float) -> None:
    """Numbers at the edge for what lies beyond it."""
    for value, height in zip(rows.improvement_percent.to_numpy(float), y, strict=True):
        panel.annotate(
            f"◂ {fixed(value, 0)}",
            (edge, height),
            (1, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.2,
            color=color,
        )


def common_reach(rows: pd.DataFrame) -> tuple[float, float]:
    """Ends of the improvement axis, the same in all panels, with zero inside, down to `FLOOR` at most."""
    values = rows[["improvement_percent", "low", "high"]].to_numpy(float)
    known = np.clip(np.append(values[np.isfinite(values)], 0.0), FLOOR, None)
    margin = 0.06 * float(known.max() - known.min()) or 1.0
    return float(known.min()) - margin, float(known.max()) + margin


def draw_quality(panel: Axes, rows: pd.DataFrame, strategies: list[tuple[str, str]], name: str, unit: str) -> None:
    """Quality of each strategy over its loads, against the baseline's."""
    if "all" in set(rows["class"]):
        rows = rows[rows["class"] == "all"]
    scale, decimals = (100.0, 1) if unit == "ratio" else (1.0, 3)
    for i, (policy, setting) in enumerate(strategies):
        here = rows[(rows.policy == policy) & (rows.exit == setting)]
        values = scale * np.unique(here.quality.dropna().to_numpy(float))
        if len(values):
            panel.plot(values[[0, -1]], [-i, -i], color=QUALITY_COLOR, linewidth=2.5, alpha=0.4)
            panel.plot(values, np.full(len(values), -i), "o", color=QUALITY_COLOR, markersize=3)
            panel.annotate(
                spread(values, decimals),
                (values.mean(), -i),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=6.2,
                zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
    baselines = scale * rows.baseline_quality.dropna().to_numpy(float)
    if len(baselines):
        panel.axvspan(baselines.min(), baselines.max(), color="#eeeeee", linewidth=0, zorder=0)
        panel.axvline(float(baselines.mean()), color=INK, linewidth=0.8, linestyle=DASHED, zorder=1)
    panel.set_title(f"{name} (%)" if unit == "ratio" else name)
    panel.locator_params(axis="x", nbins=3)
    panel.margins(x=0.25)
    panel.grid(axis="y", visible=False)


def spread(values: np.ndarray, decimals: int = 1) -> str:
    """A value, or the ends of several."""
    ends = dict.fromkeys(fixed(float(v), decimals) for v in (values[0], values[-1]))
    return "–".join(ends)
