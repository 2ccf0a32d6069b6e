"""R1: three SLO classes, and within a class the shortest predicted job."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, true
from qmodel.catalogue.row import Check, Row, Setting

CLASSES_ONLY = {"policy": {"preset": "np-priority"}}
FCFS = {"policy": {"preset": "fcfs"}}


def accept(case: Case) -> Iterator[Check]:
    """Conservation for the order by class alone; theory inside the simulation's intervals under both orders."""
    by_class, fcfs = case.theory(CLASSES_ONLY), case.theory(FCFS)
    served = case.scenario().served
    kept = math.fsum(c.load * value(by_class, f"{c.name}:mean_wait_s") for c in served)
    whole = case.scenario().utilisation * value(fcfs, "mean_wait_s")
    yield near("sum of rho_i W_i", kept, whole, within=1e-9)
    for changes, order in ((CLASSES_ONLY, "by class"), ({}, "by class and prediction")):
        exact, simulated = case.theory(changes), case.simulate(changes, requests=200_000)
        for c in served:
            expected = value(exact, f"{c.name}:mean_response_s")
            low, high = simulated[c.name].ci95["mean_response_s"]
            yield true(
                f"{order}, {c.name}: E[T] {expected:.5g} in [{low:.5g}, {high:.5g}]", low <= expected <= high
            )


ROW = Row(
    number=1,
    name="slo-classes",
    title="SLO classes, prediction inside a class",
    method="exact",
    idea="""Chat, agents with deadlines and bulk jobs share a server. The class with the tightest SLO goes
    first; inside a class the job that is predicted to be shortest does. What does each class see,
    and who pays?""",
    formula="""Cobham: W_k = W0 / ((1 - s_(k-1)) (1 - s_k)); inside a class SPJF by the nested rank (class,
    prediction). Sum of rho_i W_i = rho W_FCFS for every order by class alone that does not preempt
    (Kleinrock).""",
    reference="Cobham 1954; Kleinrock 1965; the line of work of GAEA, e.g. JITServe, arXiv 2504.20068 (see R25)",
    settings=(
        Setting("class, then prediction"),
        Setting("class alone", CLASSES_ONLY),
        Setting("fcfs", FCFS),
    ),
    shown=(
        "chat:mean_response_s",
        "agent:mean_response_s",
        "bulk:mean_response_s",
        "chat:attainment",
        "attainment",
    ),
    accept=accept,
)
