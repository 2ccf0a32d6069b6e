"""R10: the diffusion server of the course: one queue, one server, a fixed number of steps."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near
from qmodel.catalogue.row import Check, Row, Setting

HALF = {"transform": [{"kind": "steps", "fraction": 0.5, "quality": 0.97}]}
EXPONENTIAL = {"class.images.service": {"distribution": "exponential", "mean": 5.0}}


def accept(case: Case) -> Iterator[Check]:
    """Pollaczek-Khinchine by hand, then against a simulation; and M/D/1 waits half of M/M/1."""
    scenario = case.scenario()
    rho, mean = scenario.utilisation, scenario.size.mean
    wait = value(case.theory(), "mean_wait_s")
    yield near("W of theory", wait, rho * mean / (2 * (1 - rho)), within=1e-9)
    simulated = value(case.simulate(requests=1_000_000), "mean_wait_s")
    yield near("W of 1e6 simulated requests", simulated, wait, within=0.01)
    yield near("W of exponential service", value(case.theory(EXPONENTIAL), "mean_wait_s"), 2 * wait, within=1e-9)


ROW = Row(
    number=10,
    name="diffusion-server",
    title="one queue, one diffusion server",
    method="exact",
    idea="""Requests for images queue for one diffusion model. With a fixed number of steps service is
    nearly constant, so the queue is M/D/1 and half as long as with exponential service. Halving the
    steps shortens service and, far more, the wait.""",
    formula="W = lambda E[S^2] / (2 (1 - rho)) = rho S / (2 (1 - rho)) for constant S",
    reference="Pollaczek 1930; Khinchine 1932",
    settings=(
        Setting("half the steps", HALF),
        Setting("exponential service", EXPONENTIAL),
        Setting("all steps"),
    ),
    shown=("mean_service_s", "mean_wait_s", "mean_response_s", "p95_response_s", "attainment"),
    accept=accept,
)
