"""Section 7: are the arrivals of the live runs what the model takes them for?"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from qmodel.errors import InputError
from qmodel.report.document import Block, Column, Table, finding, paragraph, prose, section
from qmodel.report.figures import arrivals_against_poisson
from qmodel.report.names import counted
from qmodel.report.sections.evidence import Evidence
from qmodel.study.plan import Setting
from qmodel.workload.arrival_tests import FAULTS, FEWEST, LEVEL

TESTS = {
    "p_rate": "rate",
    "p_uniformity": "steady",
    "p_gaps": "gaps",
    "p_lag1": "lag 1",
    "p_dispersion_short": "short",
    "p_dispersion_long": "long",
}
"""Tests in the order of the table, with their short heads."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Table, verdict and figure; one sentence where nothing was run live."""
    yield section("Arrival tests", "arrivals")
    if not study.live:
        yield paragraph(
            "Nothing was run live in this study, so there are no arrivals to test: the model takes them as Poisson."
        )
        return
    yield paragraph(
        "Theory takes arrivals for a Poisson process. All policies and early-exit settings at one load were "
        "given the same arrivals, so each load is tested once, on the times at which requests were really "
        "sent. Tested are the rate, that it is steady over the run (Kolmogorov-Smirnov), that gaps are "
        "exponential (Durbin's transformation, Kolmogorov-Smirnov) [@lewis] and independent (lag-1 "
        "correlation), and that counts in short and long windows vary as they should (index of dispersion). "
        "Holm's rule keeps the level of all tests together at 1 %."
    )
    yield arrival_table(study.arrivals)
    yield verdict(study.arrivals)
    yield from arrival_figure(study)


def arrival_table(table: pd.DataFrame) -> Table:
    """Figures and p values by load and class."""
    shown = [name for name in TESTS if name in table and table[name].notna().any()]
    several = "seed" in table and table.seed.nunique() > 1
    rows = [
        (
            row["load"],
            *((int(row["seed"]),) if several else ()),
            row["class"],
            int(row["n"]),
            row["rate"],
            row["nominal_rate"],
            row["cv"],
            row["dispersion"],
            *(row[name] for name in shown),
            row_verdict(row),
        )
        for _, row in table.iterrows()
    ]
    return Table(
        "tab:arrivals",
        prose(
            "Arrivals of the live runs: realised and nominal rate (requests/s), coefficient of variation (CV) "
            "of the gaps and index of dispersion of counts (both 1 for Poisson), then the $p$ values of the "
            "tests: rate, steady rate, exponential gaps, lag-1 correlation, counts in short and long windows."
        ),
        (
            Column(prose("Load $rho$"), decimals=2, sparse=True),
            *((Column("Seed", kind="integer"),) if several else ()),
            Column("Class"),
            Column("Sent", kind="integer"),
            Column("1/s", digits=3),
            Column("Nominal", digits=3),
            Column("CV", decimals=2),
            Column("Disp.", decimals=2),
            *(Column(TESTS[name], kind="p-value", align="right") for name in shown),
            Column("Poisson"),
        ),
        tuple(rows),
        notes=(f"Not tested: fewer than {FEWEST} arrivals.",) if not all_tested(table) else (),
    )


def all_tested(table: pd.DataFrame) -> bool:
    """Whether every row had enough arrivals."""
    return bool(table.tested.astype(bool).all())


def row_verdict(row: pd.Series) -> str:
    """Whether the arrivals may be called Poisson."""
    if not bool(row["tested"]):
        return "not tested"
    return "yes" if bool(row["poisson"]) else "refused"


def verdict(table: pd.DataFrame) -> Block:
    """How many streams pass, and what refuses the others."""
    tested = table[table.tested.astype(bool)]
    failed = tested[~tested.poisson.astype(bool)]
    if tested.empty:
        return finding("No stream had enough arrivals to be tested.")
    if failed.empty:
        return finding(
            "{count} tested; none is told from a Poisson process. With {most} arrivals at most, only clear "
            "departures would be seen.",
            count=counted(len(tested), "arrival stream"),
            most=f"{int(tested.n.max()):,}",
        )
    reasons = "; ".join(f"load {row['load']:g}, {row['class']}: {fault_words(row)}" for _, row in failed.iterrows())
    return finding(
        "{passed} of {count} tested pass; refused: {reasons}.",
        passed=len(tested) - len(failed),
        count=counted(len(tested), "arrival stream"),
        reasons=reasons,
    )


def fault_words(row: pd.Series) -> str:
    """The most significant fault of a stream."""
    p_values = {name: row[f"p_{name}"] for name in FAULTS if f"p_{name}" in row and row[f"p_{name}"] < LEVEL}
    return FAULTS[min(p_values, key=lambda name: p_values[name])] if p_values else "not Poisson"


def arrival_figure(study: Evidence) -> Iterator[Block]:
    """Gaps and counts of the busiest run of the baseline."""
    plain = [s for s in study.plan.live_settings if s.policy == study.baseline and s.exit == study.plain_exit]
    if not plain:
        return
    setting: Setting = max(plain, key=lambda s: s.load)
    run = study.log(setting)
    try:
        drawing = arrivals_against_poisson(run.log.sent_s.to_numpy())
    except InputError:  # too few arrivals for a figure
        return
    yield study.picture(
        "arrivals",
        drawing,
        prose(
            "All arrivals at load {load} ({count}), as sent on {device}. Left: sorted gaps against "
            "exponential quantiles; right: variance over mean of the counts in windows. Grey bands hold 95 % "
            "of a Poisson process point by point; see whether the points leave them.",
            load=f"{setting.load:g}",
            count=len(run.log),
            device=study.live_device,
        ),
        "Left, gaps on the diagonal of a quantile plot; right, index of dispersion around one",
    )
