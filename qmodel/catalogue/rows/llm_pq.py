"""R15: LLM-PQ: layers and precisions shared out over unequal GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from qmodel.catalogue.case import Case
from qmodel.catalogue.checks import agrees, near, true
from qmodel.catalogue.row import Check, Row, Setting
from qmodel.service.pipeline import Precision, best_plan, makespan

LAYERS = (1.0, 1.0, 1.5, 1.0, 0.5, 1.0, 1.0, 1.0)
WAYS = (Precision((0.1, 0.3), 2.0, 0.0), Precision((0.07, 0.2), 1.0, 1.0), Precision((0.06, 0.15), 0.5, 3.0))
MEMORY, LOSS, BATCHES = (6.0, 5.0), 8.0, 8


def by_force() -> float:
    """The least makespan of all cuts and precisions."""
    best = float("inf")
    for chosen in product(range(3), repeat=8):
        if sum(WAYS[way].loss for way in chosen) > LOSS:
            continue
        for cut in range(9):
            stages, used = [0.0, 0.0], [0.0, 0.0]
            for i, way in enumerate(chosen):
                on = int(i >= cut)
                stages[on] += LAYERS[i] * WAYS[way].seconds[on]
                used[on] += LAYERS[i] * WAYS[way].memory
            if used[0] <= MEMORY[0] and used[1] <= MEMORY[1]:
                best = min(best, makespan(stages, BATCHES))
    return best


def stages(fast: float, slow: float) -> dict[str, float]:
    """Seconds a micro-batch at each stage."""
    return {
        "class.micro-batches.services.fast.value": fast,
        "class.micro-batches.services.slow.value": slow,
    }


def accept(case: Case) -> Iterator[Check]:
    """The optimiser against all plans; stations in line: the slowest binds, in theory and simulation."""
    plan = best_plan(LAYERS, WAYS, MEMORY, most_loss=LOSS, micro_batches=BATCHES)
    yield near("makespan of the best plan", plan.makespan_s, by_force(), within=1e-9)
    for fast, slow in ((0.75, 0.75), (0.5, 1.0)):
        rho = 0.9 * max(fast, slow)
        by_hand = fast + slow + rho * max(fast, slow) / (2 * (1 - rho))
        yield near(f"stages of {fast} and {slow} s: E[T]", case.mean(stages(fast, slow)), by_hand, within=1e-9)
    yield agrees("E[T]", case.mean(), case.simulate(requests=200_000))
    unbalanced = stages(0.4, 1.2)
    yield true("the same work cut 0.4 + 1.2 s has no steady state", not case.theory(unbalanced).stable)


ROW = Row(
    number=15,
    name="llm-pq",
    title="layers and precisions over unequal GPUs",
    method="exact",
    idea="""A model is cut into stages for GPUs of different speed and memory, and each layer gets its own
    precision. The slowest stage sets the pace of a pipeline, so the best cut balances times, within
    the memories and a bound on the loss of quality. Online the stages are queues in line, and only
    the slowest one queues.""",
    formula="""makespan = sum of t_s + (m - 1) max t_s; online E[T] = sum of t_s + M/D/1 wait of the slowest
    (Friedman)""",
    reference="Zhao, Wan, Peng, Lin & Wu, PPoPP 2024, arXiv 2403.01136; Friedman 1965",
    unchecked="""LLM-PQ-like: losses of quality add up over layers; phases of prefill and decode are one time
    here""",
    missing="more than two devices, and the 6 % model of times on real ones",
    settings=(
        Setting("balanced, 0.75 + 0.75 s"),
        Setting("0.6 + 0.9 s", stages(0.6, 0.9)),
        Setting("half and half the layers", stages(0.5, 1.0)),
    ),
    shown=("mean_response_s", "p95_response_s", "mean_wait_s", "mean_service_s"),
    accept=accept,
)
