"""How many predictions lie inside the intervals of their measurements, and what that says of the model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qmodel.report.document import Block, Column, Table, finding, warning
from qmodel.report.names import class_name, listed, setting_name, short_metric, strategy_name
from qmodel.report.quantity import Quantity
from qmodel.report.sections.evidence import MEAN, Evidence, settings_of
from qmodel.report.sections.findings import inside_count
from qmodel.study.plan import Setting

EXPECTED = 0.95
"""Share of intervals that hold the prediction where model and prediction are right."""


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
