"""What the figures share: panels that say which rows they show, axes with units, legends outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

from qmodel.errors import InputError
from qmodel.report.quantity import Scale, fixed, scale_for, significant
from qmodel.report.style import Mark, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

METRICS = {
    "mean_response_s": Mark("#1a1a1a", "o"),
    "p50_response_s": Mark("#6baed6", "^"),
    "p95_response_s": Mark("#2171b5", "s"),
    "p99_response_s": Mark("#08306b", "D"),
    "mean_wait_s": Mark("#8c6d31", "v"),
}
"""Metrics in their order: the mean in ink, percentiles darker the further out."""

SHORT = {
    "mean_response_s": "mean",
    "p50_response_s": "median",
    "p95_response_s": "p95",
    "p99_response_s": "p99",
    "mean_wait_s": "mean wait",
}

LONG = {name: ("mean response time" if name == "mean_response_s" else short) for name, short in SHORT.items()} | {
    "p50_response_s": "median response time",
    "p95_response_s": "95th percentile of response time",
    "p99_response_s": "99th percentile of response time",
}

CLASS_MARKS = (Mark("#7a4fa3", "o"), Mark("#e69f00", "s"), Mark("#009e73", "^"), Mark("#56b4e9", "D"))


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """The drawing function, with the report's look whoever calls it."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return drawn


def chosen(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows where each named column has the wanted value (None: any; a sequence: any of them).

    Raises InputError when nothing is left.
    """
    rows = frame
    for column, value in wanted.items():
        if value is not None:
            rows = rows[rows[column].isin([value] if isinstance(value, str | float | int) else list(value))]  # type: ignore[call-overload]
    if rows.empty:
        asked = ", ".join(f"{column} = {value}" for column, value in wanted.items() if value is not None)
        raise InputError("figure", f"no rows with {asked}", "name a setting that the study has")
    return rows


def classes_of(frame: pd.DataFrame) -> list[str]:
    """The request classes in order of appearance; all together only where there is no other."""
    names = list(dict.fromkeys(frame["class"]))
    return [name for name in names if name != "all"] or names


def class_marks(names: Sequence[str]) -> dict[str, Mark]:
    """Mark of each class; all together in ink."""
    single = [name for name in names if name != "all"]
    coloured = {name: CLASS_MARKS[i % len(CLASS_MARKS)] for i, name in enumerate(single)}
    return {name: coloured.get(name, Mark("#1a1a1a", "D")) for name in names}


def in_order(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """Known values in their order, others behind."""
    present = list(dict.fromkeys(values))
    known = [name for name in order if name in present]
    return known + [name for name in present if name not in known]


def time_scale(*columns: pd.Series) -> Scale:
    """The unit that suits all these times (s)."""
    return scale_for([float(v) for column in columns for v in column], "s")


def whiskers(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths of error bars; none where an end is not known."""
    known = np.isfinite(low) & np.isfinite(high)
    below, above = np.where(known, value - low, 0.0), np.where(known, high - value, 0.0)
    return np.maximum(np.array([below, above]), 0.0)


def log_ticks(axis: Axes, which: str = "y") -> None:
    """Plain numbers (1, 2, 5, 10, ...) on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    target = axis.yaxis if which == "y" else axis.xaxis
    (axis.set_yscale if which == "y" else axis.set_xscale)("log")
    low, high = axis.get_ylim() if which == "y" else axis.get_xlim()
    decades = float(np.log10(high / low))
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
    target.set_major_locator(LogLocator(subs=steps, numticks=12))
    target.set_minor_locator(NullLocator())
    target.set_major_formatter(FuncFormatter(plain_tick))


def plain_tick(value: float, _position: object = None) -> str:
    """A tick without needless digits.

    >>> plain_tick(0.50), plain_tick(20.0), plain_tick(1000.0)
    ('0.5', '20', '1,000')
    """
    if value >= 1:
        return fixed(value, 0 if value == round(value) else 1)
    return significant(value, 1)


def signed_tick(value: float, _position: object = None) -> str:
    """A tick that shows on which side of zero it is."""
    return fixed(value, 0 if value == round(value) else 1, signed=True)


def load_ticks(panel: Axes, loads: Iterable[float]) -> None:
    """The loads themselves as ticks, where there are few."""
    known = sorted(set(loads))
    if len(known) <= 6:
        panel.set_xticks(known, [f"{load:g}" for load in known])
    if known[0] < known[-1]:
        margin = 0.08 * (known[-1] - known[0])
        panel.set_xlim(known[0] - margin, known[-1] + margin)
    panel.set_xlabel("load ρ")


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend for all panels, in as many rows as its entries need."""
    characters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    rows = -(-characters // round(16 * figure.get_size_inches()[0]))
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        ncols=-(-len(handles) // rows),
        columnspacing=1.3,
        handletextpad=0.5,
    )


def entry(label: str, mark: Mark | None = None, **look: object) -> Artist:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    settings: dict[str, object] = {"color": "#555555", "linestyle": "none"} | look
    if mark is not None:
        settings = {"color": mark.color, "marker": mark.marker, "linestyle": mark.line} | look
    return Line2D([], [], label=label, **settings)  # type: ignore[arg-type]
