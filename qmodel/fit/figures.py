"""Figures of a fit: function against data with residuals, QQ plot, main effects, interactions.

Each function returns a matplotlib Figure; nothing is shown or saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from qmodel.errors import InputError, nearest
from qmodel.fit.cells import Array
from qmodel.fit.diagnostics import relative_errors
from qmodel.fit.figure_axes import (
    COLOURS,
    GREY,
    MARKERS,
    between,
    factor_label,
    level_axis,
    level_words,
    log_upwards,
    reading_scale,
    response_axis,
    response_label,
    style,
)
from qmodel.fit.result import FitResult
from qmodel.fit.roofline_figure import roofline
from qmodel.service.terms import level_text


def fit_against_data(result: FitResult, factor: str | None = None, by: str | None = None) -> Figure:
    """The function (lines, with the 95 % interval of the mean) against cell means and repetitions; below, errors.

    `factor` is on the axis (default: the numeric factor with most levels), lines are for levels of `by` (default:
    the factor with the next largest effect). Other factors are held at the level that the title names; the lower
    panel has every cell.
    """
    factor, by = _axes_of(result, factor, by)
    with style():
        figure = Figure(figsize=(6.2, 5.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, height_ratios=[2.6, 1], sharex=True)
        scale, unit = reading_scale(result, result.cells.mean)
        held = _held(result, [name for name in (factor, by) if name])
        for k, level in enumerate(_shown_levels(result, by)):
            colour = COLOURS[k % len(COLOURS)]
            _one_line(
                top, result, factor, held | ({by: level} if by else {}), scale, colour, MARKERS[k % len(MARKERS)]
            )
            if by:
                top.plot([], [], color=colour, marker=MARKERS[k % len(MARKERS)], ms=4, label=level_words(level))
        response_axis(top, result, unit, result.cells.mean)
        others = ", ".join(f"{name} = {level_words(level)}" for name, level in held.items())
        top.set_title(
            "Lines: fitted function. Points: means; dots: repetitions" + (f" ({others})" if others else "")
        )
        if by:
            top.legend(title=factor_label(by), ncols=1, loc="upper left")
        _error_panel(bottom, result, factor)
        bottom.set_xlabel(factor_label(factor))
        level_axis(bottom, np.unique(result.cells.levels[factor]))
    return figure


def residual_qq(result: FitResult) -> Figure:
    """Residuals of the log response against normal quantiles, with the band that normal samples keep to."""
    sample = np.sort(_standardised(result))
    count = len(sample)
    quantiles = stats.norm.ppf((np.arange(1, count + 1) - 0.5) / count)
    order = np.arange(1, count + 1)
    low, high = (stats.norm.ppf(stats.beta.ppf(p, order, count + 1 - order)) for p in (0.025, 0.975))
    pick = np.unique(np.linspace(0, count - 1, min(count, 1500)).astype(int))
    with style():
        figure = Figure(figsize=(4.4, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(
            quantiles[pick], low[pick], high[pick], color="#DCE9F2", label="95 % of normal samples, point by point"
        )
        axes.plot(quantiles[[0, -1]], quantiles[[0, -1]], color=GREY, lw=1.0, label="normal")
        axes.plot(quantiles[pick], sample[pick], ".", ms=4, color=COLOURS[1], label="residuals")
        axes.set_xlabel("normal quantile (standard deviations)")
        axes.set_ylabel("residual of the log response (standard deviations)")
        axes.set_title(f"QQ plot of {count} residuals")
        axes.legend(loc="upper left")
    return figure


def main_effects(result: FitResult) -> Figure:
    """Geometric mean over the cells at each level of each factor, with the range of the cells' middle half."""
    names = [
        name for name in result.measurements.factors if len(np.unique(level_text(result.cells.levels[name]))) > 1
    ]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    scale, unit = reading_scale(result, result.cells.mean)
    with style():
        figure = Figure(figsize=(2.3 * columns + 0.8, 2.5 * rows + 0.3), layout="constrained")
        panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
        for axes, name in zip(panels, names, strict=False):
            levels, groups = _by_level(result, name)
            position = np.asarray(levels, float) if name in result.measurements.numeric else np.arange(len(levels))
            middle = np.array([np.exp(np.mean(np.log(g))) for g in groups]) * scale
            low, high = (np.array([np.quantile(g, q) for g in groups]) * scale for q in (0.25, 0.75))
            axes.vlines(position, low, high, color="#9CC3DD", lw=4, alpha=0.8)
            line = "-o" if name in result.measurements.numeric else "o"  # between names there is nothing
            axes.plot(position, middle, line, ms=4, color=COLOURS[0])
            axes.set_xlabel(factor_label(name))
            level_axis(axes, position, None if name in result.measurements.numeric else levels)
        for axes in panels[len(names) :]:
            axes.remove()
        for axes in panels[: len(names) : columns]:
            response_axis(axes, result, unit, result.cells.mean)
        figure.suptitle("Geometric mean of the cells at each level; bars: middle half of the cells", fontsize=9.5)
    return figure


def interaction(result: FitResult, pair: tuple[str, str] | None = None) -> Figure:
    """Geometric means over two factors (default: the pair whose interaction explains most).

    The response is drawn on a logarithmic axis: where the lines run parallel, the two effects multiply.
    """
    first, second = pair or _strongest_pair(result)
    for name in (first, second):
        _check(result, name)
    scale, unit = reading_scale(result, result.cells.mean)
    text = {name: level_text(result.cells.levels[name]) for name in (first, second)}
    with style():
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.subplots()
        levels = _ordered(result, first)
        numeric = first in result.measurements.numeric
        heights: list[float] = []
        for k, other in enumerate(_thinned(_ordered(result, second), len(COLOURS))):
            points = [
                (level, (text[first] == level_words(level)) & (text[second] == level_words(other)))
                for level in levels
            ]
            drawn = [
                (level, np.exp(np.mean(np.log(result.cells.mean[mask])))) for level, mask in points if mask.any()
            ]
            heights += [y * scale for _, y in drawn]
            x = [level if numeric else levels.index(level) for level, _ in drawn]
            axes.plot(
                x,
                [y * scale for _, y in drawn],
                color=COLOURS[k],
                marker=MARKERS[k],
                ms=4,
                label=level_words(other),
            )
        log_upwards(axes, np.array(heights))
        axes.set_ylabel(response_label(result, unit))
        axes.set_xlabel(factor_label(first))
        level_axis(
            axes, np.asarray(levels, float) if numeric else np.arange(len(levels)), None if numeric else levels
        )
        axes.legend(title=factor_label(second), loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.set_title("Parallel lines would mean that the effects multiply")
    return figure


def fit_figures(result: FitResult) -> dict[str, Figure]:
    """Every figure that this fit admits, by name (interactions need two factors, a curve a numeric
    one, a roofline the work of its terms)."""
    m = result.measurements
    wanted = {
        "fit": bool(m.numeric),
        "qq": True,
        "main-effects": True,
        "interaction": len(m.factors) > 1,
        "roofline": result.hardware is not None and result.hardware.work.known,
    }
    return {name: FIGURES[name](result) for name, possible in wanted.items() if possible}


FIGURES: Mapping[str, Callable[[FitResult], Figure]] = {
    "fit": fit_against_data,
    "qq": residual_qq,
    "main-effects": main_effects,
    "interaction": interaction,
    "roofline": roofline,
}
"""All figures by name."""


# --- what is drawn ---------------------------------------------------------------------------------------


def _one_line(
    axes: Axes, result: FitResult, factor: str, held: Mapping[str, Any], scale: float, colour: str, marker: str
) -> None:
    """One line with its interval, the cell means and the repetitions at the held levels."""
    here = np.ones(len(result.cells), bool)
    for name, level in held.items():
        here &= level_text(result.cells.levels[name]) == level_words(level)
    levels = np.unique(result.cells.levels[factor])
    dense = between(levels)
    value = np.asarray(result.model.predict({**held, factor: dense})) * np.ones(len(dense))
    low, high = result.model.interval({**held, factor: dense})
    axes.fill_between(dense, low * scale, high * scale, color=colour, alpha=0.18, lw=0)
    axes.plot(dense, value * scale, color=colour)
    rows = np.flatnonzero(here[result.cells.row_cell])
    rows = rows[:: max(1, len(rows) // 2000)]
    x = np.asarray(result.cells.levels[factor])
    axes.plot(
        x[result.cells.row_cell[rows]], result.measurements.y[rows] * scale, ".", ms=2, color=colour, alpha=0.35
    )
    axes.plot(x[here], result.cells.mean[here] * scale, marker, ms=4.5, color=colour, mec="white", mew=0.6)


def _error_panel(axes: Axes, result: FitResult, factor: str) -> None:
    """Relative error of every cell, with the band that replicate noise alone would fill."""
    x = np.asarray(result.cells.levels[factor])
    error = 100.0 * relative_errors(result)
    if result.cells.noise.known:
        typical = 200.0 * np.sqrt(np.median(result.cells.mean_variance))
        axes.axhspan(-typical, typical, color="#EDEDED", label="twice the noise of a cell's mean")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), fontsize=7.5)
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.plot(x, error, ".", ms=4, color=COLOURS[1])
    axes.set_ylabel("error of the\nfunction (%)")
    limit = 1.15 * max(float(np.max(np.abs(error))), 1e-3)
    axes.set_ylim(-limit, limit)


def _standardised(result: FitResult) -> Array:
    """Residuals of the analysis of variance or, without it, of log response about log cell means."""
    if result.anova is not None:
        residual = result.anova.data["residual"].to_numpy(float)
    else:
        cells = result.cells
        against = cells.mean if cells.noise.known else np.asarray(result.model.predict(cells.levels))
        residual = np.log(result.measurements.y / (against * np.ones(len(cells)))[cells.row_cell])
    spread = float(np.std(residual, ddof=1))
    return np.asarray((residual - residual.mean()) / (spread or 1.0))


# --- which factors and levels ----------------------------------------------------------------------------


def _axes_of(result: FitResult, factor: str | None, by: str | None) -> tuple[str, str | None]:
    m = result.measurements
    if not m.numeric:
        raise InputError("figure", "needs a numeric factor for its axis", "draw the main effects instead")
    for name in (factor, by):
        if name is not None:
            _check(result, name)
    counts = {name: len(np.unique(result.cells.levels[name])) for name in m.numeric}
    chosen = factor or max(m.numeric, key=lambda name: counts[name])
    if by is None:
        order = [name for name in _by_importance(result) if name != chosen and name in result.model.factors]
        by = order[0] if order else None
    return chosen, by


def _by_importance(result: FitResult) -> list[str]:
    names = list(result.measurements.factors)
    if result.anova is None:
        return names
    shares = result.anova.effects()["share"]
    return sorted(names, key=lambda name: -float(shares.get(name, 0.0)))


def _strongest_pair(result: FitResult) -> tuple[str, str]:
    names = _by_importance(result)
    if len(names) < 2:
        raise InputError("interaction", "needs two factors", "measure a second one")
    if result.anova is not None:
        pairs = [str(effect).split(":") for effect in result.anova.effects().index if str(effect).count(":") == 1]
        if pairs:
            return max(pairs[0], key=lambda n: _levels(result, n)), min(
                pairs[0][::-1], key=lambda n: _levels(result, n)
            )
    return names[0], names[1]


def _levels(result: FitResult, name: str) -> int:
    return len(np.unique(level_text(result.cells.levels[name])))


def _check(result: FitResult, name: str) -> None:
    if name not in result.measurements.factors:
        raise InputError("figure", f"'{name}' is not a factor", nearest(name, list(result.measurements.factors)))


def _held(result: FitResult, drawn: Sequence[str]) -> dict[str, Any]:
    """The level at which each factor that is not drawn is held: its reference, or its commonest middle level."""
    held: dict[str, Any] = {}
    for name in result.measurements.factors:
        if name not in drawn:
            levels = _ordered(result, name)
            held[name] = result.model.reference.get(name, levels[(len(levels) - 1) // 2])
    return held


def _shown_levels(result: FitResult, by: str | None) -> list[Any]:
    return _thinned(_ordered(result, by), len(COLOURS)) if by else [None]


def _thinned(levels: list[Any], most: int) -> list[Any]:
    """At most `most` levels, evenly spread, the first and the last among them."""
    return [
        levels[k] for k in np.unique(np.linspace(0, len(levels) - 1, min(most, len(levels))).round().astype(int))
    ]


def _ordered(result: FitResult, name: str) -> list[Any]:
    values = result.cells.levels[name]
    return np.unique(values if name in result.measurements.numeric else level_text(values)).tolist()


def _by_level(result: FitResult, name: str) -> tuple[list[Any], list[Array]]:
    """Cell means at each level; of very many numeric levels, in twelve groups at their geometric middle."""
    levels = _ordered(result, name)
    text = level_text(result.cells.levels[name])
    if len(levels) <= 40:
        return levels, [result.cells.mean[text == level_words(level)] for level in levels]
    values = np.asarray(result.cells.levels[name], float)
    parts = np.array_split(np.argsort(values, kind="stable"), 12)
    return [float(np.median(values[part])) for part in parts], [result.cells.mean[part] for part in parts]
