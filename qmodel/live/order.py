"""From a scenario and its schedule to the order for a server, after checking that its engine can do it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.batches import check_continuous, check_dynamic, make_batches
from qmodel.live.engine import Work
from qmodel.live.schedule import LONG
from qmodel.live.wire import RunOrder, pack_policy
from qmodel.policy.base import Request
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit, FewerSteps

if TYPE_CHECKING:
    import pandas as pd

HANDLED = frozenset({"piecewise", "static-batching", "bins", "prefix-hit", "pause"})
"""Features of a scenario (`Scenario.features`) that are run live; other checks say more on some of them."""


def make_order(scenario: Scenario, schedule: pd.DataFrame, engine: Mapping[str, Any]) -> RunOrder:
    """The order of one run. `engine` is the engine's introduction. Raises InputError when it cannot serve this."""
    check_runnable(scenario, engine)
    rows: dict[str, list[Any]] = {str(name): schedule[name].tolist() for name in schedule.columns}
    factors = sorted({name for request_class in scenario.classes for name in request_class.factors})
    works = _works(rows, factors, "")
    conditional = scenario.condition is not None
    return RunOrder(
        policy=pack_policy(scenario.policy),
        condition=scenario.condition,
        requests=_requests(rows),
        works=works,
        works_long=list(_works(rows, factors, LONG)) if conditional else [None] * len(works),
        delivered=rows["delivered_at"],
        size_long=rows["size_s" + LONG] if conditional else [None] * len(works),
        batches=make_batches(scenario, rows),
    )


def check_runnable(scenario: Scenario, engine: Mapping[str, Any]) -> None:
    """Raise InputError for what this engine, or any live server here, cannot do."""
    system, name = scenario.system, f"engine '{engine['name']}'"
    if system.servers != 1:
        raise InputError("system.servers", f"is {system.servers}", "one live server runs one; set it to 1")
    odd = sorted(scenario.features - HANDLED)
    if odd:
        raise InputError(f"scenario, {odd[0]}", "is not run live", "leave it out")
    if system.batching == "processor-sharing" and scenario.policy.sharing is None:
        raise InputError("system.batching", "processor-sharing is a policy of live servers", "use the policy ps")
    batched = system.batching if system.batches else "none"
    if batched not in engine.get("batching", ("none",)):
        raise InputError("system.batching", f"'{system.batching}' is not run by {name}", _offers(engine))
    if "pause" in scenario.features and batched != "continuous":
        fault = "is run live by an engine with continuous batching"
        raise InputError("class, pause", fault, "set system.batching = 'continuous', or leave it out")
    _check_predictions(scenario)
    if batched == "continuous":
        check_continuous(scenario, engine)
    elif batched == "dynamic":
        check_dynamic(scenario, engine["emulated"])
    if not engine["emulated"]:
        _check_factors(scenario, engine["factors"], name)
    if batched != "none":
        return
    if not engine["emulated"]:
        _check_transforms(scenario, name)
    elif scenario.condition is not None and scenario.condition.swap_time_s > 0:
        raise InputError("transform, swap_time_s", "is not run live", "set it to 0")


def _offers(engine: Mapping[str, Any]) -> str:
    return "use " + " or ".join(engine.get("batching", ("none",)))


def _check_predictions(scenario: Scenario) -> None:
    if "prediction" not in scenario.policy.depends_on:
        return
    for request_class in scenario.classes:
        if request_class.predicted_size.error == "none":
            fault = f"policy '{scenario.policy.name}' needs a predicted size"
            raise InputError(f"class '{request_class.name}', predicted_size", fault, "set predicted_size.error")


def _check_factors(scenario: Scenario, factors: tuple[str, ...], engine: str) -> None:
    for request_class in scenario.classes:
        place = f"class '{request_class.name}'"
        if request_class.service is not None:
            remedy = (
                "give its factors (" + ", ".join(factors) + ") and a fitted model, or use the engine 'emulated'"
            )
            raise InputError(f"{place}, service", f"{engine} does real work and takes no seconds", remedy)
        for name in request_class.factors:
            if name not in factors:
                raise InputError(f"{place}, {name}", f"{engine} has no such factor", "it has " + ", ".join(factors))


def _check_transforms(scenario: Scenario, engine: str) -> None:
    for transform in scenario.transforms:
        if not isinstance(transform, FewerSteps | EarlyExit):
            kind = type(transform).__name__
            raise InputError("transform", f"{kind} is not run by {engine}", "it does steps and early-exit")
        if transform.when is not None and transform.when.swap_time_s > 0:
            raise InputError("transform, swap_time_s", f"{engine} has nothing to swap", "set it to 0")
        if any("steps" not in request_class.factors for request_class in scenario.classes):
            raise InputError("transform", "needs the factor steps in every class", "give factors.steps")


def _requests(rows: Mapping[str, list[Any]]) -> list[Request]:
    fields = ("scheduled_s", "size_s", "predicted_size_s", "priority", "weight", "deadline_s", "lottery", "class")
    return [Request(*values) for values in zip(*(rows[name] for name in fields), strict=True)]


def _works(rows: Mapping[str, list[Any]], factors: list[str], suffix: str) -> list[Work]:
    columns = {name: rows[name + suffix] for name in factors if name + suffix in rows}
    sizes, first = rows["size_s" + suffix], rows.get("first_s" + suffix)
    return [
        Work(
            {name: int(values[i]) for name, values in columns.items() if not math.isnan(values[i])},
            seconds,
            i,
            None if first is None else min(first[i] / sizes[i], 1.0),
        )
        for i, seconds in enumerate(rows["work_s" + suffix])
    ]
