"""R38: adaptation under drift: models switch when the traffic steps up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import at_most, inside, near
from qmodel.catalogue.controlled import problem, threshold, trace_of
from qmodel.catalogue.row import Check, Controlled, Row, Setting
from qmodel.planning.adaptive import delay_s, following, planned, rate_seen

LARGE: dict[str, Any] = {"transform": []}
SMALL: dict[str, Any] = {"transform": [{"kind": "model-swap", "service_factor": 0.4, "quality": 0.9}]}
CALM = {"class.requests.arrivals": {"process": "poisson", "rate": 0.6}}
WORTH_LOST = 0.1
"""Quality that a request served by the small model loses."""
SWAP = {"transform": [{"kind": "model-swap", "service_factor": 0.4, "quality": 0.9, "above_queue": 4}]}
"""Without hysteresis: a threshold is decided on."""
LEARNED, BEST = (Controlled(how, price=0.02, requests=16_000) for how in ("learned", "static"))
REGIMES, WINDOW_S = (0.6, 1.4, 0.6), 30.0


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
    yield from controllers(case)


def controllers(case: Case) -> Iterator[Check]:
    """On traffic not seen before: regret against an oracle that is told the rate; the delay of noticing a step."""
    plain = Setting("", SWAP)
    judge = trace_of(case, plain, LEARNED, judged=True)
    plan = planned(problem(case, plain, LEARNED.price), np.linspace(0.2, 2.0, 10).tolist())
    oracle = judge.serve(following(plan, lambda now_s: REGIMES[int(now_s % 900 // 300)]))
    seen = rate_seen(judge.arrival_s, WINDOW_S)
    watching = judge.serve(following(plan, seen)) - oracle
    best, learned = (judge.cost_of(threshold(case, plain, how)) - oracle for how in (BEST, LEARNED))
    yield at_most("regret: of watching the rate", watching, "best static threshold", best)
    yield at_most("regret: of the learned threshold", learned, "untuned", judge.cost_of(4) - oracle)
    yield at_most("regret: of the best static threshold", best, "small model only", judge.cost_of(0) - oracle)
    delays = [delay_s(plan, seen, 300.0 + 900.0 * i, REGIMES[1], most_s=300.0) for i in range(15)]
    yield inside("seconds until a step is acted upon, median", float(np.median(delays)), 1.0, WINDOW_S)


ROW = Row(
    number=38,
    name="drift",
    title="switching models under drift (a family)",
    method="simulation",
    idea="""Traffic changes while a system runs, and the system adapts: it switches to a smaller model while
    the queue is long. Regret is measured against serving everyone in time at full quality; either
    static choice loses more, the large model in the step, the small one all the rest of the time.
    A threshold that follows the rate of the last 30 s comes nearer to an oracle, which is told the
    rate, than any fixed one: most of the rest is the time until the step is noticed.""",
    formula="""piecewise stationary: each stretch by the threshold's embedded chain, the optimum of each rate
    by policy iteration; the transient is simulated""",
    reference="a family of papers: AdaMLS, arXiv 2308.09960; HarmonE, arXiv 2601.11926; POLARIS, arXiv 2512.04702",
    unchecked="""Drift-like: the title that the row stands for was not found; a threshold, learned, planned for
    the rate that is seen, or with hysteresis, stands for the controller""",
    missing="clusters of traffic (AdaMLS), and the time that a change of model takes",
    settings=(
        Setting("learned", SWAP, horizon_s=900.0, replications=20, tuned=LEARNED),
        Setting("best in a trace", SWAP, horizon_s=900.0, replications=20, tuned=BEST),
        Setting("small model only", SMALL, horizon_s=900.0, replications=20),
        Setting("large model only", LARGE, horizon_s=900.0, replications=20),
        Setting("untuned, 4 and back below 2", {}, horizon_s=900.0, replications=20),
    ),
    shown=("mean_response_s", "p95_response_s", "attainment", "share_reduced"),
    accept=accept,
)
