"""The what-if: theory where there is a result, simulation where there is none, and every number labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qmodel.answer import Answer, ClassAnswer, NotAnalysable, PolicyAnswer, percentile_name
from qmodel.errors import InputError
from qmodel.policy import Policy
from qmodel.scenario import Scenario

MethodChoice = Literal["auto", "theory", "simulation"]
FEWEST, MOST = 1_000, 1_000_000_000
"""Requests of one simulation: fewer give no interval, more do not fit in memory."""


class NoTheory(InputError):
    """Theory was insisted on, and has no result."""

    def __init__(self, policy: str, why: NotAnalysable) -> None:
        super().__init__(f"policy '{policy}'", str(why), "use --method auto to simulate it")


@dataclass(frozen=True)
class Asking:
    """How to answer: instrument, percentiles (per cent), and the length and seed of simulations.

    With `precision`, simulations go on until the relative half width of every class's mean response is at most
    that. With `horizon_s`, the question is the requests that arrive within it from an empty system, which only the
    simulator answers.
    """

    method: MethodChoice = "auto"
    percentiles: tuple[float, ...] = (50.0, 95.0, 99.0)
    requests: int = 400_000
    seed: int = 1
    precision: float | None = None
    horizon_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "percentiles", tuple(dict.fromkeys(self.percentiles)))
        outside = next((percent for percent in self.percentiles if not 0 < percent < 100), None)
        if outside is not None:
            raise InputError("percentiles", f"{outside:g} is not between 0 and 100", "e.g. 50,95,99")
        if not FEWEST <= self.requests <= MOST:
            raise InputError("requests", f"{self.requests} is out of range", f"give {FEWEST} to {MOST}")
        if self.seed < 0:
            raise InputError("seed", f"{self.seed} is negative", "give 0 or more")
        for name, value, example in (("precision", self.precision, 0.01), ("horizon", self.horizon_s, 3600)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(name, f"{value} is not a positive number", f"e.g. {example}")
        if self.horizon_s is not None and self.precision is not None:
            raise InputError("horizon", "has no steady state to be precise about", "leave out the precision")
        if self.horizon_s is not None and self.method == "theory":
            raise InputError("horizon", "is finite, and theory is of the steady state", "use --method simulation")


def predict(
    scenario: Scenario,
    *,
    policies: Sequence[Policy] = (),
    rates: Sequence[float] = (),
    asking: Asking | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Answer:
    """Answer the scenario under each policy at each total rate (its own policy and rate by default).

    Raises NoTheory when `asking.method` is "theory" and there is no result.
    """
    asking = asking or Asking()
    asked = questions(scenario, policies, rates)
    results = []
    for i, question in enumerate(asked):
        results.append(answer_one(question, asking))
        if progress:
            progress(i + 1, len(asked))
    return Answer(scenario.fingerprint, results)


def questions(scenario: Scenario, policies: Sequence[Policy], rates: Sequence[float]) -> list[Scenario]:
    """The scenario at each rate and under each policy (its own where none is given), rates outermost."""
    at_rates = [scenario.at_rate(rate) for rate in rates] or [scenario]
    return [question.with_policy(policy) for question in at_rates for policy in policies or [scenario.policy]]


def answer_one(scenario: Scenario, asking: Asking) -> PolicyAnswer:
    """One policy at one rate, by the instrument that `asking` names."""
    if asking.method == "simulation" or asking.horizon_s is not None:
        return simulate_one(scenario, asking)
    from qmodel.theory import analyse

    analysed = analyse(scenario, percentiles=asking.percentiles)
    if isinstance(analysed, NotAnalysable):
        if asking.method == "theory":
            raise NoTheory(scenario.policy.name, analysed)
        simulated = simulate_one(scenario, asking)
        simulated.notes.append(str(analysed))
        return simulated
    if asking.method == "auto" and analysed.stable:
        fill_percentiles(analysed, scenario, asking)
    return analysed


def simulate_one(scenario: Scenario, asking: Asking) -> PolicyAnswer:
    """The simulator's answer."""
    from qmodel.simulation import simulate

    until = {"precision": asking.precision, "horizon_s": asking.horizon_s}
    asked: dict[str, Any] = {name: value for name, value in until.items() if value is not None}
    return simulate(scenario, requests=asking.requests, seed=asking.seed, percentiles=asking.percentiles, **asked)


def fill_percentiles(analysed: PolicyAnswer, scenario: Scenario, asking: Asking) -> None:
    """Put simulated percentiles (and with them SLO attainment), so labelled, where theory has none."""
    names = [
        percentile_name(percent, quantity)
        for quantity in ("response", "ttft", "tpot")
        if f"mean_{quantity}_s" in analysed["all"].metrics
        for percent in asking.percentiles
    ]
    if all(answer.metrics.get(name) is not None for answer in analysed.classes for name in names):
        return
    try:
        simulated = simulate_one(scenario, asking)
    except InputError as refusal:
        analysed.notes.append(f"no percentiles: {refusal.place} {refusal.fault}")
        return
    for answer in analysed.classes:
        fill(answer, simulated[answer.name], [*names, "attainment"])
    analysed.run = dict(simulated.run)


def fill(answer: ClassAnswer, simulated: ClassAnswer, names: Sequence[str]) -> None:
    """Put the simulated metrics of these names, with method and interval, where the answer has none."""
    for name in names:
        value = simulated.metrics.get(name)
        if answer.metrics.get(name) is None and value is not None:
            answer.metrics[name] = value
            answer.methods[name] = "simulation"
            if name in simulated.ci95:
                answer.ci95[name] = simulated.ci95[name]


def simulate(
    scenario: Scenario,
    *,
    requests: int = 400_000,
    seed: int = 1,
    precision: float | None = None,
    horizon_s: float | None = None,
) -> Answer:
    """The simulator's answer to one scenario (= `predict` with method "simulation"; see `Asking`)."""
    asking = Asking("simulation", requests=requests, seed=seed, precision=precision, horizon_s=horizon_s)
    return predict(scenario, asking=asking)
