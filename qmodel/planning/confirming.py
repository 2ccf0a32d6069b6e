"""A plan's winner simulated at length: each bound with the 95 % interval of its metric, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from qmodel.answer import PolicyAnswer
from qmodel.errors import InputError
from qmodel.planning.costs import costs
from qmodel.planning.judging import Judge, Judged, value_of
from qmodel.planning.recorded import replayed
from qmodel.planning.slo import Bound
from qmodel.predict import Asking, simulate_one

Verdict = Literal["holds", "within noise", "missed", "not simulated"]


@dataclass(frozen=True)
class Check:
    """One bound: the simulated value with its interval (None where the simulation has none)."""

    bound: Bound
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the bound is met: by the whole interval, by part of it, or by none of it."""
        if self.value is None:
            return "not simulated"
        far, near = (self.low, self.high) if self.bound.at_least else (self.high, self.low)
        if self.bound.ratio(self.value if near is None else near) > 1.0:
            return "missed"
        return "holds" if far is None or self.bound.ratio(far) <= 1.0 else "within noise"


@dataclass(frozen=True)
class Confirmed:
    """A judgement held against a long simulation; `fault` where it could not be simulated."""

    judged: Judged
    checks: tuple[Check, ...] = ()
    requests: int = 0
    fault: str = ""
    energy_j: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst of its checks."""
        order: tuple[Verdict, ...] = ("missed", "not simulated", "within noise", "holds")
        given = {check.verdict for check in self.checks}
        return next((verdict for verdict in order if verdict in given), "not simulated")


def confirm(one: Judged, judge: Judge, requests: int) -> Confirmed:
    """Simulate a candidate for so many requests (a trace: once through), with a seed that the search never used."""
    scenario = one.setting.on(one.servers, one.rate)
    seed = judge.seed + 1
    try:
        if judge.recorded is not None and one.setting.batched:
            trace = judge.recorded.at_rate(one.rate)
            answer = replayed(one.setting.scenario, trace, judge.percents, one.servers, seed)
        else:
            answer = simulate_one(scenario, Asking("simulation", judge.percents, requests, seed))
    except InputError as refusal:
        return Confirmed(one, fault=str(refusal))
    if not answer.stable:
        return Confirmed(one, tuple(Check(bound, float("inf")) for bound in one.ratios), fault="unstable")
    cost = costs(scenario, answer)
    checks = tuple(_check(bound, value_of(bound, answer, cost), answer) for bound in one.ratios)
    return Confirmed(
        one, checks, int(answer.run.get("requests", 0)), energy_j=cost.energy_j, notes=tuple(answer.notes)
    )


def _check(bound: Bound, value: float | None, answer: PolicyAnswer) -> Check:
    name = "all" if bound.metric == "quality" else bound.class_name
    low, high = answer[name].ci95.get(bound.metric, (None, None))
    return Check(bound, value, low, high)
