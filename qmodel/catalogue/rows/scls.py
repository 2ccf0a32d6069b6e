"""R31: SCLS: answers in slices of a bounded length."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.balance import longest_first, makespan

SLICES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
FCFS = {"policy": {"preset": "fcfs"}}


def slices(seconds: float) -> dict[str, float]:
    """Slices so long."""
    return {"policy.options.quantum": seconds}


def accept(case: Case) -> Iterator[Check]:
    """A U over slices with its best inside; endless slices are FCFS; the balancer is within 4/3 of the best."""
    means = [value(case.simulate(slices(s), requests=100_000), "mean_response_s") for s in SLICES]
    best = min(range(len(SLICES)), key=means.__getitem__)
    listed = ", ".join(f"{s:g} s: {mean:.3g}" for s, mean in zip(SLICES, means, strict=True))
    yield true(f"the best slice, {SLICES[best]:g} s, lies inside: {listed}", 0 < best < len(SLICES) - 1)
    endless = value(case.simulate(slices(1e6), requests=100_000), "mean_response_s")
    yield near(
        "slices without end", endless, value(case.simulate(FCFS, requests=100_000), "mean_response_s"), within=1e-9
    )
    works = [7.0, 7.0, 6.0, 6.0, 5.0, 5.0, 4.0, 4.0, 4.0]
    found = makespan(works, longest_first(works, 4))
    yield true(f"longest first: makespan {found:g} <= 4/3 x 12, the best", found <= 4 / 3 * 12)


ROW = Row(
    number=31,
    name="scls",
    title="answers in slices, queueing again after each",
    method="simulation",
    idea="""No dispatch generates more than a slice of tokens; an unfinished request queues again and its
    context is computed anew. Slices bound how long anyone waits for a long answer, and cost a
    prefill each: too short wastes work, too long is a static batch. The best lies between.""",
    formula="""ceil(L / S) slices; work S_total = L + (ceil(L / S) - 1) c; S to infinity: FCFS, S and c to 0:
    sharing""",
    reference="Cheng, Hu, Wang, Peng, Li & Zhang 2024, arXiv 2406.13511; Graham 1969 for the balancer",
    unchecked="""SCLS-like: the cost of a slice is the same for all, not growing with the context; one request is
    served at a time""",
    missing="the batcher by dynamic programming: slices of several requests are not served together here",
    settings=(
        Setting("slices of 2 s", requests=100_000),
        Setting("slices of 0.25 s", slices(0.25), requests=100_000),
        Setting("slices of 16 s", slices(16.0), requests=100_000),
        Setting("whole answers", FCFS, requests=100_000),
    ),
    shown=("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s", "attainment"),
    accept=accept,
)
