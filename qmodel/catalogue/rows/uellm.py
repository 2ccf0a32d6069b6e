"""R26: UELLM: batches of requests that are alike in promise and length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import falling, near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.grouping import by_promise_and_length, padded_share

FIXTURE = ([5.0, 60.0, 5.0, 30.0, 5.0], [9000.0, 100.0, 200.0, 400.0, 21000.0])


def bins(number: int) -> dict[str, int]:
    """So many equally likely bins of lengths."""
    return {"system.bins": number}


def accept(case: Case) -> Iterator[Check]:
    """The coded rule on a fixture; less padding than batches in order of arrival; bins in theory and simulation."""
    groups = by_promise_and_length(*FIXTURE)
    yield true(f"groups of the fixture {groups}", groups == [[2, 1, 3], [0], [4]])
    lengths = np.random.default_rng(case.seed).gamma(0.5, 4000.0, 200).tolist()
    in_order = [list(range(i, i + 10)) for i in range(0, 200, 10)]
    by_rule = padded_share(lengths, by_promise_and_length([10.0] * 200, lengths))
    yield true(f"padding {by_rule:.3f} < {padded_share(lengths, in_order):.3f} in order of arrival",
               by_rule < padded_share(lengths, in_order))  # fmt: skip
    simulated = [value(case.simulate(bins(k), requests=60_000), "mean_service_s") for k in (1, 2, 4, 8)]
    yield falling("time of a batch over bins 1 to 8, simulated", simulated)
    yield near("with 8 bins", simulated[-1], value(case.theory(bins(8)), "mean_service_s"), within=0.02)


ROW = Row(
    number=26,
    name="uellm",
    title="batches of like promise and like length",
    method="approximation",
    idea="""A static batch lasts as long as its longest answer, and all others are padded. Predict the
    lengths and batch what is alike: less padding, more capacity; but requests wait until their kind
    of batch is full.""",
    formula="""capacity of k bins of a uniform length on [l, u]: B / [(l + u)/2 + ((u - l)/k)(B/(B + 1) - 1/2)]
    iterations""",
    reference="He et al., ICSOC 2024, arXiv 2409.14961; Guldogan et al. 2024, arXiv 2412.04504",
    unchecked="""UELLM-like: the scenario forms batches by bins of length, the order by SLO and length is the
    function qmodel.policy.grouping.by_promise_and_length; lengths are known""",
    missing="the map of layers to devices (HELR); batches formed by the rule itself in the simulator",
    settings=(
        Setting("4 bins"),
        Setting("8 bins", bins(8)),
        Setting("2 bins", bins(2)),
        Setting("one for all", bins(1)),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s"),
    no_live="bins of length gain nothing on an engine whose batch time goes by the number of requests",
    accept=accept,
)
