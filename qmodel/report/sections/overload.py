"""What was run above capacity: over a finite horizon, from an empty system."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, Column, Table, paragraph, prose
from qmodel.report.names import exit_name, policy_name, short_metric
from qmodel.report.quantity import Estimate
from qmodel.report.sections.comparison import inside_word, ordered, table_notes
from qmodel.report.sections.evidence import MEAN, Evidence


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
