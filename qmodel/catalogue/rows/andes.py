"""R2: Andes: tokens to whoever is about to run out of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, inside, near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.metrics.many_streams import qoe_by_area
from qmodel.metrics.one_stream import qoe

FCFS: dict[str, Any] = {"policy": {"preset": "fcfs"}}
TURNS: dict[str, Any] = {"policy": {"preset": "las"}}
OWN_PACE = {"policy.options.pace": 8.0}
WORKED = (1.0, 0.664, 0.667, 1.0)


def quality(case: Case, rate: float, changes: dict[str, Any]) -> float:
    """Mean QoE from empty over 200 s at this rate."""
    at = {"class.readers.arrivals.rate": rate, **changes}
    return value(case.simulate(at, horizon_s=200.0, replications=5), "mean_qoe")


def accept(case: Case) -> Iterator[Check]:
    """The worked timelines in both definitions; over a sweep of rates never below FCFS or turns, equal at first."""
    steady, halves = 0.2 * np.arange(100), np.repeat([1.0, 10.0], 50)
    lines = (1.0 + steady, 6.0 + steady, 1.0 + 2 * steady, halves)
    for version, found in ((2, qoe), (1, qoe_by_area)):
        values = [round(found(line, awaited_s=1.0, tokens_per_s=5.0), 3) for line in lines]
        yield true(f"QoE, version {version}, of the worked timelines {values}", tuple(values) == WORKED)
    ratios = []
    for rate in (0.8, 1.6, 2.4, 3.2, 4.0):
        own, fcfs, turns = (quality(case, rate, changes) for changes in ({}, FCFS, TURNS))
        ratios.append(own / fcfs)
        yield at_most(f"{rate}/s: best of FCFS and turns", max(fcfs, turns), "pace", own, slack=0.005)
    yield near("ratio to FCFS at the lowest rate", ratios[0], 1.0, within=0.01)
    yield inside("largest ratio to FCFS", max(ratios), 1.2, 5.0)


ROW = Row(
    number=2,
    name="andes",
    title="QoE: tokens in time for whoever reads them",
    method="simulation",
    idea="""People read at their own speed; tokens made faster than that wait in a buffer. A request that is
    ahead of its reader gives way to one that is about to fall behind. Below saturation everyone is
    content anyway; above it the same tokens please many more readers.""",
    formula="""QoE = 1 - S_delay / S_whole (version 2) or S_actual / S_expected (version 1); rank = arrival +
    tokens / speed""",
    reference="Liu, Wu, Chung, Lai, Lee & Chowdhury 2024, arXiv 2404.16283",
    unchecked="""Andes-like: in place of the knapsack of QoE gain over context length, the least read goes first:
    arrival + pace x service, at steps of some tokens, with a pace far above the reader's, as at
    overload a token is worth most to who has read least. At the reader's own pace it is the
    earliest next token first, which collapses as EDF does. Turns are las: the engine's round-robin
    does not rotate who runs. No cap on preemptions""",
    missing="the knapsack itself, with max-min and perfect-QoE objectives",
    settings=(
        Setting("least read first", horizon_s=200.0, replications=5),
        Setting("at the reader's pace", OWN_PACE, horizon_s=200.0, replications=5),
        Setting("turns (las)", TURNS, horizon_s=200.0, replications=5),
        Setting("fcfs", FCFS, horizon_s=200.0, replications=5),
    ),
    shown=("mean_qoe", "mean_ttft_s", "p99_ttft_s", "mean_tpot_s", "preemptions_per_request"),
    accept=accept,
)
