"""R30: ScaleLLM: the gateway before the engine is a queue too."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import at_most, near, true
from qmodel.catalogue.row import Check, Row, Setting

GATEWAY = "class.users.services.gateway.mean"
ENGINE = {
    "station": [],
    "system": {"servers": 4},
    "class.users.services": {},
    "class.users.service": {"distribution": "exponential", "mean": 0.2},
    "class.users.arrivals.think_s": 2.0,
}
"""The engine alone: what the simulator is held against."""


def gateway(seconds: float) -> dict[str, float]:
    """A gateway that takes so long a request."""
    return {GATEWAY: seconds}


def throughput(case: Case, seconds: float) -> float:
    """Requests a second by mean value analysis."""
    return case.theory(gateway(seconds))["all"].arrival_rate


def accept(case: Case) -> Iterator[Check]:
    """X = N / (Z + E[T]); the asymptotic bounds; the gateway ten times as fast gains until the engine binds."""
    slow, fast, faster = (throughput(case, s) for s in (0.1, 0.01, 0.001))
    for found, s in ((slow, 0.1), (fast, 0.01)):
        bound = min(64 / (s + 0.2), 1 / s, 4 / 0.2)
        yield at_most(f"throughput, gateway {s} s,", found, "asymptotic bound", bound)
    yield near("slow gateway: the gateway binds, throughput", slow, 10.0, within=0.01)
    yield near("fast gateway: the engine binds, throughput", fast, 20.0, within=0.01)
    yield true(f"ten times faster again gains {100 * (faster / fast - 1):.2g} %, under 1", faster / fast < 1.01)
    simulated = case.simulate(ENGINE, requests=200_000)["all"].metrics["mean_response_s"] or 0.0
    yield near("engine alone, users who think 2 s: E[T] simulated", simulated, case.mean(ENGINE), within=0.02)


ROW = Row(
    number=30,
    name="scalellm",
    title="gateway and engine in line, 64 users at once",
    method="exact",
    idea="""A whole endpoint is a gateway before an engine. At 64 concurrent users a slow gateway binds
    while the engine idles; a gateway ten times as fast moves the bottleneck to the engine, and no
    further gain comes from there.""",
    formula="mean value analysis; X <= min(N / (D + Z), 1 / D_max)",
    reference="Yao et al., EMNLP Industry 2024, arXiv 2408.00008; Reiser & Lavenberg 1980",
    unchecked="ScaleLLM-like: the engine is four exponential servers; the paper's engine batches (see vllm)",
    settings=(
        Setting("gateway 10 ms", gateway(0.01)),
        Setting("gateway 40 ms", gateway(0.04)),
        Setting("gateway 100 ms"),
    ),
    shown=("mean_response_s", "mean_at_gateway_s", "mean_at_engine_s"),
    missing="users who come back through stations in line, in the simulator: the engine alone is held against it",
    accept=accept,
)
