"""R32: learning to rank: shortest first by a ranking that is right about the order, more or less."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import falling, near
from qmodel.catalogue.row import Check, Row, Setting

CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def ranked(correlation: float) -> dict[str, float]:
    """A ranking of this rank correlation with the sizes."""
    return {"class.requests.predicted_size.correlation": correlation}


def under(preset: str) -> dict[str, str]:
    """Another order."""
    return {"policy.preset": preset}


def accept(case: Case) -> Iterator[Check]:
    """The mean falls with the correlation, from that of FCFS to that of SJF; and agrees with the simulation."""
    means = [case.mean(ranked(correlation)) for correlation in CORRELATIONS]
    yield falling("E[T] over rank correlations 0 to 1", means)
    yield near("correlation 0", means[0], case.mean(under("fcfs")), within=1e-6)
    yield near("correlation 1", means[-1], case.mean(under("sjf")), within=1e-4)
    simulated = case.simulate(requests=400_000)["all"].metrics["mean_response_s"] or 0.0
    yield near("simulated, correlation 0.8", simulated, means[4], within=0.03)


ROW = Row(
    number=32,
    name="learning-to-rank",
    title="shortest first by a learned ranking",
    method="exact",
    idea="""A small model is trained to rank requests by output length; nobody needs the lengths themselves.
    Requests run in that order. Each step of rank correlation lowers the mean response, from that of
    FCFS to that of SJF.""",
    formula="W(y) = lambda E[S^2] / (2 (1 - rho'_y)^2), size and prediction joined by a Gaussian copula",
    reference="Fu, Zhu, Su, Qiao, Stoica & Zhang, NeurIPS 2024, arXiv 2408.15792",
    missing="""promotion of requests that have waited too many iterations; a cap on the wait by credit that
    grows is in rps-serve""",
    settings=(
        Setting("rank correlation 0.8"),
        Setting("rank correlation 0.4", ranked(0.4)),
        Setting("sjf, all known", under("sjf")),
        Setting("fcfs", under("fcfs")),
    ),
    shown=("mean_response_s", "p95_response_s", "p99_response_s"),
    accept=accept,
)
