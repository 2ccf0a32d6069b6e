"""From a scenario to the rules of its engine; and from metrics to the answers of its classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qmodel.answer import ClassAnswer
from qmodel.errors import InputError
from qmodel.service.engine import Engine
from qmodel.service.fitted_iterations import engine_time_of
from qmodel.service.transform import ClipOutput, EarlyExit, QueueCondition
from qmodel.simulation.iterations.drawing import LENGTHS, mean_tokens
from qmodel.simulation.iterations.rules import UNBOUNDED, Rules

if TYPE_CHECKING:
    from qmodel.scenario import Scenario
    from qmodel.simulation.iterations.metrics import Metrics

HANDLED = frozenset({
    "preemption-cost", "buffer", "patience", "pause", "prefix-hit", "encode", "piecewise", "routing",
    "joint-lengths",
})  # fmt: skip
"""Features of a scenario (`Scenario.features`) that a batching engine is simulated with."""


def rules_of(scenario: Scenario) -> Rules:
    """The rules of a scenario with batching = "continuous". Raises InputError for what is not simulated."""
    unknown = sorted(scenario.features - HANDLED)
    if unknown:
        raise InputError(f"simulation, {unknown[0]}", "is not simulated with continuous batching", "leave it out")
    system, condition = scenario.system, _condition(scenario)
    if system.iteration_time is None and system.model is None:
        remedy = "continuous batching needs iteration_time with base, per_sequence, ..., or a fitted service"
        raise InputError("system, iteration_time", "is missing", remedy)
    return Rules(
        time=system.iteration_time or engine_time_of(system.model),
        engine=getattr(system, "engine", None) or Engine(),
        max_batch=system.max_batch,
        kv_capacity_tokens=system.kv_capacity_tokens,
        buffer=system.buffer,
        resume_s=scenario.preemption.cost_s,
        early_exit=_early_exit(scenario),
        servers=system.servers,
        routing=system.routing,
        condition=condition,
        clip=min(
            (each.max_tokens for each in scenario.transforms if isinstance(each, ClipOutput)), default=UNBOUNDED
        ),
        context=_context(clipped(scenario)),
    )


def _context(scenario: Scenario) -> float | None:
    """Tokens of a mean prompt with half of a mean output, where every class says how long they are."""
    if any(name not in each.factors for each in scenario.classes for name in LENGTHS):
        return None
    prompt, output = mean_tokens(scenario)
    return prompt + 0.5 * output


def _condition(scenario: Scenario) -> QueueCondition | None:
    """The queue condition, of clip-output alone: a batch is computed in one pass, by one model."""
    for transform in scenario.transforms:
        if transform.when is not None and not isinstance(transform, ClipOutput):
            fault = f"of {type(transform).__name__} has no meaning where one pass serves the whole batch"
            raise InputError("transform, above_queue", fault, "clip-output gives fewer tokens by above_queue")
    found = scenario.condition
    if found is not None:
        for feature in ("patience", "pause"):
            if feature in scenario.features:
                fault = f"is not simulated with {feature} and continuous batching"
                raise InputError("transform, above_queue", fault, "leave one of them out")
        if found.swap_time_s > 0:
            raise InputError("transform, swap_time_s", "has nothing to swap: clip-output", "leave it out")
    return found


def _early_exit(scenario: Scenario) -> EarlyExit | None:
    found = None
    for transform in scenario.transforms:
        if isinstance(transform, EarlyExit) and found is None:
            found = transform
        elif not isinstance(transform, ClipOutput):
            name = type(transform).__name__
            raise InputError(f"transform {name}", "is not simulated with continuous batching", "leave it out")
    return found


def clipped(scenario: Scenario) -> Scenario:
    """The same scenario with the outputs of its classes as long as its unconditional transforms leave them."""
    classes = scenario.classes
    for transform in scenario.transforms:
        if isinstance(transform, ClipOutput) and transform.when is None:
            classes = [replace(each, factors=transform.clipped(each.factors)) for each in classes]
    return replace(scenario, classes=classes)


def class_answers(scenario: Scenario, metrics: Sequence[Metrics]) -> list[ClassAnswer]:
    """Answers of `all` and each class from their metrics."""
    rates = [each.rate for each in scenario.classes]
    heads = [("all", math.fsum(rates)), *((each.name, each.rate) for each in scenario.classes)]
    return [_class_answer(name, rate, each) for (name, rate), each in zip(heads, metrics, strict=True)]


def _class_answer(name: str, rate: float, metrics: Metrics) -> ClassAnswer:
    known = {m: found for m, found in metrics.items() if found is not None and not math.isnan(found.value)}
    values: dict[str, float | None] = {m: known[m].value if m in known else None for m in metrics}
    return ClassAnswer(name, rate, values, ci95={m: (found.low, found.high) for m, found in known.items()})
