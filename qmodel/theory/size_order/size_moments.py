"""Second moment of the response by size under SJF, PSJF, SRPT, LAS and multilevel feedback, exact.

The transforms of `size_transforms` and `remaining_time`, to second order: the work found, prolonged by newcomers,
and the service, each age of it prolonged by those that outrank it then, are independent. See `second_moments`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT, Policy
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.one_server.second_moments import NONE, Two, Work, found_work, prolonged
from qmodel.workload import Distribution
from qmodel.workload.partial import limited_moment, partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def second_by_size(policy: Policy, grid: SizeGrid) -> Floats:
    """E[T^2 | x] at the sizes of the grid; infinite where a moment is."""
    with np.errstate(invalid="ignore"):
        found = _RESPONSES[type(policy)](policy, grid).second
    return np.where(np.isnan(found), math.inf, found)


def second_moment(policy: Policy, grid: SizeGrid, law: Distribution) -> float:
    """E[T^2] of requests of this law of size, a part of the grid's.

    The largest requests, past the grid, take x/(1 - rho) (x under SJF) to the second order.
    """
    if math.isinf(law.moment(2)):
        return math.inf
    stretch = 1.0 / (1.0 - _newcomers_of_the_largest(policy, grid)) ** 2
    weights = grid.weights(law)
    held = weights > 0
    rest = second_by_size(policy, grid)[held] - stretch * grid.sizes[held] ** 2
    return float(weights[held] @ rest) + stretch * law.moment(2)


def _newcomers_of_the_largest(policy: Policy, grid: SizeGrid) -> float:
    if isinstance(policy, SJF) and not policy.preemptive:
        return 0.0
    if isinstance(policy, MLFQ):
        return grid.rate * float(limited_moment(grid.law, 1, policy.thresholds[-1]))
    return grid.rate * grid.law.mean


def _shortest_job(policy: Policy, grid: SizeGrid) -> Two:
    below, upto = _smaller(grid)
    whole = [grid.rate * grid.law.moment(k) for k in (1, 2, 3)]
    larger = Work(*(all_of - part for all_of, part in zip(whole, upto, strict=True)))
    return prolonged(found_work(upto, larger), below).plus(Two(grid.sizes, 0.0))


def _preemptive_shortest_job(policy: Policy, grid: SizeGrid) -> Two:
    below, upto = _smaller(grid)
    return prolonged(found_work(upto).plus(Two(grid.sizes, 0.0)), below)


def _shortest_remaining(policy: Policy, grid: SizeGrid) -> Two:
    below, upto = _smaller(grid)
    larger = grid.rate * grid.law.sf(grid.sizes)
    again = Work(*(larger * grid.sizes**k for k in (1, 2, 3)))
    n = len(grid.nodes)
    idle = 1.0 - below.first[:n]  # type: ignore[index]
    stay = Two(grid.integral(1.0 / idle), grid.integral(below.second[:n] / idle**3))  # type: ignore[index]
    return prolonged(found_work(upto, again), below).plus(stay)


def _least_attained(policy: Policy, grid: SizeGrid) -> Two:
    work = Work(*(grid.rate * limited_moment(grid.law, k, grid.sizes) for k in (1, 2, 3)))
    return prolonged(found_work(work).plus(Two(grid.sizes, 0.0)), work)


def _multilevel(policy: Policy, grid: SizeGrid) -> Two:
    assert isinstance(policy, MLFQ)
    ends = np.array([*policy.thresholds, math.inf])
    moments = [grid.rate * np.append(limited_moment(grid.law, k, ends[:-1]), grid.law.moment(k)) for k in (1, 2, 3)]
    level = np.searchsorted(ends, grid.sizes * (1 - 1e-13), side="left")
    old = Work(*(each[level] for each in moments))
    new = Work(*(np.concatenate(([0.0], each))[level] for each in moments))
    return prolonged(found_work(old, NONE).plus(Two(grid.sizes, 0.0)), new)


def _smaller(grid: SizeGrid) -> tuple[Work, Work]:
    """Work of requests below each size, and up to it."""
    upto = [grid.rate * partial_moment(grid.law, k, grid.sizes) for k in (1, 2, 3)]
    mass = dict(grid.law.atoms())
    at_atoms = np.zeros(len(grid.sizes))
    at_atoms[len(grid.nodes) :] = [grid.rate * mass.get(float(value), 0.0) for value in grid.atoms]
    below = [each - at_atoms * grid.sizes**k for k, each in enumerate(upto, start=1)]
    return Work(*below), Work(*upto)


_RESPONSES: dict[type[Policy], Callable[[Policy, SizeGrid], Two]] = {
    SJF: _shortest_job,
    PSJF: _preemptive_shortest_job,
    SRPT: _shortest_remaining,
    LAS: _least_attained,
    MLFQ: _multilevel,
}
