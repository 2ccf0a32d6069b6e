"""R6: learned best-effort serving, by its transparent baseline: a threshold between a large and a small model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import agrees, inside, rising, true
from qmodel.catalogue.row import Check, Row, Setting

LARGE: dict[str, Any] = {"transform": []}


def above(queue: int) -> dict[str, int]:
    """The small model while more than so many are there."""
    return {"transform.model-swap.above_queue": queue}


def rate(each: float) -> dict[str, float]:
    """So many requests a second."""
    return {"class.requests.arrivals.rate": each}


def accept(case: Case) -> Iterator[Check]:
    """At five times the large model's capacity nearly all are in time, at a quality that is told; a frontier."""
    found = case.simulate(requests=400_000)
    yield true("the large model alone is unstable", not case.theory(LARGE).stable)
    yield inside("attainment", value(found, "attainment"), 0.95, 1.0)
    yield agrees("E[T]", case.mean(), found)
    responses = [case.mean({**above(k), **rate(1.5)}) for k in (1, 2, 4, 8, 16)]
    small = [1 - value(case.theory({**above(k), **rate(1.5)}), "share_reduced") for k in (1, 2, 4, 8, 16)]
    yield rising("response over thresholds 1 to 16, at 1.5 requests/s", responses)
    yield rising("share of the large model", small)


ROW = Row(
    number=6,
    name="best-effort",
    title="a smaller model under pressure",
    method="exact",
    idea="""Each request goes to the largest model that the load leaves time for. A threshold on the queue
    is the policy one can see through; a learned router has to beat it. Far beyond the capacity of
    the large model everyone is still served in time, at the quality of the mix.""",
    formula="embedded chain at departures (as model-swap); quality = 1 - f_small (1 - q)",
    reference="Jha, Hooper, Liu, Kim & Keutzer 2024, arXiv 2401.07886",
    unchecked="""Best-effort-like: two models share one server here; the paper's three models run side by side on
    four GPUs""",
    missing="the optimum by value iteration, and the router that is learned (controllers)",
    settings=(
        Setting("threshold 5"),
        Setting("threshold 2", above(2)),
        Setting("threshold 10", above(10)),
        Setting("large model only", LARGE),
    ),
    shown=("mean_response_s", "p95_response_s", "share_reduced", "attainment"),
    accept=accept,
)
