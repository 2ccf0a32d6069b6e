"""R18: QLM: waits are predicted from the work ahead, and groups are ordered by their promise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import falling, inside, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.policy.waiting_time import waiting_time

FCFS = {"policy": {"preset": "fcfs"}}
BY_CLASS = {"policy": {"preset": "np-priority"}, "class.interactive.priority": 0, "class.batch.priority": 1}


def waits(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Of each request under FCFS, how many it finds waiting, and how long it waits."""
    from qmodel.simulation.replaying import replay

    scenario = case.scenario(FCFS)
    rng = np.random.default_rng(case.seed)
    arrival = np.cumsum(rng.exponential(1 / scenario.rate, 200_000))
    start = replay(scenario, arrival_s=arrival, service_s=scenario.size.sample(rng, arrival.size)).start_s
    ahead = np.arange(arrival.size) - np.searchsorted(start, arrival, side="right")
    return ahead, start - arrival


def accept(case: Case) -> Iterator[Check]:
    """Coverage of the 90 % interval; the relative error falls as one over the root; promises before arrival."""
    ahead, waited = waits(case)
    size = case.scenario(FCFS).size
    errors = []
    for queue in (4, 16, 36):
        found = waited[ahead == queue]
        told = waiting_time(queue, size.mean, size.moment(2))
        low, high = told.interval(0.90)
        yield inside(
            f"{queue} ahead: coverage of 90 %", float(((found >= low) & (found <= high)).mean()), 0.85, 0.95
        )
        errors.append(float(found.std()) / told.mean_s)
    yield falling("relative error over 4, 16, 36 ahead", errors)
    yield inside("error at 36 over error at 4 ahead (1/3 by the root)", errors[-1] / errors[0], 0.25, 0.45)
    own, fcfs = (value(case.simulate(c, requests=200_000), "attainment") for c in ({}, FCFS))
    yield true(f"attainment {own:.4f} by promise >= {fcfs:.4f} by arrival", own >= fcfs)


ROW = Row(
    number=18,
    name="qlm",
    title="waits told from the queue; groups by promise",
    method="simulation",
    idea="""Requests of one model and promise form a group. How long a group will wait is told from the work
    ahead of it: a sum of many services, so nearly normal, and relatively ever surer the longer the
    queue. Groups are put in order so that the most promises are kept.""",
    formula="""W ~ normal with mean n E[S] + E[S^2] / (2 E[S]) and n Var[S] + that of the residual; error ~ 1 /
    sqrt(n)""",
    reference="Patke et al., SoCC 2024, arXiv 2407.00047",
    unchecked="""QLM-like: groups are classes, ordered by EDF request by request; the estimator is normal, as
    catalogued""",
    missing="""several models on an engine: swaps between groups (polling with setups), and the linear program
    over groups""",
    settings=(
        Setting("by promise (edf)", {}, "simulation", 200_000),
        Setting("interactive first", BY_CLASS, "simulation", 200_000),
        Setting("fcfs", FCFS, "simulation", 200_000),
    ),
    shown=("attainment", "interactive:attainment", "batch:attainment", "interactive:p99_response_s"),
    accept=accept,
)
