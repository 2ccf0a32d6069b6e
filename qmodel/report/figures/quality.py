"""Quality against denoising steps, beside the latency that the steps cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qmodel.report.figures.panels import log_ticks, plain_tick, styled, time_scale, whiskers
from qmodel.report.style import FAINT, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOR = "#0072b2"


@styled
def quality_against_steps(
    quality: pd.DataFrame, latency: pd.DataFrame, used: Mapping[str, int] | None = None
) -> Figure:
    """Agreement of a classifier and Fréchet distance against steps, beside the latency of one image.

    `quality` is `measure.quality.quality_by_steps`; `latency` has `steps`, `latency_s` and, where known, `low`
    and `high`. Dashed lines are what real images reach; `used` marks step counts by name.
    """
    figure, panels = new_figure(height=2.35, columns=3)
    draw_agreement(panels[0], quality.sort_values("steps"))
    draw_distance(panels[1], quality.sort_values("steps"))
    draw_latency(panels[2], latency.sort_values("steps"))
    steps = sorted({*quality.steps, *latency.steps})
    for panel in panels:
        panel.set_xscale("log", base=2)
        panel.set_xticks(thinned(steps))
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter(plain_tick)
        panel.set_xlabel("denoising steps")
        for name, count in (used or {}).items():
            mark_steps(panel, name if panel is panels[0] else "", count)
    return figure


def thinned(steps: list[int]) -> list[int]:
    """Ticks that stand a factor of 1.6 apart at least, from the largest down."""
    kept: list[int] = []
    for step in reversed(steps):
        if not kept or step * 1.6 <= kept[-1]:
            kept.append(step)
    return kept[::-1]


def draw_agreement(panel: Axes, quality: pd.DataFrame) -> None:
    """Share of images that show what was asked for."""
    value, low, high = (
        100 * quality[name].to_numpy(float) for name in ("agreement", "agreement_low", "agreement_high")
    )
    panel.errorbar(quality.steps, value, whiskers(value, low, high), fmt="o-", color=COLOR)
    ceiling(panel, 100 * float(quality.classifier_accuracy.iloc[0]), "real images", above=True, left=True)
    panel.set(title="classifier agreement", ylabel="images recognised (%)")
    panel.set_ylim(top=min(108.0, panel.get_ylim()[1] + 4))


def draw_distance(panel: Axes, quality: pd.DataFrame) -> None:
    """Distance of the crowd of images from real ones."""
    panel.plot(quality.steps, quality.frechet_distance, "s-", color=COLOR)
    ceiling(panel, float(quality.real_frechet_distance.iloc[0]), "real images", above=False)
    panel.set(title="Fréchet distance", ylabel="distance (grey levels²)", yscale="log")
    panel.set_ylim(bottom=0.6 * min(panel.get_ylim()[0], float(quality.real_frechet_distance.iloc[0])))
    log_ticks(panel)


def draw_latency(panel: Axes, latency: pd.DataFrame) -> None:
    """What the steps cost in time."""
    scale = time_scale(latency.latency_s)
    value = latency.latency_s.to_numpy(float) / scale.factor
    if {"low", "high"} <= set(latency.columns):
        ends = [latency[name].to_numpy(float) / scale.factor for name in ("low", "high")]
        panel.errorbar(latency.steps, value, whiskers(value, *ends), fmt="^-", color="#d55e00")
    else:
        panel.plot(latency.steps, value, "^-", color="#d55e00")
    panel.set(title="latency of one image", ylabel=f"service time ({scale.symbol})")
    log_ticks(panel)


def ceiling(panel: Axes, value: float, text: str, above: bool, left: bool = False) -> None:
    """What real images reach."""
    panel.axhline(value, color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)))
    panel.annotate(
        text,
        (0.0 if left else 1.0, value),
        (2 if left else -2, 2 if above else -2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom" if above else "top",
        fontsize=6.5,
        color="#666666",
    )


def mark_steps(panel: Axes, name: str, count: int) -> None:
    """A step count that some setting uses."""
    panel.axvline(count, color="#cccccc", linewidth=0.8, zorder=0)
    panel.annotate(
        name,
        (count, 0.03),
        (2, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        rotation=90,
        fontsize=6.2,
        color="#777777",
        va="bottom",
    )
