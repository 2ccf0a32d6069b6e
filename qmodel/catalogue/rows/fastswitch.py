"""R9: FastSwitch: what a switch of context costs, and what a cheaper one is worth."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import near, rising, true
from qmodel.catalogue.row import Check, Row, Setting

COSTS = (0.0, 0.02, 0.05, 0.1)


def cost(seconds: float) -> dict[str, float]:
    """Each resumption of a preempted request costs so long."""
    return {"policy.preemption_cost_s": seconds}


FREE = {**cost(0.0), "class.interactive.arrivals.rate": 2.15, "class.batch.arrivals.rate": 1.6}
"""Live the dear switch is the computation of the cache anew; load of 0.7, above 0.75 it feeds upon itself."""
ONE_SERVER = {
    "system": {},
    "class": [
        {"name": n, "priority": p, "arrivals": f"poisson:{r}", "service": f"exponential:{m}"}
        for n, p, r, m in (("interactive", 0, 0.4, 0.5), ("batch", 1, 0.2, 2.0))
    ],
}
"""Two classes on one server, of which theory knows the cost of preemption."""


def accept(case: Case) -> Iterator[Check]:
    """The tail of the gap between tokens falls with the cost; on one server theory at no cost is the plain one."""
    gaps = [value(case.simulate(cost(c), requests=20_000), "p99_itl_s") for c in COSTS]
    yield rising("p99 gap between tokens, costs 0 to 100 ms", gaps)
    yield true(f"and the dearest switch shows in it: {gaps[-1]:.4f} s > {gaps[0]:.4f} s", gaps[-1] > gaps[0])
    means = [case.mean({**ONE_SERVER, **cost(c)}, "batch") for c in (0.0, 0.05, 0.1, 0.2)]
    yield rising("one server, batch class, costs 0 to 200 ms", means)
    free = 2.0 / 0.8 + (0.4 * 0.5 + 0.2 * 8.0) / (2 * 0.8 * 0.4)
    yield near("one server, no cost", means[0], free, within=1e-9)


ROW = Row(
    number=9,
    name="fastswitch",
    title="cheaper switches between preempted requests",
    method="simulation",
    idea="""A fair scheduler preempts often, and each time a KV cache crosses the bus. Coarser blocks,
    swapping beside the computation and keeping copies make a switch cheaper. The stall stands in
    every gap between tokens of the whole batch, so the tail of the gap is where it shows.""",
    formula="one server: busy periods of sizes enlarged by the cost (Gaver); the engine's tails are simulated",
    reference="Shen, Li & Gao 2024, arXiv 2411.18424; Gaver 1962",
    settings=(
        Setting("switch for nothing", cost(0.0), requests=20_000),
        Setting("10 ms", cost(0.01), requests=20_000),
        Setting("40 ms", requests=20_000),
        Setting("100 ms", cost(0.1), requests=20_000),
    ),
    shown=(
        "interactive:mean_ttft_s",
        "batch:mean_response_s",
        "interactive:p99_tpot_s",
        "p99_itl_s",
        "preemptions_per_request",
    ),
    missing="a bus of its own that swaps share beside the computation; how often priorities are drawn anew",
    live=(
        Setting("caches kept", FREE),
        Setting("caches dropped", {**FREE, "system.engine": {"prefix_caching": False}}),
    ),
    accept=accept,
)
