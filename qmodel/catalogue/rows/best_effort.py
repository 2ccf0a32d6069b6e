"""R6: learned best-effort serving: a threshold between a large and a small model, optimal, learned or guessed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmodel.catalogue.case import Case, value
from qmodel.catalogue.checks import agrees, at_most, inside, near, rising, true
from qmodel.catalogue.controlled import problem, threshold, trace_of
from qmodel.catalogue.row import Check, Controlled, Row, Setting
from qmodel.planning.queue_control import policy_iteration, value_iteration

PRICE = 0.002
"""Quality that a second of response is worth."""
OPTIMUM, BEST, LEARNED = Controlled("optimum", PRICE), Controlled("static", PRICE), Controlled("learned", PRICE)
PLAIN = Setting("")
UNTUNED = 5
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
    yield from controllers(case)


def exactly(case: Case, queue: int) -> float:
    """Cost of a request at this threshold, by theory."""
    found = case.theory(above(queue))
    return 0.2 * value(found, "share_reduced") + PRICE * value(found, "mean_response_s")


def controllers(case: Case) -> Iterator[Check]:
    """The optimum by two ways and by exhaustive search with theory; learned on one trace, judged on another."""
    control = problem(case, PLAIN, PRICE)
    best, other = value_iteration(control), policy_iteration(control)
    costs = [exactly(case, queue) for queue in range(1, 11)]
    yield true(
        f"value iteration: threshold {best.threshold}; policy iteration alike", best.actions == other.actions
    )
    yield near("its cost, the least of thresholds 1 to 10 by theory,", min(costs), best.high, within=1e-6)
    judge = trace_of(case, PLAIN, LEARNED, judged=True)
    least = judge.cost_of(best.as_threshold)
    for how in (BEST, LEARNED):
        found = judge.cost_of(threshold(case, PLAIN, how))
        yield at_most(f"{how.how}: cost on unseen requests", found, "optimum", least, slack=0.05)
        yield at_most(f"{how.how}: cost on unseen requests", found, "untuned", judge.cost_of(UNTUNED))


ROW = Row(
    number=6,
    name="best-effort",
    title="a smaller model under pressure",
    method="exact",
    idea="""Each request goes to the largest model that the load leaves time for. A threshold on the queue
    is the policy one can see through; a learned router has to beat it. Far beyond the capacity of
    the large model everyone is still served in time, at the quality of the mix. With a price on a
    second of response there is a best threshold: no policy does better, and a router that learns
    from costs alone finds it, or its neighbour.""",
    formula="""embedded chain at departures (as model-swap); quality = 1 - f_small (1 - q); optimum: value
    iteration of loss + price x response over the number there""",
    reference="Jha, Hooper, Liu, Kim & Keutzer 2024, arXiv 2401.07886",
    unchecked="""Best-effort-like: two models share one server here; the paper's three models run side by side on
    four GPUs. What is learned is a table of costs by the number there (Q-learning), not a network;
    a second of response is worth 0.002 of quality, which the paper does not say""",
    missing="tasks of several kinds, and deadlines in the reward",
    settings=(
        Setting("optimum", tuned=OPTIMUM),
        Setting("learned", tuned=LEARNED),
        Setting("best in a trace", tuned=BEST),
        Setting("threshold 10", above(10)),
        Setting("large model only", LARGE),
        Setting("untuned: above 5"),
    ),
    shown=("mean_response_s", "p95_response_s", "share_reduced", "attainment"),
    accept=accept,
)
