"""R23: SeaLLM's doubling budget: lower priority each time a budget, twice the last, is spent."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, at_most, inside, near
from qmodel.catalogue.row import Check, Row, Setting

FCFS = {"policy": {"preset": "fcfs"}}
LAS = {"policy": {"preset": "las"}}


def accept(case: Case) -> Iterator[Check]:
    """The values computed independently; the simulation; and LAS, the limit of ever finer levels, is not far."""
    yield near("fcfs", case.mean(FCFS), 14.0, within=1e-9)
    yield inside("doubling budget", case.mean(), 3.84, 3.87)
    simulated = case.simulate(requests=1_000_000)
    yield agrees("doubling budget", case.mean(), simulated)
    yield at_most("las", case.mean(LAS), "doubling budget", case.mean())


ROW = Row(
    number=23,
    name="seallm",
    title="doubling budgets: priority falls with age",
    method="exact",
    idea="""A request starts with a budget of service. When it is spent the request falls a level and the
    next budget is twice as long. Short requests overtake long ones although nobody knows the
    lengths: with variable lengths the mean response falls by more than a half. The rank is a step
    function of age, so SOAP gives it exactly.""",
    formula="""T(x) = (lambda E[min(S, A_k)^2] / (2 (1 - rho_(A_k))) + x) / (1 - rho_(A_(k-1))) for x in
    (A_(k-1), A_k], rho_A the load of min(S, A)""",
    reference="Zhao, Chen, Sun, Li, Liu & Jin 2025, arXiv 2504.15720; SOAP: Scully et al., SIGMETRICS 2018",
    missing="placement of several models on several GPUs, and their shared KV memory: one server is asked here",
    settings=(Setting("doubling budget"), Setting("las", LAS), Setting("fcfs", FCFS)),
    shown=("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s"),
    accept=accept,
)
