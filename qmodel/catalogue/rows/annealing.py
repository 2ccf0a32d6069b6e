"""R20: an order by simulated annealing: as many as possible in time, in as little time as possible."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.sequence import annealed, in_time_per_latency, most_in_time


def under(preset: str) -> dict[str, dict[str, str]]:
    """Another order."""
    return {"policy": {"preset": preset}}


def accept(case: Case) -> Iterator[Check]:
    """Annealing against all orders of 7 jobs; above FCFS, SJF and EDF on larger batches; the most in time."""
    rng = np.random.default_rng(case.seed)
    for _ in range(3):
        work, due = rng.gamma(1.0, 1.5, 7), rng.uniform(1.0, 12.0, 7)
        best = max(in_time_per_latency(order, work, due) for order in permutations(range(7)))
        found = in_time_per_latency(annealed(work, due, seed=case.seed), work, due)
        yield near("n / t of 7 jobs", found, best, within=1e-9)
    work, due = rng.gamma(1.0, 1.5, 25), rng.uniform(1.0, 40.0, 25)
    orders = {"fcfs": list(range(25)), "sjf": np.argsort(work).tolist(), "edf": np.argsort(due).tolist()}
    own = in_time_per_latency(annealed(work, due, seed=case.seed), work, due)
    for name, order in orders.items():
        other = in_time_per_latency(order, work, due)
        yield true(f"25 jobs: n / t {own:.5f} >= {name} {other:.5f}", own >= other)
    in_time = {name: sum(np.cumsum(work[order]) <= due[order]) for name, order in orders.items()}
    most = len(most_in_time(work, due))
    yield true(
        f"most in time {most} >= " + ", ".join(f"{n} {k}" for n, k in in_time.items()),
        most >= max(in_time.values()),
    )


ROW = Row(
    number=20,
    name="annealing",
    title="an order of a batch by simulated annealing",
    method="exact",
    idea="""Of all orders of the requests that wait, take the one with the most promises kept per second of
    latency. A search by simulated annealing finds it; for up to eight jobs it is the best of all
    orders. Online, a rank of deadline and remaining work comes near it without a search: that is
    what the scenario compares.""",
    formula="G = n / t, n in time and t the sum of latencies; n alone: Moore & Hodgson's order is the best",
    reference="Huang, Yu, Xiong, Huang, Li, Zeng & Chen 2025, arXiv 2504.14966; Moore & Hodgson 1968",
    unchecked="""SLO-annealing-like: jobs are done one after the other; the paper also chooses the sizes of
    batches, and latencies depend on them""",
    missing="the order annealed anew over a rolling horizon, inside the simulator",
    settings=(
        Setting("deadline and work", method="simulation"),
        Setting("sjf", under("sjf"), "simulation"),
        Setting("edf", under("edf"), "simulation"),
        Setting("fcfs", under("fcfs"), "simulation"),
    ),
    shown=("attainment", "code:attainment", "chat:attainment", "mean_response_s"),
    accept=accept,
)
