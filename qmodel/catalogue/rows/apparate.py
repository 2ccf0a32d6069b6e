"""R11: Apparate: the result leaves early, the work does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, falling, near, rising
from qmodel.catalogue.row import Check, Row, Setting

PLAIN: dict[str, Any] = {"transform": []}
STOPS = {"transform.early-exit.delivery": "stop"}
SHARE = 0.3 * 0.5 + 0.6 * 0.3 + 1.0 * 0.2


def accept(case: Case) -> Iterator[Check]:
    """T = W(S) + D in theory and in simulation; the gain shrinks with the load for releases, grows for stops."""
    rates = [5.0, 20.0, 35.0, 45.0]
    service = 1.03 * 0.02
    ramps = {"transform": [{"kind": "model-swap", "service_factor": 1.03}]}
    wait = case.mean(ramps, metric="wait")
    yield near("E[T], releases", case.mean(), wait + SHARE * service, within=1e-9)
    simulated = case.simulate(requests=400_000)
    yield agrees("E[T]", case.mean(), simulated)
    yield near("the server's time a request", case.scenario().size.mean, service, within=1e-9)
    at = [{"class.images.arrivals.rate": rate} for rate in rates]
    yield falling("gain of releases over loads", [1 - case.mean(r) / case.mean({**r, **ramps}) for r in at])
    yield rising(
        "gain of stops over loads", [1 - case.mean({**r, **STOPS}) / case.mean({**r, **ramps}) for r in at]
    )


ROW = Row(
    number=11,
    name="apparate",
    title="early exits that release only the result",
    method="exact",
    idea="""A result whose ramp is sure enough leaves at the ramp, while its input runs on to the end of the
    model, so that batches and feedback stay as they are. Queues do not get shorter, only the last
    stretch of the response does: the gain is largest at low load. A true exit, where the server
    stops too, gains most at high load.""",
    formula="T = W(S) + D, S the full service with the ramps' overhead, D <= S the moment of delivery",
    reference="Dai, Pan, Iyer, Li & Netravali, SOSP 2024, arXiv 2312.05385",
    settings=(
        Setting("release at ramps"),
        Setting("stop at ramps", STOPS),
        Setting("no exits", PLAIN),
    ),
    shown=("mean_wait_s", "mean_response_s", "p50_response_s", "p95_response_s", "attainment"),
    missing="the controller that tunes thresholds (fast loop) and ramps (slow loop): exits are given as a law here",
    accept=accept,
)
