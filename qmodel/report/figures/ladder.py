"""The gap ladder: from the live run to theory, one change a rung."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmodel.report.figures.panels import chosen, in_order, styled, time_scale, whiskers
from qmodel.report.quantity import fixed
from qmodel.report.style import INK, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qmodel.report.quantity import Scale

RUNGS = {
    "live": "live run",
    "measured services": "same arrivals and\nmeasured service times",
    "fitted services": "fitted service times",
    "poisson arrivals": "Poisson arrivals",
    "theory": "theory",
}
"""Rungs from the measurement down to the model, with what each changes."""

UP, DOWN = "#d55e00", "#0072b2"


@styled
def gap_ladder(ladder: pd.DataFrame, policy: str, exit_setting: str = "none", class_name: str = "all") -> Figure:
    """Mean response time rung by rung, one panel a load: each bar is what one change does, in per cent of the top.

    Whiskers are 95 % intervals; a rung without one is exact. A bar whose ends lie inside the whiskers of both
    rungs explains nothing.
    """
    rows = chosen(ladder, policy=policy, exit=exit_setting, **{"class": class_name})
    loads = sorted(set(rows.load))
    scale = time_scale(rows.mean_response_s)
    names = in_order(rows.rung, RUNGS)
    figure, panels = new_figure(height=0.75 + 0.34 * len(names), columns=len(loads), sharey=True)
    for panel, load in zip(panels, loads, strict=True):
        draw_ladder(panel, rows[rows.load == load].set_index("rung").reindex(names), scale)
        panel.set(title=f"load {load:g}", xlabel=f"mean response ({scale.symbol})")
    panels[0].set_yticks(-np.arange(len(names)), [RUNGS.get(name, name) for name in names])
    return figure


def draw_ladder(panel: Axes, rungs: pd.DataFrame, scale: Scale) -> None:
    """Bars from rung to rung, and the rungs themselves with their intervals."""
    value, low, high = (rungs[name].to_numpy(float) / scale.factor for name in ("mean_response_s", "low", "high"))
    y = -np.arange(len(value), dtype=float)
    for i in range(1, len(value)):
        if np.isfinite(value[i - 1 : i + 1]).all():
            draw_step(panel, value[i - 1], value[i], y[i], value[0])
    panel.errorbar(
        value, y, xerr=whiskers(value, low, high), fmt="o", color=INK, markersize=3.2, elinewidth=0.9, zorder=3
    )
    reach = np.nanmax(np.concatenate([value, high[np.isfinite(high)]]))
    start = np.nanmin(np.concatenate([value, low[np.isfinite(low)]]))
    room = (reach - start) or reach
    panel.set_xlim(start - 0.15 * room, reach + 0.55 * room)
    panel.set_ylim(y[-1] - 0.6, 0.6)
    panel.locator_params(axis="x", nbins=4)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)


def draw_step(panel: Axes, before: float, after: float, y: float, whole: float) -> None:
    """What one change does: a bar from the rung before, with the change in per cent of `whole`."""
    color = UP if after > before else DOWN
    panel.plot([before, before], [y + 1, y], color="#aaaaaa", linewidth=0.6, zorder=1)
    panel.barh(y, after - before, left=before, height=0.42, color=color, alpha=0.35, linewidth=0, zorder=2)
    change = fixed(100 * (after - before) / whole, 1, signed=True)
    panel.annotate(
        f"{change} %", (max(before, after), y), (4, 5), textcoords="offset points", fontsize=6.2, color=color
    )
