"""R38: adaptation under drift: models switch when the traffic steps up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, near
from qmodel.catalogue.row import Check, Row, Setting

LARGE: dict[str, Any] = {"transform": []}
SMALL: dict[str, Any] = {"transform": [{"kind": "model-swap", "service_factor": 0.4, "quality": 0.9}]}
CALM = {"class.requests.arrivals": {"process": "poisson", "rate": 0.6}}
WORTH_LOST = 0.1
"""Quality that a request served by the small model loses."""


def worth(case: Case, changes: dict[str, Any], small: float | None) -> float:
    """Attainment less the quality lost: what one request is worth on average."""
    found = case.simulate(changes, horizon_s=900.0, replications=20)
    share = value(found, "share_reduced") if small is None else small
    return value(found, "attainment") - WORTH_LOST * share


def accept(case: Case) -> Iterator[Check]:
    """Regret of switching is below that of either static choice; in calm traffic it rarely switches."""
    switching, large, small = worth(case, {}, None), worth(case, LARGE, 0.0), worth(case, SMALL, 1.0)
    yield at_most("regret of switching", 1 - switching, "large model only", 1 - large)
    yield at_most("regret of switching", 1 - switching, "small model only", 1 - small)
    calm = case.simulate(CALM, requests=100_000)
    exact = case.theory(CALM)
    yield near("calm: E[T] simulated", value(calm, "mean_response_s"), value(exact, "mean_response_s"), within=0.03)
    shares = value(exact, "share_reduced"), value(case.simulate(horizon_s=900.0), "share_reduced")
    yield at_most("share of the small model in calm traffic", shares[0], "over the step", shares[1])


ROW = Row(
    number=38,
    name="drift",
    title="switching models under drift (a family)",
    method="simulation",
    idea="""Traffic changes while a system runs, and the system adapts: it switches to a smaller model while
    the queue is long. Regret is measured against serving everyone in time at full quality; either
    static choice loses more, the large model in the step, the small one all the rest of the time.""",
    formula="piecewise stationary: each stretch by the threshold's embedded chain; the transient is simulated",
    reference="a family of papers: AdaMLS, arXiv 2308.09960; HarmonE, arXiv 2601.11926; POLARIS, arXiv 2512.04702",
    unchecked="""Drift-like: the title that the row stands for was not found; a threshold with hysteresis stands
    for the controller""",
    missing="controllers that learn (MAPE-K with clusters), the delay of detecting drift, and an oracle",
    settings=(
        Setting("switching", {}, horizon_s=900.0, replications=20),
        Setting("small model only", SMALL, horizon_s=900.0, replications=20),
        Setting("large model only", LARGE, horizon_s=900.0, replications=20),
    ),
    shown=("mean_response_s", "p95_response_s", "attainment", "share_reduced"),
    accept=accept,
)
