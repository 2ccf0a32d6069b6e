"""The figure of a what-if question: latency against arrival rate under each policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from qmodel.answer import Answer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.files import replacing
from qmodel.report.figures.panels import entry, in_order, legend_above, log_ticks, styled
from qmodel.report.names import class_name, policy_name, sentence_start
from qmodel.report.quantity import Scale, scale_for
from qmodel.report.style import POLICY_ORDER, Mark, marks, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
MEAN = "mean_response_s"
PERCENTILE = re.compile(r"p([\d.]+)_response_s")
MOST_CLASSES = 3
"""Panels side by side; more go to further rows."""


def plot_answer(answer: Answer, path: Path) -> None:
    """Draw latency against rate to a PNG, SVG or PDF: one panel a class, one colour a policy.

    The mean is solid with marks, percentiles are lighter, the further out the lighter; where a queue is unstable
    the line ends. Raises InputError for another suffix, and for an answer without a single stable queue.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(str(path), f"'{path.suffix}' is no picture", "write to .png, .svg or .pdf")
    figure = latency_against_rate(answer)
    with style(), replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=200, metadata=undated(path))


def undated(path: Path) -> dict[str, None]:
    """Metadata that leave out dates, so that the same answer gives the same file."""
    return {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None, "Producer": None},
        ".png": {"Software": None},
    }[path.suffix.lower()]


@styled
def latency_against_rate(answer: Answer) -> Figure:
    """One panel a class, one colour a policy: the mean solid, percentiles lighter."""
    stable = [result for result in answer.results if result.stable]
    times = [value for result in stable for value in response_times(result)]
    if not times:
        raise InputError("plot", "no queue of this answer is stable", "lower --rate or add servers")
    scale = scale_for(times, "s")
    classes = class_names(stable)
    columns = min(len(classes), MOST_CLASSES)
    rows = -(-len(classes) // columns)
    figure, panels = new_figure(min(1.0, 0.25 + 0.35 * columns), 0.6 + 2.2 * rows, rows, columns)
    names = in_order([result.policy for result in answer.results], POLICY_ORDER)
    for panel, kind in zip(panels, classes, strict=False):
        for policy, mark in marks(names).items():
            draw_policy(panel, [result for result in stable if result.policy == policy], kind, mark, scale)
        panel.set(title=sentence_start(class_name(kind)), xlabel="arrival rate (1/s)")
        log_ticks(panel)
    for panel in panels[len(classes) :]:
        panel.remove()
    for panel in panels[::columns]:
        panel.set_ylabel(f"response time ({scale.symbol})")
    entries = [entry(policy_name(name), mark) for name, mark in marks(names).items()]
    tails = percentile_names(stable)
    entries.append(entry("mean", linestyle="-", marker="o", markersize=3.4))
    legend_above(figure, [*entries, *(entry(label(m), linestyle="-", alpha=alpha_of(m, tails)) for m in tails)])
    return figure


def response_times(result: PolicyAnswer) -> list[float]:
    """Every response time of an answer (s)."""
    return [
        value
        for part in result.classes
        for name, value in part.metrics.items()
        if value is not None and (name == MEAN or PERCENTILE.fullmatch(name))
    ]


def class_names(results: list[PolicyAnswer]) -> list[str]:
    """All requests together and each class; a single class is all requests."""
    names = list(dict.fromkeys(part.name for result in results for part in result.classes))
    return names if len(names) > 2 else names[:1]


def percentile_names(results: list[PolicyAnswer]) -> list[str]:
    """The percentiles there are, nearest first."""
    found = {
        name for result in results for part in result.classes for name in part.metrics if PERCENTILE.match(name)
    }
    return sorted(found, key=share)


def share(metric: str) -> float:
    """The percentage of a percentile's name.

    >>> share("p99.9_response_s")
    99.9
    """
    found = PERCENTILE.fullmatch(metric)
    assert found is not None
    return float(found[1])


def label(metric: str) -> str:
    """What the legend says of a percentile.

    >>> label("p95_response_s")
    'p95'
    """
    return metric.split("_")[0]


def alpha_of(metric: str, tails: list[str]) -> float:
    """Percentiles are lighter than the mean, the further out the lighter."""
    return 0.6 - 0.35 * tails.index(metric) / max(1, len(tails) - 1)


def draw_policy(panel: Axes, results: list[PolicyAnswer], kind: str, mark: Mark, scale: Scale) -> None:
    """Mean and percentiles of one policy and class."""
    ordered = sorted(results, key=lambda result: result.rate)
    tails = percentile_names(ordered)
    for metric in [*tails, MEAN]:
        found = [(result.rate, metric_of(result, kind, metric)) for result in ordered]
        known = [(rate, value / scale.factor) for rate, value in found if value is not None]
        if not known:
            continue
        look = (
            {"marker": mark.marker}
            if metric == MEAN
            else {"alpha": alpha_of(metric, tails), "marker": mark.marker if len(known) == 1 else ""}
        )
        panel.plot(*zip(*known, strict=True), color=mark.color, **look)


def metric_of(result: PolicyAnswer, kind: str, metric: str) -> float | None:
    """A metric of a class; None where it is not known."""
    return next((part.metrics.get(metric) for part in result.classes if part.name == kind), None)
