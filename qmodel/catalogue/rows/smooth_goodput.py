"""R29: smooth goodput: a metric that neither delaying nor dropping can improve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import at_most, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.metrics.many_streams import smooth_goodput

if TYPE_CHECKING:
    from qmodel.simulation.iterations.timelines import Timelines

WAITED, SPEED = 1.0, 8.0


def smooth(lines: Timelines) -> float:
    """Smooth goodput of the readers, tokens a second."""
    return smooth_goodput(
        lines.token_s, float(lines.arrival_s[-1]), awaited_s=list(lines.arrival_s + WAITED), tokens_per_s=SPEED
    )


def tail_gap(lines: Timelines) -> float:
    """99th percentile of the gaps between tokens (s)."""
    return float(np.percentile(np.concatenate([np.diff(line) for line in lines.token_s]), 99))


def held_back(line: np.ndarray) -> np.ndarray:
    """The same tokens, none before its turn in an even stream from the first to the last."""
    return np.maximum(line, np.linspace(line[0], line[-1], line.size)) if line.size else line


def accept(case: Case) -> Iterator[Check]:
    """Holding tokens back improves the tail gap, dropping the late improves the mean wait; the metric falls."""
    from qmodel.simulation.iterations.timelines import timelines

    lines = timelines(case.scenario({"class.readers.arrivals.rate": 2.4}), 2_000, case.seed)
    even = replace(lines, token_s=tuple(held_back(line) for line in lines.token_s))
    late = replace(lines, token_s=tuple(line + 2.0 for line in lines.token_s))
    kept = [
        line if line[0] - arrival < 20 else line[:0]
        for line, arrival in zip(lines.token_s, lines.arrival_s, strict=True)
    ]
    dropped = replace(lines, token_s=tuple(kept))
    yield at_most("p99 gap with tokens held back", tail_gap(even), "before", tail_gap(lines))
    for what, changed in (("held back evenly", even), ("2 s later", late), ("the late dropped", dropped)):
        yield at_most(f"smooth goodput, {what},", smooth(changed), "before", smooth(lines))
    yield true(f"{sum(not line.size for line in kept)} requests were dropped", any(not line.size for line in kept))


ROW = Row(
    number=29,
    name="smooth-goodput",
    title="a goodput that no trick can raise",
    method="simulation",
    idea="""Classic metrics can be gamed: hold tokens back and the tail of the gap improves; drop late
    requests and the rest look better. Smooth goodput counts the tokens a reader gets less what they
    wait for with nothing left to read. Early tokens wait in a buffer and hide later pauses.""",
    formula="""sum over requests of max(0, tokens - c x idle time of the reader) / span; deadline of token i:
    d_1 + (i - 1) / V""",
    reference="Wang et al. 2024, arXiv 2410.14257",
    unchecked="""Smooth-goodput-like: the penalty is taken as linear, the reading speed times the idle time; the
    paper leaves its form open""",
    settings=(
        Setting("1.6 requests/s", {"class.readers.arrivals.rate": 1.6}, "simulation", 20_000),
        Setting("1.9 requests/s", {}, "simulation", 20_000),
        Setting(
            "2.6, others turned away",
            {"class.readers.arrivals.rate": 2.6, "system.buffer": 40},
            "simulation",
            20_000,
        ),
        Setting("2.6 for 10 minutes", {"class.readers.arrivals.rate": 2.6}, horizon_s=600.0, replications=5),
    ),
    shown=("mean_ttft_s", "mean_tpot_s", "attainment", "goodput", "mean_qoe"),
    accept=accept,
)
