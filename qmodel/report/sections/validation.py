"""Section 9: predictions held against live runs, with a verdict that the intervals give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from qmodel.report.document import Block, Column, Table, finding, paragraph, prose, section, warning
from qmodel.report.figures import latency_against_load, predicted_against_measured, response_times
from qmodel.report.names import (
    class_name,
    counted,
    exit_name,
    listed,
    policy_name,
    sentence_start,
    strategy_name,
)
from qmodel.report.quantity import Estimate, Quantity
from qmodel.report.sections.evidence import MEAN, Evidence, settings_of
from qmodel.report.sections.findings import inside_count
from qmodel.report.sections.host import host_speed
from qmodel.study.plan import Setting

EXPECTED = 0.95
"""Share of intervals that hold the prediction where model and prediction are right."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Table, counts, verdict, figures; one sentence and a figure where nothing was run live."""
    yield section("Validation: predictions against live runs", "validation")
    if not study.live:
        yield paragraph(
            "Nothing was run live in this study: the predictions below are not held against any measurement "
            "of latency."
        )
        yield load_figure(study)
        return
    yield paragraph(
        "Each live run sends its requests at scheduled times to a server in a process of its own; latency "
        "counts from the scheduled time. Intervals are 95 %, by batch means for means and by batches of order "
        "statistics for percentiles. All live numbers were measured on {device}. @tab:validation gives the "
        "means of all requests; @tab:score counts for all classes and metrics how many predictions lie inside "
        "the interval of their measurement.{appendix}",
        device=study.live_device,
        appendix=prose(" Classes one by one are in @tab:by-class.") if len(study.groups) > 1 else "",
    )
    yield from host_speed(study)
    yield validation_table(study)
    yield from rejected_runs(study)
    yield from overload(study)
    yield score_table(study)
    yield verdict(study)
    yield load_figure(study)
    yield agreement_figure(study)
    yield from distribution_figure(study)


def validation_table(study: Evidence) -> Table:
    """Means of all requests: predicted with its method, measured with its interval, error, inside or not."""
    rows = study.measured_comparison
    rows = rows[(rows.metric == MEAN) & (rows["class"] == "all")]
    return comparison_table(
        study,
        "tab:validation",
        prose(
            "Mean response time of all requests: predicted, and measured in live runs on {device}. Error is "
            "predicted over measured, less 1.",
            device=study.live_device,
        ),
        ordered(study, rows),
        by_class=False,
    )


def overload(study: Evidence) -> Iterator[Block]:
    """What was run above capacity: predictions over the finite horizon, and how the runs spread."""
    rows = study.overload[study.overload.measured.notna() & study.overload.metric.isin([MEAN, "p95_response_s"])]
    rows = rows[rows["class"] == "all"]
    if rows.empty:
        return
    yield paragraph(
        "Above capacity the queue grows, and there is no steady state: @tab:overload is about the requests that "
        "arrive within a finite horizon, from an empty system. The prediction is simulated over the same "
        "horizon; the interval is what runs with other arrivals may differ by, as its replications do. "
    )
    cells = [
        (
            policy_name(row["policy"]),
            *study.early(exit_name(row["exit"])),
            row["load"],
            short_metric(row["metric"]),
            row["predicted"],
            Estimate(row["measured"], row["low"], row["high"]),
            row["relative_error"],
            inside_word(row),
        )
        for _, row in ordered(study, rows).iterrows()
    ]
    shared = tuple(map(float, (*rows.predicted, *rows.measured)))
    yield Table(
        "tab:overload",
        prose(
            "Overload, finite horizon: response time of all requests, predicted by simulation, and measured in "
            "live runs on {device}.",
            device=study.live_device,
        ),
        (
            Column("Policy", sparse=True),
            *study.early(Column("Early exit", sparse=True)),
            Column(prose("Load $rho$"), decimals=2),
            Column("Response"),
            Column("Predicted", "s", beside=shared),
            Column("Measured [95 % interval]", "s", align="right", beside=shared),
            Column("Error", "ratio", signed=True),
            Column("Prediction"),
        ),
        tuple(cells),
        notes=tuple(table_notes(rows)),
    )


def class_table(study: Evidence) -> Table:
    """The same by class, for the appendix."""
    rows = study.measured_comparison
    rows = rows[(rows.metric == MEAN) & (rows["class"] != "all")]
    return comparison_table(
        study,
        "tab:by-class",
        prose(
            "Mean response time by class: predicted, and measured in live runs on {device}, with 95 % intervals.",
            device=study.live_device,
        ),
        ordered(study, rows),
        by_class=True,
    )


def ordered(study: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows grouped by exit setting and policy in the order of the plan, then by load."""
    exits = [table.name for table in study.plan.tables.exit]
    keys = pd.DataFrame(
        {
            "exit": rows.exit.map(exits.index),
            "policy": rows.policy.map(study.plan.tables.policies.index),
            "load": rows.load,
            "class": rows["class"].map(["all", *study.classes].index),
        }
    )
    return rows.loc[keys.sort_values(["exit", "policy", "class", "load"], kind="stable").index]


def comparison_table(study: Evidence, label: str, caption: Any, rows: pd.DataFrame, by_class: bool) -> Table:
    """One row a setting (and class)."""
    cells = [
        (
            policy_name(row["policy"]),
            *study.early(exit_name(row["exit"])),
            *((row["class"],) if by_class else ()),
            row["load"],
            row["predicted"],
            row["predicted_method"],
            Estimate(row["measured"], row["low"], row["high"]),
            row["relative_error"],
            inside_word(row),
        )
        for _, row in rows.iterrows()
    ]
    shared = tuple(map(float, (*rows.predicted, *rows.measured)))
    return Table(
        label,
        caption,
        (
            Column("Policy", sparse=True),
            *study.early(Column("Early exit", sparse=True)),
            *((Column("Class", sparse=True),) if by_class else ()),
            Column(prose("Load $rho$"), decimals=2),
            Column("Predicted", "s", beside=shared),
            Column("Method"),
            Column("Measured [95 % interval]", "s", align="right", beside=shared),
            Column("Error", "ratio", signed=True),
            Column("Prediction"),
        ),
        tuple(cells),
        notes=tuple(table_notes(rows)),
    )


def table_notes(rows: pd.DataFrame) -> Iterator[str]:
    """What the words of the last column mean, as far as they occur."""
    said = {inside_word(row) for _, row in rows.iterrows()}
    if "no interval" in said:
        yield "No interval: the run is too short for one that is finite."
    if "run rejected" in said:
        yield "Run rejected: the client was too late for the run to be used; the row is shown but not counted."


def inside_word(row: pd.Series) -> str:
    """Where the prediction lies."""
    if row["rejected"]:
        return "run rejected"
    if row["inside"] is None or pd.isna(row["inside"]):
        return "no interval"
    return "inside" if bool(row["inside"]) else "outside"


def rejected_runs(study: Evidence) -> Iterator[Block]:
    """Runs that must not be used."""
    if not study.rejected:
        return
    count = len(study.rejected)
    yield warning(
        "{count} rejected because the client sent its requests too late; {they} not counted below.",
        count=counted(count, "live run was", "live runs were"),
        they="it is" if count == 1 else "they are",
    )
    rows = [(sentence_start(setting_name(setting)), why) for setting, why in study.rejected.items()]
    yield Table("tab:rejected", "Rejected live runs.", (Column("Run"), Column("Why")), tuple(rows))


def setting_name(setting: Setting) -> str:
    """A setting in words.

    >>> setting_name(Setting("fcfs", "fewer-steps", 0.85))
    'FCFS with fewer steps at load 0.85'
    """
    return f"{strategy_name(setting.policy, setting.exit)} at load {setting.load:g}"


def score_table(study: Evidence) -> Table:
    """How many predictions lie inside, and the size of the error, by strategy and metric."""
    rows = study.measured_comparison
    metrics = [MEAN, *study.percentiles]
    cells = []
    for policy, setting in study.strategies:
        here = rows[(rows.policy == policy) & (rows.exit == setting)]
        if len(here):
            cells.append((strategy_name(policy, setting), *(score(here[here.metric == m]) for m in metrics)))
    cells.append(("all strategies", *(score(rows[rows.metric == m]) for m in metrics)))
    return Table(
        "tab:score",
        "Predictions inside the 95 % interval of their measurement, over all loads and classes (and all "
        "requests together), with the median size of the relative error in brackets.",
        (Column("Strategy"), *(Column(short_metric(m), align="right") for m in metrics)),
        tuple(cells),
        notes=("A dash: no interval is finite, or all runs were rejected.",)
        if any("—" in str(c) for c in cells)
        else (),
    )


def short_metric(metric: str) -> str:
    """A column head.

    >>> short_metric("mean_response_s"), short_metric("p95_response_s")
    ('mean', 'p95')
    """
    return metric.split("_")[0]


def score(rows: pd.DataFrame) -> str:
    """`7 of 12 (8.1 %)`."""
    inside, judged = inside_count(rows)
    usable = rows[~rows.rejected.astype(bool)]
    if usable.empty:
        return "—"
    error = Quantity(float(np.median(np.abs(usable.relative_error))), "ratio")
    return f"{inside} of {judged} ({error})" if judged else f"— ({error})"


def verdict(study: Evidence) -> Block:
    """What the intervals say, in words that go no further."""
    rows = study.measured_comparison
    means = rows[rows.metric == MEAN]
    inside, judged = inside_count(means)
    if judged == 0:
        return warning(
            "**No verdict is possible**: no live run is long enough for a finite interval. The numbers above "
            "are single observations."
        )
    width = median_width(means)
    share = inside / judged
    wide = (
        f"The intervals reach {Quantity(width, 'ratio')} to either side in the median, so smaller errors "
        f"would not be seen."
    )
    if inside == judged:
        return finding(
            "**Verdict.** All {judged} predicted means lie inside their 95 % intervals: the live runs give no "
            "reason to doubt the model. {wide}",
            judged=judged,
            wide=wide,
        )
    if share >= EXPECTED - 0.05:
        return finding(
            "**Verdict.** {inside} of {judged} predicted means lie inside their 95 % intervals, about as many "
            "as chance alone allows. {wide} {where}",
            inside=inside,
            judged=judged,
            wide=wide,
            where=outside_words(means),
        )
    return warning(
        "**Verdict.** The live runs do not bear the predictions out everywhere: {inside} of {judged} "
        "predicted means lie inside their 95 % intervals, where about {expected} would be expected of a right "
        "model. {where} @sec:ladder shows where the gaps come from.",
        inside=inside,
        judged=judged,
        expected=round(EXPECTED * judged),
        where=outside_words(means),
    )


def median_width(rows: pd.DataFrame) -> float:
    """Median half-width of the intervals, relative to the measured value."""
    half = (rows.high - rows.low) / 2 / rows.measured
    return float(half[np.isfinite(half) & ~rows.rejected.astype(bool)].median())


def outside_words(means: pd.DataFrame) -> str:
    """Which strategies miss most, and by how much."""
    usable = means[means.inside.notna() & ~means.rejected.astype(bool)]
    missed = usable[~usable.inside.astype(bool)]
    if missed.empty:
        return ""
    worst = missed.iloc[int(missed.relative_error.abs().to_numpy().argmax())]
    where = setting_name(Setting(worst.policy, worst.exit, worst.load))
    by = Quantity(worst.relative_error, "ratio", signed=True)
    lost = {(setting.policy, setting.exit) for setting in settings_of(missed)}
    seen = dict.fromkeys((setting.policy, setting.exit) for setting in settings_of(usable))
    good = [strategy_name(*strategy) for strategy in seen if strategy not in lost]
    text = f"The largest miss is {by}, for {class_name(worst['class'])} under {where}."
    if good:
        text += f" No prediction lies outside under {listed(good)}."
    return text


def load_figure(study: Evidence) -> Block:
    """Mean and percentiles against load, by class and policy, without early exit."""
    kinds = study.classes if len(study.groups) > 1 else ["all"]
    metrics = [MEAN, *study.percentiles]
    rows = study.comparison[study.comparison.metric.isin(metrics) & study.comparison.predicted.notna()]
    measured = "points with bars are measured ({device}), hollow where the interval misses the prediction"
    return study.picture(
        "latency",
        latency_against_load(rows, study.plain_exit, kinds, study.plan.tables.policies),
        prose(
            "Response time against load without early exit, by class and policy: lines are predicted"
            + (
                f", {measured}. See whether points sit on their lines, and how the tails part from the mean."
                if study.live
                else ". See how the tails part from the mean as the load grows."
            ),
            **({"device": study.live_device} if study.live else {}),
        ),
        "A grid of panels, classes by policies, with rising curves for mean and percentiles and points on them",
    )


def agreement_figure(study: Evidence) -> Block:
    """Predicted against measured, all settings."""
    metrics = [m for m in (MEAN, "p95_response_s") if m in {MEAN, *study.percentiles}]
    rows = study.measured_comparison
    rows = rows[rows["class"].isin(study.classes) | (len(study.groups) == 1)]
    return study.picture(
        "agreement",
        predicted_against_measured(rows, metrics),
        prose(
            "Predicted against measured ({device}), one point a setting and class, early exit included; the "
            "bar is the 95 % interval of the measurement, the band holds errors within 10 %. Points above the "
            "diagonal are predicted too slow, points below it too fast.",
            device=study.live_device,
        ),
        "Points around the diagonal of a square plot on logarithmic axes",
    )


def distribution_figure(study: Evidence) -> Iterator[Block]:
    """The whole distribution of one run of the baseline."""
    setting = shown_setting(study)
    if setting is None:
        return
    run = study.log(setting)
    log = run.log[run.log.status == "ok"]
    kinds = study.classes if len(study.groups) > 1 else ["all"]
    parts = {kind: log if kind == "all" else log[log["class"] == kind] for kind in kinds}
    responses = {kind: (part.done_s - part.scheduled_s).to_numpy() for kind, part in parts.items() if len(part) > 1}
    rows = study.measured_comparison
    here = rows[(rows.policy == setting.policy) & (rows.exit == setting.exit) & (rows.load == setting.load)]
    if not responses or not study.percentiles:
        return
    yield study.picture(
        "distribution",
        response_times(responses, here),
        prose(
            "Distribution of response times under {setting}, measured on {device}: whole at the left, tail at "
            "the right. Diamonds are predicted percentiles ({percentiles}); see whether they lie on the "
            "measured curves.",
            setting=setting_name(setting),
            device=study.live_device,
            percentiles=listed(short_metric(p) for p in study.percentiles),
        ),
        "Two step curves, one a class, with predicted percentiles as diamonds on them",
    )


def shown_setting(study: Evidence) -> Setting | None:
    """The baseline at the highest load that was run."""
    plain = [s for s in study.plan.live_settings if s.policy == study.baseline and s.exit == study.plain_exit]
    usable = [s for s in plain if s not in study.rejected] or plain
    return max(usable, key=lambda s: s.load, default=None)
