"""R27: SLOs-Serve: whoever is admitted is in time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.sequence import all_in_time, most_in_time

EVERYONE: dict[str, Any] = {"system": {}}


def possible(work: tuple[float, ...], due: tuple[float, ...]) -> bool:
    """Whether any of all orders has every job in time."""
    return any(
        all(sum(work[j] for j in order[: k + 1]) <= due[order[k]] for k in range(len(order)))
        for order in permutations(range(len(work)))
    )


def accept(case: Case) -> Iterator[Check]:
    """No admitted request misses; the criterion and the largest set against all orders of up to six jobs."""
    found = case.simulate(requests=100_000)
    rejected, met = value(found, "rejected_share"), value(found, "attainment")
    yield near("in time among the admitted", met / (1 - rejected), 1.0, within=1e-12)
    yield near("rejected, theory", value(case.theory(), "rejected_share"), rejected, within=0.03)
    everyone = case.simulate(EVERYONE, horizon_s=2_000.0, replications=5)
    yield true(f"in time {met:.3f} > {value(everyone, 'attainment'):.3f} if all are admitted",
               met > value(everyone, "attainment"))  # fmt: skip
    rng = np.random.default_rng(case.seed)
    batches = [(tuple(rng.integers(1, 9, 5)), tuple(rng.integers(2, 30, 5))) for _ in range(60)]
    agree = sum(all_in_time(work, due) == possible(work, due) for work, due in batches)
    yield true(
        f"criterion right on {agree} of 60 batches, {sum(possible(*b) for b in batches)} feasible", agree == 60
    )
    best = [
        max(len(s) for n in range(6) for s in combinations(range(5), n)
            if possible(tuple(work[j] for j in s), tuple(due[j] for j in s)))
        for work, due in batches
    ]  # fmt: skip
    right = sum(len(most_in_time(*batch)) == most for batch, most in zip(batches, best, strict=True))
    yield true(f"largest set right on {right} of 60 batches", right == 60)


ROW = Row(
    number=27,
    name="slos-serve",
    title="admit only whom one can serve in time",
    method="exact",
    idea="""A request is admitted only if everyone already admitted, and it, can still be in time; others
    are served elsewhere or as best effort. With one class and constant service the test is the
    length of the queue: at most deadline over service. At overload everyone admitted is in time,
    while without the test hardly anyone is.""",
    formula="""feasible iff for each t the work due by t is at most t (processor demand); M/D/1/K for the share
    rejected""",
    reference="Chen, Jia, Khan, Krishnamurthy & Gibbons 2025, arXiv 2504.08784; Moore & Hodgson 1968",
    unchecked="""SLOs-Serve-like: the test is the room of the system, right for one class of constant service;
    whoever is turned away is not served at all""",
    missing="stages with promises of their own, tokens shared out by dynamic programming, speculation, best effort",
    settings=(
        Setting("room for 5", method="simulation"),
        Setting("room for 20", {"system.buffer": 20}, "simulation"),
        Setting("everyone admitted", EVERYONE, "simulation", horizon_s=2_000.0, replications=5),
    ),
    shown=("attainment", "rejected_share", "mean_response_s", "p99_response_s"),
    no_live="no live server here turns requests away",
    accept=accept,
)
