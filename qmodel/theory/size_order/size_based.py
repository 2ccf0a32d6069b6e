"""Orders by size: SJF, PSJF, SRPT, LAS (foreground-background) and multilevel feedback, exact means.

Poisson arrivals of rate lambda; rho(x) = lambda E[S; S <= x], rho_x = lambda E[min(S, x)]; ties go to the
earlier arrival, so at a point mass x the load below x and that up to x differ. Mean response of a request of
size x:

    SJF   lambda E[S^2] / (2 (1 - rho(x-)) (1 - rho(x))) + x
    PSJF  lambda E[S^2; S <= x] / (2 (1 - rho(x-)) (1 - rho(x))) + x / (1 - rho(x-))
    SRPT  lambda E[min(S, x)^2] / (2 (1 - rho(x-)) (1 - rho(x))) + int_0^x dt / (1 - rho(t))
    LAS   lambda E[min(S, x)^2] / (2 (1 - rho_x)^2) + x / (1 - rho_x)
    MLFQ  lambda E[min(S, b)^2] / (2 (1 - rho_a) (1 - rho_b)) + x / (1 - rho_a),   x in the level from a to b

Sources: Phipps, *Oper. Res.* 4 (1956) 76-85 (SJF); Schrage & Miller, *Oper. Res.* 14 (1966) 670-684 (SRPT);
Schrage, *Management Sci.* 13 (1967) 466-474 (feedback); Kleinrock, *Queueing Systems II* (1976), sections
3.6-3.7, 4.7; Harchol-Balter (2013), chapters 31-33.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT, Policy
from qmodel.scenario import ServedClass
from qmodel.theory import formulas
from qmodel.theory.numerics.inversion import Law
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.one_server.m_g_1 import INDEPENDENT, ONE_SERVER, POISSON
from qmodel.theory.result import ClassResult, Result
from qmodel.theory.size_order.size_law import laws_by_size
from qmodel.theory.size_order.size_moments import second_moment
from qmodel.theory.supply import delivery, merged
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment, partial_moment, reciprocal_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Parts = tuple[Floats, Floats]

VANISHING = 1e-9
"""A delay of the smallest requests below this share of the longest is none."""
Conditional = Callable[[SizeGrid], "Parts"]
"""Delay before the first service, and time from then on, at each size of the grid."""


def shortest_job(grid: SizeGrid) -> Parts:
    """SJF: the whole residual work of one service, then uninterrupted."""
    residual = 0.5 * grid.rate * grid.law.moment(2)
    return residual / _idle_twice(grid), grid.sizes


def preemptive_shortest_job(grid: SizeGrid) -> Parts:
    """PSJF."""
    residual = 0.5 * grid.rate * partial_moment(grid.law, 2, grid.sizes)
    return residual / _idle_twice(grid), grid.sizes / (1.0 - grid.load_below)


def shortest_remaining(grid: SizeGrid) -> Parts:
    """SRPT."""
    residual = 0.5 * grid.rate * limited_moment(grid.law, 2, grid.sizes)
    load = grid.load_upto[: len(grid.nodes)]
    return residual / _idle_twice(grid), grid.sizes + grid.integral(load / (1.0 - load))


def least_attained(grid: SizeGrid) -> Parts:
    """LAS: everyone's work up to age x counts."""
    idle = 1.0 - grid.rate * limited_moment(grid.law, 1, grid.sizes)
    residual = 0.5 * grid.rate * limited_moment(grid.law, 2, grid.sizes)
    return residual / idle**2, grid.sizes / idle


def multilevel(thresholds: Sequence[float]) -> Conditional:
    """MLFQ with these thresholds."""
    ends = np.array([*thresholds, math.inf])

    def conditional(grid: SizeGrid) -> Parts:
        load = np.concatenate(
            ([0.0], grid.rate * limited_moment(grid.law, 1, ends[:-1]), [grid.rate * grid.law.mean])
        )
        squares = np.append(limited_moment(grid.law, 2, ends[:-1]), grid.law.moment(2))
        level = np.searchsorted(ends, grid.sizes * (1 - 1e-13), side="left")
        above, upto = 1.0 - load[level], 1.0 - load[level + 1]
        return 0.5 * grid.rate * squares[level] / (above * upto), grid.sizes / above

    return conditional


def _idle_twice(grid: SizeGrid) -> Floats:
    return (1.0 - grid.load_below) * (1.0 - grid.load_upto)


CONDITIONAL: dict[type[Policy], Conditional] = {
    SJF: shortest_job,
    PSJF: preemptive_shortest_job,
    SRPT: shortest_remaining,
    LAS: least_attained,
}
"""The orders whose formula is one for all options."""


def conditional_of(policy: Policy) -> Conditional:
    """The formula of this order; the policy is one of the presets named above."""
    if isinstance(policy, MLFQ):
        return multilevel(policy.thresholds)
    return CONDITIONAL[type(policy)]


NAMES = {
    "sjf": ("M/G/1 SJF: Phipps", formulas.SJF),
    "psjf": ("M/G/1 PSJF", formulas.PSJF),
    "srpt": ("M/G/1 SRPT: Schrage-Miller", formulas.SRPT),
    "las": ("M/G/1 LAS (foreground-background)", formulas.LAS),
    "mlfq": ("M/G/1 multilevel feedback", formulas.MLFQ),
}


def size_based(policy: Policy, classes: Sequence[ServedClass]) -> Result:
    """Every class's mean response under an order by size or age."""
    rate, law = merged(classes)
    jumps = policy.thresholds if isinstance(policy, MLFQ) else ()
    grid = SizeGrid(rate, law, tuple(_parts_of_service(classes)), turns=jumps)
    delay, stay = conditional_of(policy)(grid)
    name, formula = NAMES[policy.name]
    results = [_class_result(policy, served, grid, delay, stay) for served in classes]
    if _seen_as_smaller(policy, classes):
        owners = [delivery(served.service) for served in classes]
        laws: Sequence[Law | None] = laws_by_size(policy, rate, law, owners) or [None] * len(classes)
        seconds = [partial(second_moment, policy, grid, own) for own in owners]
        parts = zip(results, laws, seconds, strict=True)
        results = [replace(part, law=found, second_moment=second) for part, found, second in parts]
    return Result(
        classes=tuple(results),
        name=name,
        source=formula.source,
        assumptions=(POISSON, INDEPENDENT, ONE_SERVER, *_assumptions(policy)),
    )


def _seen_as_smaller(policy: Policy, classes: Sequence[ServedClass]) -> bool:
    """Whether every result leaves at the end of a service, or early as that of a smaller request would."""
    early = any(served.service.delivered_at is not None for served in classes)
    return not early or (policy.preemptive and "size" not in policy.depends_on)


def _class_result(policy: Policy, served: ServedClass, grid: SizeGrid, delay: Floats, stay: Floats) -> ClassResult:
    weights = grid.weights(served.size)
    whole = served.service.delivered_at is None
    return ClassResult(
        served=served,
        mean_service=delivery(served.service).mean,
        mean_response=average(weights, delay + stay)
        if whole
        else _until_delivery(policy, served, grid, delay, stay),
        mean_slowdown=slowdown(served, grid, delay, stay) if whole else None,
    )


def _until_delivery(policy: Policy, served: ServedClass, grid: SizeGrid, delay: Floats, stay: Floats) -> float:
    """Mean time until a share of the service is done: a policy that goes by age sees a smaller request; one that
    goes by size serves that share first."""
    share = served.service.delivered_at
    assert share is not None
    weights = grid.weights(served.size)
    if isinstance(policy, SRPT):
        idle = 1.0 - grid.load_upto[: len(grid.nodes)]
        left = sum(
            p * _beyond(served.size, 1.0 - f, grid) for f, p in zip(share.values, share.probabilities, strict=True)
        )
        staying = grid.panels.integrals((served.size.sf(grid.nodes) - left) / idle)[1][-1]
        return average(weights, delay) + float(staying)
    if "size" in policy.depends_on:
        return average(weights, delay + share.mean * stay)
    return average(grid.weights(delivery(served.service)), delay + stay)


def _parts_of_service(classes: Sequence[ServedClass]) -> Iterator[Distribution]:
    """Laws of the service before and after a delivery that comes before the end."""
    for served in classes:
        share = served.service.delivered_at
        if share is not None:
            yield delivery(served.service)
            yield from (served.size.scaled(1.0 - f) for f in share.values if f < 1)


def _beyond(law: Distribution, fraction: float, grid: SizeGrid) -> Floats:
    """P(fraction * S > x) at the nodes."""
    return np.asarray(law.sf(grid.nodes / fraction)) if fraction > 0 else np.zeros_like(grid.nodes)


def average(weights: Floats, values: Floats) -> float:
    """Sum over the sizes that have weight; infinite where one of the values is."""
    held = weights > 0
    return float(weights[held] @ values[held])


def slowdown(served: ServedClass, grid: SizeGrid, delay: Floats, stay: Floats) -> float:
    """E[T(S)/S]; infinite if even the smallest requests wait and 1/S has no mean."""
    if delay[0] > VANISHING * delay[np.isfinite(delay)].max(initial=0.0) and math.isinf(
        reciprocal_mean(served.size)
    ):
        return math.inf
    return average(grid.weights(served.size), (delay + stay) / grid.sizes)


def _assumptions(policy: Policy) -> tuple[str, ...]:
    if not policy.preemptive:
        return ("sizes are known", "service is never interrupted")
    if "size" in policy.depends_on:
        return ("sizes are known", "interrupted work is kept, switching is free")
    return ("sizes are unknown, ages known", "interrupted work is kept, switching is free")
