"""Predictions beside measurements, a row each, as tables of the validation section and of the appendix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from qmodel.report.document import Column, Table, prose
from qmodel.report.names import exit_name, policy_name
from qmodel.report.quantity import Estimate
from qmodel.report.sections.evidence import MEAN, Evidence


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
