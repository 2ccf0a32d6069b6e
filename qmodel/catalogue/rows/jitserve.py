"""R25: JITServe: service just in time for the promise, to whom it pays most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import falling, inside, true
from qmodel.catalogue.row import Check, Row, Setting

NAMES = ("chat", "deadline", "bulk")
HORIZON = 200.0
ALL_STAY: dict[str, Any] = {f"class.{n}.patience": {"distribution": "deterministic", "value": 1e9} for n in NAMES}


def baseline(preset: str) -> dict[str, Any]:
    """Another order, in which nobody gives up."""
    return {**ALL_STAY, "policy": {"preset": preset}}


def predicted(scv: float) -> dict[str, Any]:
    """Predictions with an error of this squared coefficient of variation; none for 0."""
    error = {"error": "lognormal", "scv": scv} if scv else {"error": "exact"}
    return {f"class.{name}.predicted_size": error for name in NAMES}


def met(case: Case, changes: dict[str, Any]) -> float:
    """Share of requests in time, from empty at overload: goodput over arrivals."""
    return value(case.simulate(changes, horizon_s=HORIZON, replications=20), "attainment")


def accept(case: Case) -> Iterator[Check]:
    """Above EDF, SJF and FCFS; true lengths are the upper bound, and worse predictions lose, step by step."""
    own = met(case, {})
    others = {preset: met(case, baseline(preset)) for preset in ("fcfs", "edf", "sjf")}
    for preset, other in others.items():
        yield true(f"goodput share {own:.4f} >= {preset} {other:.4f}", own >= other)
    yield inside("ratio to edf", own / others["edf"], 1.0, 6.3)
    yield falling(
        "goodput share with errors of scv 0, 0.3, 2, 10", [met(case, predicted(s)) for s in (0, 0.3, 2, 10)]
    )


ROW = Row(
    number=25,
    name="jitserve",
    title="goodput first: who can still be in time",
    method="simulation",
    idea="""At overload not everyone can be in time. Serve whom it takes least to serve in time, by
    predicted remaining work, and spend nothing on whom it is too late for. Better predictions give
    more goodput; true lengths are the bound.""",
    formula="margin of goodput per work = 1 / predicted remaining; a request leaves when its slack is used up",
    reference="Zhang et al., NSDI 2026, arXiv 2504.20068",
    unchecked="""JITServe-like: GMAX is stood for by least predicted remaining work among those that can still be
    in time; value is counted in requests, not tokens""",
    missing="compound requests (a DAG), quantile bounds refined as tokens come, groups of like length",
    settings=(
        Setting("by remaining work, late leave", horizon_s=HORIZON, replications=20),
        Setting("true lengths", predicted(0), horizon_s=HORIZON, replications=20),
        Setting("sjf", baseline("sjf"), horizon_s=HORIZON, replications=20),
        Setting("fcfs", baseline("fcfs"), horizon_s=HORIZON, replications=20),
        Setting("edf", baseline("edf"), horizon_s=HORIZON, replications=20),
    ),
    shown=("attainment", "chat:attainment", "deadline:attainment", "bulk:attainment"),
    no_live="requests that leave when it is too late are not run live",
    accept=accept,
)
