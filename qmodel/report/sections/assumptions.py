"""The assumptions of the queueing model, each with how it was tested and what came out, or marked untested."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from qmodel.report.document import prose
from qmodel.report.inline import Content
from qmodel.report.names import counted
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import MEAN, Evidence
from qmodel.report.sections.findings import inside_count

LEVEL = 0.01
"""Below this p one of many runs is said to speak against an assumption."""
UNTESTED = prose("**untested**")

Row = tuple[str | Content, str | Content, str | Content]


def assumption_rows(study: Evidence) -> Iterator[Row]:
    """All rows of the table."""
    yield arrivals_row(study)
    yield independence_row(study)
    yield wait_row(study)
    yield law_row(study)
    yield work_conserving_row(study)
    policies = study.plan.tables.policies
    if "pr-priority" in policies:
        yield preemption_row(study)
    if "ps" in policies:
        yield sharing_row(study)
    yield steady_row(study)


def arrivals_row(study: Evidence) -> Row:
    """Poisson arrivals."""
    name = "Arrivals are a Poisson process"
    if not study.live:
        return name, "nothing was run live", UNTESTED
    tested = study.arrivals[study.arrivals.tested.astype(bool)]
    passed = int(tested.poisson.astype(bool).sum())
    if tested.empty:
        return name, "too few arrivals in every run", UNTESTED
    verdict = "holds" if passed == len(tested) else "**not everywhere**"
    return (
        name,
        prose("tests of rate, gaps and counts of each stream (@tab:arrivals)"),
        prose(verdict + ": {passed} of {streams} pass", passed=passed, streams=counted(len(tested), "stream")),
    )


def independence_row(study: Evidence) -> Row:
    """Service times independent of one another."""
    name = "Service times are independent of one another"
    rows = tested_runs(study, "lag1")
    if rows is None:
        return name, "nothing long enough was run live", UNTESTED
    against = int((rows.lag1_p < LEVEL).sum())
    how = "lag-1 correlation of measured over fitted service time, each run in order of service"
    return name, how, against_words(against, len(rows), rows.lag1)


def wait_row(study: Evidence) -> Row:
    """Service times independent of the queue."""
    name = "Service times do not depend on the queue"
    rows = tested_runs(study, "wait_correlation")
    if rows is None:
        return name, "no run without interruptions is long enough", UNTESTED
    against = int((rows.wait_p < LEVEL).sum())
    how = "rank correlation of the same ratio with the wait before it, runs without interruptions"
    return name, how, against_words(against, len(rows), rows.wait_correlation)


def tested_runs(study: Evidence, column: str) -> pd.DataFrame | None:
    """Runs in which a correlation could be computed; None without any."""
    if not study.live:
        return None
    rows = study.services[study.services[column].notna()]
    return None if rows.empty else rows


def against_words(against: int, runs: int, correlation: pd.Series) -> Content:
    """How many runs speak against independence at the 1 % level, and the median correlation."""
    chance = against <= np.ceil(LEVEL * runs)
    return prose(
        ("holds" if chance else "**fails**")
        + ": {against} of {runs} speak against it ($p$ < 0.01); median correlation "
        "{median}",
        against=against,
        runs=counted(runs, "run"),
        median=Quantity(float(correlation.median()), digits=2),
    )


def law_row(study: Evidence) -> Row:
    """The fitted service times are those of the live runs."""
    name = "Service times have the fitted mean"
    if not study.live or study.services.empty:
        return name, prose("errors at left-out levels only (@sec:service)"), UNTESTED
    rows = study.measured_comparison
    rows = rows[rows.metric == "mean_service_s"]
    inside, judged = inside_count(rows)
    ratio = study.services.mean_ratio
    verdict = "holds" if judged and inside >= 0.9 * judged else "**fails in part**"
    return (
        name,
        "mean service time of each live run and class against the prediction",
        prose(
            verdict
            + ": {inside} of {judged} inside their interval; measured over fitted {low} to {high}, median {median}",
            inside=inside,
            judged=judged,
            low=Quantity(float(ratio.min())),
            high=Quantity(float(ratio.max())),
            median=Quantity(float(ratio.median())),
        ),
    )


def work_conserving_row(study: Evidence) -> Row:
    """Never idle while a request waits."""
    name = "The server never idles while a request waits"
    rows = tested_runs(study, "idle_per_request_s")
    if rows is None:
        return name, "no run without interruptions", UNTESTED
    idle = float(rows.idle_per_request_s.median())
    return (
        name,
        "time between the end of one service and the start of the next that was waiting",
        prose(
            "nearly: {idle} a request (median over {runs})",
            idle=Quantity(idle, "s"),
            runs=counted(len(rows), "run"),
        ),
    )


def preemption_row(study: Evidence) -> Row:
    """Interrupted work is kept, switching is free, at any moment."""
    name = "Preemption is free and happens at once"
    if not study.live:
        return name, "nothing was run live", UNTESTED
    overhead = study.runs[study.runs.policy.isin(["pr-priority", "ps"])].overhead_per_step_s
    if overhead.dropna().empty:
        return name, "no run with preemption", UNTESTED
    return (
        name,
        prose("the loop's own time a step; steps against theory on the ladder (@sec:ladder)"),
        prose(
            "nearly: {overhead} a step; an interruption waits for the end of a step",
            overhead=Quantity(float(overhead.max()), "s"),
        ),
    )


def sharing_row(study: Evidence) -> Row:
    """Even sharing."""
    name = "The server is shared evenly among all present"
    if not study.live or "ps" not in set(study.runs.policy):
        return name, "nothing was run live", UNTESTED
    return (
        name,
        prose("turns of one step against ideal sharing: last rung of the ladder (@sec:ladder)"),
        prose(
            "an idealisation; its size is {gap} of the live mean (median over loads)",
            gap=Quantity(median_step(study, "ps"), "ratio", signed=True),
        ),
    )


def median_step(study: Evidence, policy: str) -> float:
    """Median over loads of what the last rung changes, relative to the live mean."""
    rows = study.ladder[(study.ladder.policy == policy) & (study.ladder["class"] == "all")]
    table = rows.pivot_table(index=["exit", "load"], columns="rung", values=MEAN)
    return float(((table["theory"] - table["poisson arrivals"]) / table["live"]).median())


def steady_row(study: Evidence) -> Row:
    """Steady state."""
    name = "The queue is in steady state"
    if not study.live or study.plan.tables.live is None:
        return name, "nothing was run live", UNTESTED
    share = study.plan.tables.live.warmup_share
    return (
        name,
        "the first part of each run is dropped",
        prose("**untested**; {share} of each run was dropped", share=Quantity(share, "ratio", digits=2)),
    )
