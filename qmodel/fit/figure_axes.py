"""What the figures of a fit have in common: colours, style, axes whose ticks are the levels measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from qmodel.fit.cells import Array
from qmodel.fit.result import FitResult
from qmodel.service.terms import level_text
from qmodel.service.units import stem

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart with every kind of colour vision."""

MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#666666"
DECADES = 500.0
"""A logarithmic axis that spans less is labelled at 1, 2 and 5."""

NARROW, NARROW_TICKS = 4.0, (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""One that spans less still is labelled at all of these."""

WIDE = 8.0
"""An axis whose largest value is this many times its smallest, or more, is logarithmic."""

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "figure.dpi": 120,
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures of a fit, for the time of a with block."""
    with rc_context(STYLE):
        yield


def reading_scale(result: FitResult, values: Array) -> tuple[float, str]:
    """Factor and unit in which the middle value reads well."""
    middle = float(np.median(values))
    number, unit = result.model.unit.scaled(middle)
    return number / middle, unit.replace("u", "\N{MICRO SIGN}")


def response_label(result: FitResult, unit: str) -> str:
    """`latency (ms)`."""
    return stem(result.measurements.response).replace("_", " ") + (f" ({unit})" if unit else "")


def response_axis(axes: Axes, result: FitResult, unit: str, values: Array) -> None:
    """The response upwards, on a logarithmic axis where it spans much."""
    axes.set_ylabel(response_label(result, unit))
    if values.max() > WIDE * values.min():
        log_upwards(axes, values)


def log_upwards(axes: Axes, values: Array) -> None:
    """A logarithmic axis for these values, with enough numbers to read it by."""
    axes.set_yscale("log")
    plain_log(axes.yaxis)
    span = float(np.max(values)) / float(np.min(values))
    if span < DECADES:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span > NARROW else NARROW_TICKS))


def level_axis(axes: Axes, levels: Any, names: Sequence[Any] | None = None) -> None:
    """Ticks at the levels themselves while they are few; a logarithmic axis where they span much."""
    if names is not None:
        words = [str(name) for name in names]
        slanted: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(levels, words, **(slanted if max(map(len, words)) > 6 else {}))
        axes.set_xlim(levels[0] - 0.5, levels[-1] + 0.5)
        return
    if levels.min() > 0 and levels.max() >= WIDE * levels.min():
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    if len(levels) <= 8:
        axes.set_xticks(levels, [level_words(level) for level in levels])
        axes.xaxis.set_minor_locator(NullLocator())


def plain_log(axis: Any) -> None:
    """1, 10, 100 rather than powers, and no numbers between."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def between(levels: Array) -> Array:
    """Points between the levels, for a line."""
    low, high = float(levels.min()), float(levels.max())
    return np.geomspace(low, high, 200) if low > 0 else np.linspace(low, high, 200)


def level_words(level: Any) -> str:
    """A level as text."""
    return str(level_text(level))


def factor_label(name: str | None) -> str:
    """A factor's name as people read it."""
    return (name or "").replace("_", " ")
