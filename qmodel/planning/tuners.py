"""Tuners of a setting: simulated annealing, Bayesian optimisation and a plain grid, over the unit cube.

Each is given a function to be made small, and how often it may be called; the same seed gives the same calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qmodel.planning.gaussian_process import GaussianProcess, expected_improvement
from qmodel.planning.knobs import Knob, Point, Values, lattice, snapped, values_at

Loss = Callable[[Values], float]
FIRST_STEP, LAST_STEP = 0.35, 0.05
"""Mean length of a step of annealing on the unit cube, at its beginning and end."""
LOOKED_AT = 400
"""Points among which the next one of Bayesian optimisation is chosen."""
STALE = 50
"""Proposals in a row that are known already, after which annealing has seen the cube."""


@dataclass
class Tried:
    """The values that were tried with their losses, in order; asking again for known values costs nothing."""

    loss: Loss
    knobs: Sequence[Knob]
    budget: int
    known: dict[Values, float] = field(default_factory=dict)
    points: dict[Values, Point] = field(default_factory=dict)

    def __call__(self, point: Sequence[float]) -> float:
        """The loss at a point."""
        values = values_at(self.knobs, point)
        if values not in self.known:
            self.points[values] = snapped(self.knobs, point)
            self.known[values] = self.loss(values)
        return self.known[values]

    def knows(self, point: Sequence[float]) -> bool:
        """Whether the values at a point were tried."""
        return values_at(self.knobs, point) in self.known

    @property
    def left(self) -> int:
        """Evaluations that are left."""
        return self.budget - len(self.known)

    @property
    def best(self) -> Values:
        """The values with the least loss."""
        return min(self.known, key=lambda values: self.known[values])


def grid(tried: Tried, start: Point, rng: np.random.Generator) -> None:
    """A regular grid, as fine as the budget allows."""
    for point in lattice(tried.knobs, tried.budget):
        if tried.left > 0:
            tried(point)


def annealing(tried: Tried, start: Point, rng: np.random.Generator) -> None:
    """Simulated annealing: steps that shrink, worse points accepted by Metropolis' rule while it is warm.

    The first temperature is the spread of the losses seen in the first steps, all of which are accepted.

    Source: Kirkpatrick, Gelatt & Vecchi, *Science* 220 (1983) 671-680.
    """
    here, loss, seen = start, tried(start), [tried(start)]
    stale, warm = 0, max(3, tried.budget // 8)
    while tried.left > 0 and stale < STALE:
        done = 1.0 - tried.left / tried.budget
        step = FIRST_STEP * (LAST_STEP / FIRST_STEP) ** done
        proposed = _reflected(np.array(here) + step * rng.standard_normal(len(here)))
        stale = stale + 1 if tried.knows(proposed) else 0
        before = len(tried.known)
        found = tried(proposed)
        seen.append(found)
        temperature = float(np.std(seen)) * (1.0 - done) ** 2
        warming = before <= warm
        if found <= loss or warming or rng.random() < math.exp(-(found - loss) / max(temperature, 1e-300)):
            here, loss = proposed, found
        if warming and len(tried.known) > warm:
            here, loss = tried.points[tried.best], tried.known[tried.best]


def _reflected(point: np.ndarray) -> Point:
    """The point folded back into the unit cube."""
    folded = np.abs(np.mod(point + 1.0, 2.0) - 1.0)
    return tuple(float(place) for place in folded)


def bayesian(tried: Tried, start: Point, rng: np.random.Generator) -> None:
    """Bayesian optimisation: a Gaussian process of the losses, and the point of largest expected improvement.

    Begins with the start and a Latin hypercube. Half of the points looked at lie near the best one so far.

    Source: Jones, Schonlau & Welch, *J. Global Optimization* 13 (1998) 455-492.
    """
    dimensions = len(start)
    tried(start)
    for point in _hypercube(min(max(2 * dimensions + 1, 4), max(tried.left, 0)), dimensions, rng):
        if tried.left > 0:
            tried(point)
    while tried.left > 0:
        best = np.array(tried.points[tried.best])
        wide = rng.random((LOOKED_AT // 2, dimensions))
        near = np.clip(best + 0.08 * rng.standard_normal((LOOKED_AT // 2, dimensions)), 0.0, 1.0)
        looked_at = [snapped(tried.knobs, point) for point in np.concatenate([wide, near]).tolist()]
        fresh = [point for point in dict.fromkeys(looked_at) if not tried.knows(point)]
        if not fresh:
            return
        process = GaussianProcess.fitted(
            np.array(list(tried.points.values())), np.array(list(tried.known.values()))
        )
        gains = expected_improvement(process, np.array(fresh))
        tried(fresh[int(np.argmax(gains))])


def _hypercube(count: int, dimensions: int, rng: np.random.Generator) -> list[Point]:
    """A Latin hypercube: each coordinate has one point in each of `count` equal stretches."""
    columns = [(rng.permutation(count) + rng.random(count)) / count for _ in range(dimensions)]
    return [tuple(float(place) for place in row) for row in np.column_stack(columns)] if count else []


TUNERS: dict[str, Callable[[Tried, Point, np.random.Generator], None]] = {
    "grid": grid,
    "annealing": annealing,
    "bayesian": bayesian,
}


def tuned(method: str, loss: Loss, knobs: Sequence[Knob], start: Point, budget: int, seed: int) -> Tried:
    """What a tuner tried within its budget.

    >>> knob = Knob("x", 0.0, 1.0)
    >>> found = tuned("bayesian", lambda values: (values[0] - 0.3) ** 2, [knob], (1.0,), 12, seed=1)
    >>> abs(found.best[0] - 0.3) < 0.02, len(found.known)
    (True, 12)
    """
    tried = Tried(loss, knobs, budget)
    TUNERS[method](tried, start, np.random.default_rng(seed))
    return tried
