"""A threshold between two models, decided before a setting is answered: optimal, best in a trace, or learned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qmodel.catalogue.row import UNSEEN, Controlled, Setting
from qmodel.planning.q_learning import Trace, learned
from qmodel.planning.queue_control import QueueControl, value_iteration

if TYPE_CHECKING:
    from qmodel.catalogue.case import Case

ABOVE = "transform.model-swap.above_queue"
LARGEST = 24
"""Thresholds that are tried in a trace, at most."""


def controlled(case: Case, setting: Setting, how: Controlled) -> Setting:
    """The setting with its threshold, which its label then tells, and what it is the optimum of."""
    found = threshold(case, setting, how)
    scenario = case.scenario({**setting.changes, ABOVE: found})
    poisson = all(each.arrivals.is_poisson for each in scenario.classes)
    known = "" if how.how != "optimum" or poisson else ", were arrivals Poisson"
    changes = {**setting.changes, ABOVE: found}
    return replace(setting, label=f"{setting.label}: above {found}{known}", changes=changes, tuned=None)


def problem(case: Case, setting: Setting, price: float) -> QueueControl:
    """The decision problem of a setting, its arrivals taken as Poisson at their rate."""
    return QueueControl.of(case.scenario(setting.changes), price)


def trace_of(case: Case, setting: Setting, how: Controlled, judged: bool = False) -> Trace:
    """Requests that are learned from or (`judged`) judged on."""
    seed = case.seed if judged else case.seed + UNSEEN
    scenario = case.scenario(setting.changes, half=int(judged))
    return Trace.of(scenario, problem(case, setting, how.price), how.requests, seed)


def threshold(case: Case, setting: Setting, how: Controlled) -> int:
    """Above how many the smaller model serves. Raises InputError where no threshold is optimal."""
    if how.how == "optimum":
        return value_iteration(problem(case, setting, how.price)).as_threshold
    trace = trace_of(case, setting, how)
    if how.how == "learned":
        return learned(trace, case.seed).threshold
    return min(range(LARGEST + 1), key=trace.cost_of)
