"""Preemption at step boundaries alone: exact means of M/G/1 when service is cut into steps of g seconds.

A request can be interrupted only when it has attained a whole number of steps, so inside a step it goes before all:
SOAP with rank minus infinity there. Let z(x) = x - g (ceil(x/g) - 1) be the last step of a size, which nothing
interrupts, and k(x) = g (x - z) + z^2 the sum of the squares of its steps. With sigma the load up to a priority,
rho(x) = lambda E[S; S <= x],

    priority  (sum_{i<=k} lambda_i E[S_i^2] + sum_{i>k} lambda_i E[k(S_i)]) / (2 (1 - sigma_{k-1})(1 - sigma_k))
              + E[S - z(S)] / (1 - sigma_{k-1}) + E[z(S)]
    psjf      lambda (E[S^2; S <= x] + E[k(S); S > x]) / (2 (1 - rho(x-))(1 - rho(x)))
              + (x - z(x)) / (1 - rho(x-)) + z(x)
    srpt      lambda (E[S^2; S <= x] + E[j g^2 + (S - j g)^2; S > x]) / (2 (1 - rho(x-))(1 - rho(x)))
              + sum_{0 < i < ceil(x/g)} g / (1 - rho((x - i g)-)) + z(x),   j = ceil((S - x)/g) - 1

Steps of length 0 are free preemption, endless ones none at all. Source: Scully, Harchol-Balter & Scheller-Wolf
(SIGMETRICS 2018), whose ranks may do so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass
from qmodel.theory.numerics.panels import NODES
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.one_server.np_priority import residual_work
from qmodel.theory.preemption.step_sums import StepSums
from qmodel.theory.size_order.size_based import average
from qmodel.theory.supply import levels, merged
from qmodel.workload import Distribution
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Means = dict[str, float]

MOST_STEPS = 20_000
"""Steps that are summed one by one; the ends of longer services are taken to lie anywhere in a step alike."""
MOST_TURNS = 400
"""Steps, up to almost every size, for which orders by size are computed."""
FORGOTTEN = 1e-13
FEW_PARTS, FEWER_NODES = 100, 5
"""Of so many parts of steps or more each has fewer nodes."""
MOST_PARTS = 1500
"""Of more parts of steps, those inside a step are not told apart when sizes are averaged."""


def steps_of(law: Distribution, grain: float) -> float:
    """Steps of a service that nearly all requests stay below."""
    high = law.support()[1]
    return math.ceil(min(high, float(law.upper_quantile(FORGOTTEN))) / grain)


@dataclass(frozen=True)
class Last:
    """The last step z of a service: E[z] and E[k(S)]."""

    mean: float
    squares: float

    @classmethod
    def of(cls, law: Distribution, grain: float) -> Last:
        """By partial moments of every step.

        >>> from qmodel.workload import Deterministic
        >>> Last.of(Deterministic(2.5), 1.0)
        Last(mean=0.5, squares=2.25)
        """
        count = min(int(steps_of(law, grain)) + 1, MOST_STEPS)
        ends = grain * np.arange(count + 1) * (1.0 + 1e-14)
        mass, first, second = (np.diff(partial_moment(law, k, ends)) for k in (0, 1, 2))
        before = grain * np.arange(count)
        left = float(law.sf(ends[-1]))
        z = float((first - before * mass).sum()) + 0.5 * grain * left
        z_squared = float((second - 2.0 * before * first + before**2 * mass).sum()) + grain**2 / 3.0 * left
        return cls(z, grain * (law.mean - z) + z_squared)


def priority_means(classes: Sequence[ServedClass], grain: float) -> Means:
    """Preemptive priority."""
    means: Means = {}
    ordered = levels(classes)
    lasts = {served.name: Last.of(served.size, grain) for served in classes}
    for k, own in enumerate(ordered):
        higher, lower = list(chain(*ordered[:k])), list(chain(*ordered[k + 1 :]))
        above = math.fsum(served.load for served in higher)
        upto = above + math.fsum(served.load for served in own)
        residual = residual_work([*higher, *own])
        residual += 0.5 * math.fsum(served.rate * lasts[served.name].squares for served in lower)
        wait = residual / ((1.0 - above) * (1.0 - upto))
        for served in own:
            z = lasts[served.name].mean
            means[served.name] = wait + (served.size.mean - z) / (1.0 - above) + z
    return means


def smallest_first_means(classes: Sequence[ServedClass], grain: float) -> Means:
    """PSJF."""
    rate, law, grid = _grid(classes, grain)
    x, z = grid.sizes, last_step(grid.sizes, grain)
    below, upto = 1.0 - grid.load_below, 1.0 - grid.load_upto
    larger = Last.of(law, grain).squares - _upto(grid, law, grain * (x - z) + z**2)
    residual = 0.5 * rate * (partial_moment(law, 2, x) + np.maximum(larger, 0.0))
    return _averaged(classes, grid, residual / (below * upto) + (x - z) / below + z)


def shortest_remaining_means(classes: Sequence[ServedClass], grain: float) -> Means:
    """SRPT."""
    rate, law = merged(classes)
    sums = StepSums(rate, law, grain, int(steps_of(law, grain)))
    edges = sums.edges[1:] if sums.steps * len(sums.edges) < MOST_PARTS else sums.edges[-1:]
    ends = (grain * np.arange(sums.steps)[:, None] + edges).reshape(-1)
    grid = SizeGrid(rate, law, turns=tuple(ends.tolist()), order=NODES if len(ends) < FEW_PARTS else FEWER_NODES)
    weights = np.array([grid.weights(served.size) for served in classes])
    held = weights.any(axis=0)
    x = grid.sizes[held]
    recycled, stretched = sums(x)
    below, upto = 1.0 - grid.load_below[held], 1.0 - grid.load_upto[held]
    residual = 0.5 * rate * (partial_moment(law, 2, x) + recycled)
    times = residual / (below * upto) + stretched + last_step(x, grain)
    return {served.name: average(own[held], times) for served, own in zip(classes, weights, strict=True)}


def last_step(sizes: Floats, grain: float) -> Floats:
    """z(x), in (0, g].

    >>> last_step(np.array([0.5, 2.0, 2.25]), 1.0).tolist()
    [0.5, 1.0, 0.25]
    """
    return np.asarray(sizes - grain * (np.ceil(sizes / grain * (1.0 - 1e-13)) - 1.0))


def _grid(classes: Sequence[ServedClass], grain: float) -> tuple[float, Distribution, SizeGrid]:
    rate, law = merged(classes)
    turns = tuple((grain * np.arange(1, int(steps_of(law, grain)) + 1)).tolist())
    return rate, law, SizeGrid(rate, law, turns=turns)


def _upto(grid: SizeGrid, law: Distribution, values: Floats) -> Floats:
    """E[values(S); S <= x] at each size of the grid."""
    count = len(grid.nodes)
    smooth = grid.integral(np.asarray(law.pdf(grid.nodes)) * values[:count])
    steps = np.concatenate(([0.0], np.cumsum(grid.weights(law)[count:] * values[count:])))
    return np.asarray(smooth + steps[np.searchsorted(grid.atoms, grid.sizes * (1.0 + 1e-13))])


def _averaged(classes: Sequence[ServedClass], grid: SizeGrid, times: Floats) -> Means:
    return {served.name: average(grid.weights(served.size), times) for served in classes}
