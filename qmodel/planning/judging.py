"""A candidate judged: answered by theory where there is a result, else by a short simulation; then held to bounds.

The iteration-level simulation of a batching engine is quicker than its analysis, so only the load is taken from
theory there, to leave out what no run could meet; percentiles with a queue threshold are simulated too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qmodel.answer import PolicyAnswer
from qmodel.errors import InputError
from qmodel.planning.candidates import Setting
from qmodel.planning.costs import Costs, costs
from qmodel.planning.recorded import Recorded, replayed
from qmodel.planning.slo import Bound, percents_of, spread, worst_of
from qmodel.predict import FEWEST, Asking, answer_one, fill_percentiles, simulate_one
from qmodel.scenario import Scenario

SCREENED = 30_000
"""Requests of a simulation while candidates are compared; percentiles beyond the 99th take more."""
SURELY_TOO_MUCH = 1.1
"""Load by theory, approximate for batching engines, above which nothing is simulated."""


@dataclass(frozen=True)
class Judged:
    """One setting with so many servers at one rate: how it stands to each bound, what it costs, how that is known.

    `fault` says why there is no answer; `ratios` are then empty and `worst` infinite.
    """

    setting: Setting
    servers: int
    rate: float
    ratios: dict[Bound, float] = field(default_factory=dict)
    values: dict[Bound, float | None] = field(default_factory=dict)
    cost: Costs | None = None
    methods: tuple[str, ...] = ()
    answer: PolicyAnswer | None = None
    fault: str = ""

    @property
    def worst(self) -> float:
        """The largest share of a bound that is used up."""
        return max(self.ratios.values(), default=math.inf)

    @property
    def price(self) -> float:
        """What its servers cost together."""
        return self.servers * self.setting.price

    @property
    def binding(self) -> Bound | None:
        """The bound that is used up most."""
        return worst_of(self.ratios)[0] if self.ratios else None

    @property
    def meets(self) -> bool:
        """Whether every bound is met."""
        return self.worst <= 1.0


@dataclass
class Judge:
    """Answers and judges; counts what it was asked, and never answers the same question twice.

    With `exactly`, simulations are of `requests` requests whatever the percentiles are.
    """

    bounds: Sequence[Bound]
    seed: int = 1
    requests: int = SCREENED
    recorded: Recorded | None = None
    exactly: bool = False
    asked: int = 0
    kept: dict[Any, Judged] = field(default_factory=dict)

    def __call__(self, setting: Setting, servers: int, rate: float | None = None) -> Judged:
        """The judgement of a setting with so many servers, at its own rate or another."""
        rate = setting.scenario.rate if rate is None else rate
        key = (id(setting), servers, rate)
        if key not in self.kept:
            self.asked += 1
            self.kept[key] = self._judged(setting, servers, rate)
        return self.kept[key]

    def _judged(self, setting: Setting, servers: int, rate: float) -> Judged:
        blank = Judged(setting, servers, rate)
        try:
            answer = self._answer(setting, servers, rate)
        except InputError as refusal:
            return replace(blank, fault=str(refusal))
        if answer is None or not answer.stable:
            return replace(blank, fault="unstable", answer=answer)
        return judged(blank, setting.on(servers, rate), answer, self.bounds)

    def _answer(self, setting: Setting, servers: int, rate: float) -> PolicyAnswer | None:
        if self.recorded is not None and setting.batched:
            return replayed(setting.scenario, self.recorded.at_rate(rate), self.percents, servers, self.seed)
        scenario = setting.on(servers, rate)
        asking = Asking("auto", self.percents, self._enough, self.seed)
        if not setting.batched:
            slow = scenario.condition is not None and bool(self.percents)
            return means_first(scenario, asking) if slow else answer_one(scenario, asking)
        load = theory_load(scenario)
        if load is not None and load > SURELY_TOO_MUCH:
            return None
        return simulate_one(scenario, asking)

    @property
    def percents(self) -> tuple[float, ...]:
        """Percentiles to ask for."""
        return percents_of(self.bounds)

    @property
    def _enough(self) -> int:
        """Requests of which a hundred lie beyond the highest percentile."""
        if self.exactly:
            return max(self.requests, FEWEST)
        beyond = 1.0 - max(self.percents, default=50.0) / 100.0
        return max(self.requests, min(math.ceil(100.0 / beyond), 2_000_000))


def means_first(scenario: Scenario, asking: Asking) -> PolicyAnswer:
    """Means by theory and percentiles by simulation: those of a queue threshold take theory a fifth of a second."""
    answer = answer_one(scenario, replace(asking, percentiles=()))
    if answer.stable and answer.method != "simulation":
        fill_percentiles(answer, scenario, asking)
        return answer
    return simulate_one(scenario, asking) if answer.stable else answer


def judged(blank: Judged, scenario: Scenario, answer: PolicyAnswer, bounds: Sequence[Bound]) -> Judged:
    """The judgement that follows from an answer."""
    cost = costs(scenario, answer)
    values: dict[Bound, float | None] = {}
    methods: dict[str, None] = {}
    for bound in spread(bounds, [each.name for each in scenario.classes]):
        values[bound] = value_of(bound, answer, cost)
        methods[answer.method_of(bound.class_name, bound.metric)] = None
    missing = next((bound for bound, value in values.items() if value is None), None)
    if missing is not None:
        return replace(blank, fault=f"has no {missing.metric}", answer=answer)
    ratios = {bound: bound.ratio(value) for bound, value in values.items()}
    return replace(blank, ratios=ratios, values=values, cost=cost, methods=tuple(methods), answer=answer)


def value_of(bound: Bound, answer: PolicyAnswer, cost: Costs) -> float | None:
    """The value of the metric that a bound limits."""
    if bound.metric == "quality":
        return cost.quality
    return answer[bound.class_name].metrics.get(bound.metric)


def theory_load(scenario: Scenario) -> float | None:
    """Load of a batching engine by theory; None where it has none."""
    from qmodel.theory.batch.engine_answer import batching_engine

    plain = scenario.system.iteration_time is not None and not scenario.features and not scenario.transforms
    lengths = all({"input_tokens", "output_tokens"} <= set(each.factors) for each in scenario.classes)
    if not (plain and lengths):
        return None
    return batching_engine(scenario).load
