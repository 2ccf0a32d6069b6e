"""Priority by class with another order inside each class: exact means of M/G/1, class first, then size or age.

For a class whose priority has arrival rate lambda and size S, let sigma be the load of higher priorities and

    r = sum_H lambda_i E[S_i^2] / 2 (preemptive),     r = W0 - lambda E[S^2] / 2 (non-preemptive),

W0 the residual work of all classes. With i(x) = 1 - sigma - rho(x), rho(x) = lambda E[S; S <= x],

    sjf    (r + lambda E[S^2] / 2) / (i(x-) i(x)) + x / (1 - sigma)      (x alone if nothing interrupts)
    psjf   (r + lambda E[S^2; S <= x] / 2) / (i(x-) i(x)) + x / i(x-)
    srpt   (r + lambda E[min(S, x)^2] / 2) / (i(x-) i(x)) + int_0^x dt / i(t)
    las    (r + lambda E[min(S, x)^2] / 2) / (1 - sigma - rho_x)^2 + x / (1 - sigma - rho_x)
    mlfq   (r + lambda E[min(S, b)^2] / 2) / ((1 - sigma - rho_a)(1 - sigma - rho_b)) + x / (1 - sigma - rho_a)
    lcfs-pr  (r / (1 - sigma) + x) / (1 - sigma - rho)

and likewise by predicted size, by the Gittins index and by a rank of one's own: SOAP (Scully, Harchol-Balter &
Scheller-Wolf, SIGMETRICS 2018) with ranks in lexicographic order. Orders that are blind to size and do not
interrupt (lcfs, random) leave the mean of FCFS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import (
    EDF,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    Gittins,
    LCFSPreemptive,
    Policy,
    RandomOrder,
    Rank,
    Request,
)
from qmodel.policy.priority import NestedPreemptivePriority, NestedPriority
from qmodel.scenario import ServedClass
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.one_server.np_priority import non_preemptive, residual_work
from qmodel.theory.one_server.preemptive_priority import preemptive_resume
from qmodel.theory.prediction.predictions import predicted_means
from qmodel.theory.rank.blind_order import blind_means
from qmodel.theory.rank.gittins import gittins_paths
from qmodel.theory.rank.rank_order import CLOSE, ranked_means, sampling_notes
from qmodel.theory.rank.soap import Background
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.size_order.size_based import average
from qmodel.theory.supply import levels, merged
from qmodel.workload.partial import limited_moment, partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Means = dict[str, float]

Nested = NestedPriority | NestedPreemptivePriority
SOURCE = "SOAP: Scully, Harchol-Balter & Scheller-Wolf 2018, ranks in lexicographic order"
BLIND = (FCFS, LCFS, RandomOrder)


def nested_order(policy: Nested, classes: Sequence[ServedClass]) -> Result | NotAnalysable:
    """Every class's mean response when priorities come first and `policy.inner` orders each of them."""
    if any(served.service.delivered_at is not None for served in classes):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    inner = policy.inner if policy.preemptive else uninterrupted(policy.inner)
    if isinstance(inner, Gittins) and not policy.preemptive:
        return _by_first_rank(policy, inner, classes)
    means: Means = {}
    error = 0.0
    ordered = levels(classes)
    for k, own in enumerate(ordered):
        higher = [served for level in ordered[:k] for served in level]
        found = _level_means(inner, own, _background(policy, classes, higher, own), classes, policy.preemptive)
        if isinstance(found, NotAnalysable):
            return found
        if isinstance(found, tuple):
            found, here = found
            error = max(error, here)
        means |= found
    return _result(policy, classes, means, error)


def uninterrupted(policy: Policy) -> Policy:
    """The order that a policy keeps when service is never interrupted: that of its ranks before any service."""
    if isinstance(policy, SRPT | PSJF):
        return SJF()
    if isinstance(policy, LAS | MLFQ):
        return FCFS()
    if isinstance(policy, LCFSPreemptive):
        return LCFS()
    if isinstance(policy, PSPJF | SPRPT | TRAIL):
        return SPJF()
    return AtStart(policy) if policy.preemptive and not isinstance(policy, Gittins | EDF) else policy


class AtStart(Rank):
    """A policy's ranks before any service, never interrupted."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def rank(self, request: Request, attained: float) -> float:
        return self._policy.rank(request, 0.0)


def _by_first_rank(policy: Nested, inner: Gittins, classes: Sequence[ServedClass]) -> Result:
    """Gittins without interruptions orders classes by their rank at age 0: more priorities."""
    keys = {served.name: (served.priority, inner.tables[served.name].at(0.0)) for served in classes}
    order = sorted(set(keys.values()))
    found = non_preemptive([replace(served, priority=order.index(keys[served.name])) for served in classes])
    return _result(policy, classes, {part.served.name: float(part.mean_response or 0.0) for part in found.classes})


def _background(
    policy: Nested, classes: Sequence[ServedClass], higher: Sequence[ServedClass], own: Sequence[ServedClass]
) -> Background:
    load = math.fsum(served.load for served in higher)
    if policy.preemptive:
        return Background(load, residual_work(higher))
    return Background(load, residual_work(classes) - residual_work(own), interrupts=False)


def _level_means(
    inner: Policy,
    own: Sequence[ServedClass],
    background: Background,
    classes: Sequence[ServedClass],
    preemptive: bool,
) -> Means | tuple[Means, float] | NotAnalysable:
    """Means of the classes of one priority; with their estimated relative error, where they have one."""
    if type(inner) in BLIND:
        plain = (preemptive_resume if preemptive else non_preemptive)(classes)
        names = {served.name for served in own}
        return {
            part.served.name: float(part.mean_response or 0.0)
            for part in plain.classes
            if part.served.name in names
        }
    if type(inner) is LCFSPreemptive:
        return _last_come(own, background)
    if type(inner) in (SJF, PSJF, SRPT, LAS, MLFQ):
        return _by_size(inner, own, background, preemptive)
    if type(inner) in (SPJF, PSPJF, SPRPT, TRAIL):
        return predicted_means(inner, own, background, stretched=preemptive)
    if isinstance(inner, Gittins):
        return blind_means(gittins_paths(inner, own), own, background)
    if isinstance(inner, EDF):
        return NotAnalysable("no result for deadlines within a class", "within = 'fcfs'")
    return ranked_means(inner, own, background)


def _last_come(own: Sequence[ServedClass], background: Background) -> Means:
    idle = 1.0 - background.load - math.fsum(served.load for served in own)
    before = background.residual / (1.0 - background.load)
    return {served.name: (before + served.size.mean) / idle for served in own}


def _by_size(policy: Policy, own: Sequence[ServedClass], background: Background, preemptive: bool) -> Means:
    rate, law = merged(own)
    grid = SizeGrid(rate, law, turns=policy.thresholds if isinstance(policy, MLFQ) else ())
    times = _CONDITIONAL[type(policy)](policy, grid, background, preemptive)
    return {served.name: average(grid.weights(served.size), times) for served in own}


def _idle_twice(grid: SizeGrid, background: Background) -> tuple[Floats, Floats]:
    idle = 1.0 - background.load
    return idle - grid.load_below, idle - grid.load_upto


def _sjf(policy: Policy, grid: SizeGrid, background: Background, preemptive: bool) -> Floats:
    below, upto = _idle_twice(grid, background)
    residual = background.residual + 0.5 * grid.rate * grid.law.moment(2)
    return residual / (below * upto) + grid.sizes / (1.0 - background.load if preemptive else 1.0)


def _psjf(policy: Policy, grid: SizeGrid, background: Background, preemptive: bool) -> Floats:
    below, upto = _idle_twice(grid, background)
    residual = background.residual + 0.5 * grid.rate * partial_moment(grid.law, 2, grid.sizes)
    return residual / (below * upto) + grid.sizes / below


def _srpt(policy: Policy, grid: SizeGrid, background: Background, preemptive: bool) -> Floats:
    below, upto = _idle_twice(grid, background)
    residual = background.residual + 0.5 * grid.rate * limited_moment(grid.law, 2, grid.sizes)
    return residual / (below * upto) + grid.integral(1.0 / upto[: len(grid.nodes)])


def _las(policy: Policy, grid: SizeGrid, background: Background, preemptive: bool) -> Floats:
    idle = 1.0 - background.load - grid.rate * limited_moment(grid.law, 1, grid.sizes)
    residual = background.residual + 0.5 * grid.rate * limited_moment(grid.law, 2, grid.sizes)
    return residual / idle**2 + grid.sizes / idle


def _mlfq(policy: Policy, grid: SizeGrid, background: Background, preemptive: bool) -> Floats:
    assert isinstance(policy, MLFQ)
    ends = np.array(policy.thresholds)
    firsts = np.concatenate(([0.0], limited_moment(grid.law, 1, ends), [grid.law.mean]))
    squares = np.append(limited_moment(grid.law, 2, ends), grid.law.moment(2))
    level = np.searchsorted(ends, grid.sizes * (1 - 1e-13), side="left")
    idle = 1.0 - background.load - grid.rate * firsts
    residual = background.residual + 0.5 * grid.rate * squares[level]
    return np.asarray(residual / (idle[level] * idle[level + 1]) + grid.sizes / idle[level])


_CONDITIONAL: dict[type[Policy], Callable[[Policy, SizeGrid, Background, bool], Floats]] = {
    SJF: _sjf,
    PSJF: _psjf,
    SRPT: _srpt,
    LAS: _las,
    MLFQ: _mlfq,
}


def _result(policy: Nested, classes: Sequence[ServedClass], means: Means, error: float = 0.0) -> Result:
    kind = "preemptive-resume" if policy.preemptive else "non-preemptive"
    known = "interrupted work is kept, switching is free" if policy.preemptive else "service is never interrupted"
    return Result(
        classes=tuple(ClassResult(served, served.size.mean, means[served.name]) for served in classes),
        name=f"M/G/1 {kind} priority, {policy.inner.name.upper()} within a class",
        source=SOURCE,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, known),
        method="exact" if error < CLOSE else "approximation",
        notes=sampling_notes(error),
    )
