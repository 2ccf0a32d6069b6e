"""The response of requests of given sizes: mean, slowdown, deviation and percentiles, under any analysed policy.

A request of size x is one of a class of its own: constant service x, the traits of its class, and a rate too small
to be felt by anyone. What the policy's result says of that class holds given the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qmodel.answer import NotAnalysable, percentile_name
from qmodel.errors import InputError
from qmodel.policy import (
    FCFS,
    LCFS,
    MLFQ,
    PRESETS,
    PS,
    PSPJF,
    SPJF,
    SPRPT,
    TRAIL,
    Gittins,
    LCFSPreemptive,
    Policy,
    RandomOrder,
    Request,
)
from qmodel.scenario import Scenario, processor_sharing
from qmodel.theory.dispatch import result_of
from qmodel.theory.result import Result, Unstable, class_answer, second_moment
from qmodel.theory.size_order.size_based import CONDITIONAL
from qmodel.workload import Deterministic, Poisson, RequestClass
from qmodel.workload.distribution import positive

if TYPE_CHECKING:
    import pandas as pd

UNFELT = 1e-13
"""Rate of requests of a given size, as a share of all arrivals."""
CLASSLESS: tuple[type[Policy], ...] = (FCFS, LCFS, LCFSPreemptive, RandomOrder, PS, MLFQ, *CONDITIONAL)
"""Policies under which requests of one size fare alike, whatever their class."""
BY_PREDICTION: tuple[type[Policy], ...] = (SPJF, PSPJF, SPRPT, TRAIL)
"""Those under which they do if their predictions err alike."""


class _AsOneOf(Policy):
    """A user's policy that takes a request of a given size for one of its class."""

    def __init__(self, policy: Policy, owners: dict[str, str]) -> None:
        self._policy, self._owners = policy, owners

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the policy."""
        return self._policy.name

    @property
    def preemptive(self) -> bool:  # type: ignore[override]
        """Whether the policy interrupts."""
        return self._policy.preemptive

    def rank(self, request: Request, attained: float) -> float:
        owner = self._owners.get(request.class_name, request.class_name)
        return self._policy.rank(replace(request, class_name=owner), attained)


def respond_by_size(scenario: Scenario, sizes: Sequence[float], percentiles: Sequence[float]) -> pd.DataFrame:
    """See `qmodel.theory.response_by_size`."""
    import pandas as pd

    for size in sizes:
        positive("size", size_s=size)
    scenario = processor_sharing(scenario)
    probes = _probes(scenario, sizes)
    result = _result(scenario, probes)
    found = {part.served.name: part for part in result.classes}
    rows = []
    for name, (owner, size) in probes.items():
        part = found[name]
        metrics = class_answer(part, percentiles, second_moment(part) if percentiles else None).metrics
        asked = ["mean_response_s", "mean_slowdown", "std_response_s", *map(percentile_name, percentiles)]
        kept = {metric: metrics.get(metric) for metric in asked if metric in metrics}
        if kept["mean_slowdown"] is None and kept["mean_response_s"] is not None:
            kept["mean_slowdown"] = kept["mean_response_s"] / size
        rows.append({"class": owner, "size_s": float(size)} | kept | {"method": result.method})
    frame = pd.DataFrame(rows)
    numbers = [column for column in frame.columns if column not in ("class", "method")]
    return frame.astype(dict.fromkeys(numbers, float))


def _probes(scenario: Scenario, sizes: Sequence[float]) -> dict[str, tuple[str, float]]:
    """Class of its own for each size: name -> (whose it is, size)."""
    owners = ["all"] if _classes_fare_alike(scenario) else [each.name for each in scenario.classes]
    return {f"{owner} of size {i}": (owner, size) for owner in owners for i, size in enumerate(sizes)}


def _classes_fare_alike(scenario: Scenario) -> bool:
    if type(scenario.policy) in BY_PREDICTION:
        return len({each.predicted_size for each in scenario.classes}) == 1
    return type(scenario.policy) in CLASSLESS


def _result(scenario: Scenario, probes: dict[str, tuple[str, float]]) -> Result:
    policy = scenario.policy
    if policy.binds and not isinstance(policy, Gittins):
        raise InputError(f"policy '{policy.name}'", "has no result by size", "ask for the classes' own")
    asked = replace(scenario, classes=(*scenario.classes, *_classes(scenario, probes)), policy=FCFS())
    if policy.binds or type(policy) not in PRESETS.values():
        policy = _AsOneOf(policy, {name: owner for name, (owner, _) in probes.items()})
    found = result_of(asked.with_policy(policy))
    if isinstance(found, NotAnalysable):
        raise InputError(f"policy '{policy.name}'", str(found), "simulate it")
    if isinstance(found, Unstable):
        raise InputError("scenario", f"is unstable: load {found.utilisation:g}", "lower the rate")
    return found


def _classes(scenario: Scenario, probes: dict[str, tuple[str, float]]) -> list[RequestClass]:
    classes = {each.name: each for each in scenario.classes} | {"all": scenario.classes[0]}
    without = next((each.name for each in scenario.classes if each.service is None), None)
    if without is not None:
        raise InputError(f"class '{without}'", "has no service law to be one size of", "give service")
    rate = Poisson(rate=UNFELT * scenario.rate)
    return [
        replace(classes[owner], name=name, arrivals=rate, service=Deterministic(size), slo={})
        for name, (owner, size) in probes.items()
    ]
