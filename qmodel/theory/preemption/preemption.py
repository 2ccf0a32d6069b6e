"""Preemption that costs time, or is possible at step boundaries only: which result answers it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import LAS, MLFQ, PSJF, SRPT, Gittins, LCFSPreemptive, Policy, PreemptivePriority
from qmodel.scenario import Scenario, ServedClass
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.preemption import preemption_cost, preemption_grain
from qmodel.theory.preemption.grained_path import grained
from qmodel.theory.preemption.srpt_with_cost import shortest_remaining_means
from qmodel.theory.rank.blind_order import blind_means
from qmodel.theory.rank.gittins import gittins_paths
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.result import ClassResult, Result, Unstable

Means = dict[str, float]
Classes = Sequence[ServedClass]
COSTED: dict[type[Policy], Callable[[Classes, float], tuple[Means, float]]] = {
    PreemptivePriority: preemption_cost.priority_means,
    PSJF: preemption_cost.smallest_first_means,
    SRPT: shortest_remaining_means,
    LCFSPreemptive: preemption_cost.last_come_means,
}
GRAINED: dict[type[Policy], Callable[[Classes, float], Means]] = {
    PreemptivePriority: preemption_grain.priority_means,
    PSJF: preemption_grain.smallest_first_means,
    SRPT: preemption_grain.shortest_remaining_means,
}
BLIND = (LAS, MLFQ, Gittins)
MOST_BLIND_STEPS = 100
"""Steps of almost every service for orders by age, whose ranks are followed step by step."""
SOURCES = {
    "cost": "Gaver 1962; Fuhrmann & Cooper 1985; for SRPT derived in qmodel",
    "grain": "SOAP: Scully, Harchol-Balter & Scheller-Wolf 2018",
}


def preemption(scenario: Scenario) -> Result | NotAnalysable | Unstable:
    """Means under a cost of preemption, or a grain; the scenario has one of the two."""
    policy, classes, asked = scenario.policy, scenario.served, scenario.preemption
    if scenario.system.servers > 1 or scenario.system.batching != "none" or scenario.condition is not None:
        reason = "costs and steps of preemption are analysed for one server, one request at a time"
        return NotAnalysable(reason, "servers = 1, batching = 'none', no queue condition")
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    load = math.fsum(served.load for served in classes)
    if load >= 1.0:
        return Unstable(load)
    if asked.cost_s > 0 and asked.grain_s > 0:
        return NotAnalysable("no result for a cost of preemption at step boundaries", "one of the two alone")
    return _costed(policy, classes, asked.cost_s) if asked.cost_s > 0 else _grained(policy, classes, asked.grain_s)


def _costed(policy: Policy, classes: Classes, cost: float) -> Result | NotAnalysable | Unstable:
    model = COSTED.get(type(policy))
    if model is None:
        return NotAnalysable(
            f"no result for a cost of preemption under '{policy.name}'", "pr-priority, psjf or srpt"
        )
    if type(policy) in (PSJF, SRPT) and any(served.size.atoms() for served in classes):
        reason = "a cost of preemption under an order by size is analysed for sizes without point masses"
        return NotAnalysable(reason, "a smooth law of size; pr-priority")
    means, load = model(classes, cost)
    if load >= 1.0:
        return Unstable(load)
    free = math.fsum(served.load for served in classes)
    spent = f"{max(load - free, 0.0):.3g} of the server's time goes into resuming preempted requests"
    return _result(policy, classes, means, "cost", load, (spent,))


def _grained(policy: Policy, classes: Classes, grain: float) -> Result | NotAnalysable:
    steps = max(preemption_grain.steps_of(served.size, grain) for served in classes)
    if isinstance(policy, BLIND):
        if steps > MOST_BLIND_STEPS:
            return _too_fine(grain, MOST_BLIND_STEPS)
        return _result(policy, classes, _blind(policy, classes, grain, int(steps)), "grain")
    model = GRAINED.get(type(policy))
    if model is None:
        reason = f"no result for preemption at step boundaries under '{policy.name}'"
        return NotAnalysable(reason, "pr-priority, psjf, srpt, las, mlfq or gittins")
    if type(policy) in (PSJF, SRPT) and steps > preemption_grain.MOST_TURNS:
        return _too_fine(grain, preemption_grain.MOST_TURNS)
    return _result(policy, classes, model(classes, grain), "grain")


def _too_fine(grain: float, most: int) -> NotAnalysable:
    return NotAnalysable(f"steps of {grain:g} s cut the longest services into more than {most}", "grain_s = 0")


def _blind(policy: Policy, classes: Classes, grain: float, steps: int) -> Means:
    far = grain * (steps + 1)
    if isinstance(policy, Gittins):
        paths = gittins_paths(policy, classes)
    elif isinstance(policy, MLFQ):
        paths = dict.fromkeys((served.name for served in classes), _levels(policy.thresholds, far))
    else:
        line = Path(*(np.array([x]) for x in (0.0, far, 0.0, far)))
        paths = dict.fromkeys((served.name for served in classes), line)
    cut = {name: grained(path, grain, steps + 1) for name, path in paths.items()}
    return blind_means(cut, classes, turns=tuple((grain * np.arange(1, steps + 1)).tolist()))


def _levels(thresholds: Sequence[float], far: float) -> Path:
    ends = np.array([*(t for t in thresholds if t < far), far])
    start, rank = np.concatenate(([0.0], ends[:-1])), np.arange(len(ends), dtype=float)
    return Path(start, ends, rank, rank)


def _result(
    policy: Policy,
    classes: Classes,
    means: Means,
    what: str,
    load: float | None = None,
    notes: tuple[str, ...] = (),
) -> Result:
    spelled = {"cost": "a cost of preemption", "grain": "preemption at step boundaries"}[what]
    supposed = {
        "cost": "work is kept; each resumption takes its time, anew when it is interrupted",
        "grain": "interrupted work is kept, switching is free",
    }[what]
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name=f"M/G/1 {policy.name.upper()} with {spelled}",
        source=SOURCES[what],
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, supposed),
        utilisation=load,
        notes=notes,
    )
