"""How fast the host was in the live runs against when it was profiled, and what the predictions make of that."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from qmodel.report.document import Block, paragraph, prose
from qmodel.report.inline import Content
from qmodel.report.names import counted
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import Evidence
from qmodel.study.host import CHANGED

STEADY = 0.02
"""A host that stays this near to the speed of the profile is called steady."""


def looked_at(study: Evidence) -> pd.DataFrame:
    """The runs around which the host was looked at."""
    if not study.live or "host_before" not in study.runs:
        return study.runs.iloc[:0] if study.live else pd.DataFrame()
    return study.runs[study.runs.host_before.notna()]


def changes(runs: pd.DataFrame) -> pd.Series[float]:
    """By which share the host's times changed within each run, in size."""
    return (runs.host_after / runs.host_before - 1.0).abs().dropna()


def host_speed(study: Evidence) -> Iterator[Block]:
    """One paragraph; nothing where the host was not looked at."""
    runs = looked_at(study)
    if runs.empty:
        return
    low, middle, high = (float(runs.host_before.quantile(q)) for q in (0.0, 0.5, 1.0))
    if max(abs(low - 1.0), abs(high - 1.0)) <= STEADY:
        found = f"took {share(low)} to {share(high)} of their time in the profile: the host was steady"
    else:
        spread = f"between {share(low)} and {share(high)}"
        found = f"took {spread} of their time in the profile, {share(middle)} in the median"
    yield paragraph(
        "A host may be faster or slower when it serves than when it was profiled. So cells of the profile were "
        "timed again just before each run; they {found}. The rate of a run is the one that gives its load at the "
        "host's speed then, and the prediction that it is held against was made for that speed, before the run."
        "{within}",
        found=found,
        within=within_runs(changes(runs)),
    )


def within_runs(changed: pd.Series[float]) -> str:
    """How far the host went from start to end of a run; nothing where that was not seen."""
    if changed.empty:
        return ""
    middle, most = (Quantity(float(changed.quantile(q)), "ratio") for q in (0.5, 1.0))
    return f" From start to end of a run these times changed by {middle} in the median and by {most} at most."


def share(factor: float) -> str:
    """A factor as a percentage: 104 %."""
    return str(Quantity(factor, "ratio", digits=3))


def unsteady(study: Evidence) -> Iterator[Content]:
    """The threat where the host changed within runs."""
    runs = looked_at(study)
    moved = changes(runs) > CHANGED if len(runs) else pd.Series(dtype=bool)
    if moved.any():
        yield prose(
            "*A host that changes its speed.* In {count} of {runs} the host's times changed by more than {limit} "
            "between start and end: the prediction is for the start.",
            count=counted(int(moved.sum()), "run"),
            runs=len(runs),
            limit=Quantity(CHANGED, "ratio"),
        )
