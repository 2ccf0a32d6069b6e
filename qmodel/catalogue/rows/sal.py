"""R22: SAL: the load balancer counts tokens, not requests."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import near, rising
from qmodel.catalogue.row import Check, Row, Setting

ALIKE = {
    "class.prompts.service": {"distribution": "deterministic", "value": 1.0},
    "class.prompts.arrivals.rate": 2.0,
}
ROUTES = ("least-work", "jsq", "round-robin", "random")


def route(name: str) -> dict[str, str]:
    """Another rule for which engine a prompt joins."""
    return {"system.routing": name}


def tail(case: Case, changes: dict) -> float:
    """Simulated 90th percentile of the response (s)."""
    from qmodel.simulation import simulate

    found = simulate(case.scenario(changes), requests=200_000, seed=case.seed, percentiles=(90.0,))
    return float(found["all"].metrics["p90_response_s"] or 0.0)


def accept(case: Case) -> Iterator[Check]:
    """Tokens, then requests, then turns, then chance; prompts all alike: tokens are as good as requests."""
    yield rising("P90 by " + ", ".join(ROUTES), [tail(case, route(name)) for name in ROUTES])
    tokens, requests = (
        case.simulate({**ALIKE, **route(name)}, requests=200_000)["all"].metrics["mean_response_s"] or 0.0
        for name in ("least-work", "jsq")
    )
    yield near("prompts all alike, load 0.5: mean by tokens", tokens, requests, within=0.03)


ROW = Row(
    number=22,
    name="sal",
    title="a load balancer that counts tokens",
    method="simulation",
    idea="""Queues of requests hide how much work waits in them. A balancer that counts the prompt tokens
    that are queued (here: least work) sends a request where it starts soonest; one that counts
    requests is fooled by long prompts; turns and chance know nothing.""",
    formula="join the server with least work; mean field of JSQ(d): P(>= i) = rho^((d^i - 1)/(d - 1))",
    reference="Kossmann et al. 2024, arXiv 2410.17840",
    unchecked="""SAL-like: least work stands for queued prefill tokens, memory does not bind, and TTFT is the
    response of a server that does prompts alone; LARRY, the order inside an engine, is not
    expressed""",
    missing="LARRY: a rank that knows the memory in use",
    settings=tuple(Setting(name, route(name), "simulation", 200_000) for name in ROUTES),
    shown=("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s", "attainment"),
    accept=accept,
)
