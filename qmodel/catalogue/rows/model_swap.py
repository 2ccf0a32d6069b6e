"""R16: a smaller model while the queue is long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import agrees, near, true
from qmodel.catalogue.row import Check, Row, Setting

LARGE: dict[str, Any] = {"transform": []}
SMALL = {"transform": [{"kind": "model-swap", "service_factor": 0.4, "quality": 0.93}]}


def accept(case: Case) -> Iterator[Check]:
    """The worked example; the large model alone is unstable; a threshold of 0 is the small model alone."""
    found = case.theory()
    yield near("E[T]", value(found, "mean_response_s"), 2.9837, within=5e-5)
    yield near("share of the small model", value(found, "share_reduced"), 0.2392, within=5e-4)
    yield true("the large model alone is unstable", not case.theory(LARGE).stable)
    at_once = case.mean({"transform.model-swap.above_queue": 0})
    yield near("E[T], threshold 0", at_once, 0.4 + 1.1 * 0.4**2 / (2 * (1 - 1.1 * 0.4)), within=1e-9)
    simulated = case.simulate(requests=400_000)
    yield agrees("E[T]", case.mean(), simulated)


ROW = Row(
    number=16,
    name="model-swap",
    title="a smaller model while the queue is long",
    method="exact",
    idea="""When a service starts and more than K requests are there, the smaller and faster model serves
    it. The large model alone could not carry this load at all; with the threshold it serves most
    requests, and quality falls only as far as the load demands. Set below_queue for hysteresis and
    swap_time_s for what loading costs.""",
    formula="""embedded chain at departures: from n to n - 1 + j with probability of j Poisson arrivals during
    the service of the model that n > K chooses; quality = 1 - f_small (1 - q)""",
    reference="embedded Markov chain, Kendall 1953; queues with service depending on the state, Harris 1967",
    settings=(
        Setting("threshold 4"),
        Setting("hysteresis, back below 2", {"transform.model-swap.below_queue": 2}),
        Setting(
            "swap takes 0.2 s", {"transform.model-swap.swap_time_s": 0.2, "transform.model-swap.below_queue": 2}
        ),
        Setting("small model only", SMALL),
    ),
    shown=("mean_response_s", "p95_response_s", "p99_response_s", "share_reduced", "attainment"),
    accept=accept,
)
