"""Controllers: what turns the knobs from one window of a trace to the next, from what the windows before it showed.

A setting that was tuned once is a controller that never moves. The threshold rule climbs a ladder from the default
towards a corner of the knobs' ranges when a bound was missed, and comes down when much of it was left. The bandit
learned, for each of a few settings, the loss as a linear function of what the last window looked like.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from qmodel.planning.knobs import Knob, Values, lattice, values_at
from qmodel.planning.recorded import Recorded
from qmodel.planning.windows import Plant, Seen, mean_loss

LEVELS = 6
LOW_WATER = (0.3, 0.6, 0.85)
"""Rungs of a ladder above the default, and shares of a bound below which the threshold rule comes down one."""
ARMS = 16
RIDGE, CAUTION = 1.0, 1.0
"""Settings that the bandit chooses from, its ridge penalty, and how many standard errors it is curious."""


class Controller(Protocol):
    """Chooses the values of the next window from what was seen of the last one (None at the beginning)."""

    def choose(self, last: Seen | None) -> Values: ...


@dataclass(frozen=True)
class Static:
    """Never moves."""

    values: Values

    def choose(self, last: Seen | None) -> Values:
        return self.values


@dataclass
class Threshold:
    """One rung up after a window that missed a bound, one down after one that used less than `low_water` of it.

    >>> from types import SimpleNamespace as Last
    >>> rule = Threshold([(8,), (4,), (2,)], low_water=0.5)
    >>> [rule.choose(None), rule.choose(Last(used=2.0)), rule.choose(Last(used=0.7)), rule.choose(Last(used=0.1))]
    [(8,), (4,), (4,), (8,)]
    """

    ladder: Sequence[Values]
    low_water: float
    level: int = 0

    def choose(self, last: Seen | None) -> Values:
        if last is None:
            self.level = 0
        elif last.used > 1.0:
            self.level = min(self.level + 1, len(self.ladder) - 1)
        elif last.used < self.low_water:
            self.level = max(self.level - 1, 0)
        return self.ladder[self.level]


def ladder(knobs: Sequence[Knob], default: Values, corner: Sequence[float]) -> list[Values]:
    """Settings in equal steps from the default to a corner of the unit cube, each once."""
    start = np.array([knob.place(value) for knob, value in zip(knobs, default, strict=True)])
    rungs = [values_at(knobs, start + (np.array(corner) - start) * i / LEVELS) for i in range(1, LEVELS + 1)]
    return list(dict.fromkeys([default, *rungs]))


def learn_threshold(plant: Plant, windows: Sequence[Recorded], budget: int, seed: int) -> Threshold:
    """The corner to flee to and the low water that did best on these windows; each pass over them is one trial."""
    default = plant.default
    corners = list(itertools.product((0.0, 1.0), repeat=len(plant.knobs)))
    rules = [(ladder(plant.knobs, default, corner), water) for water in LOW_WATER for corner in corners]
    order = np.random.default_rng(seed).permutation(len(rules))[: max(1, budget)]
    trials = [Threshold(*rules[i]) for i in sorted(order)]
    best = min(trials, key=lambda rule: mean_loss(run(plant, rule, windows)))
    return Threshold(best.ladder, best.low_water)


@dataclass
class Bandit:
    """Disjoint linear bandit: a ridge regression an arm of the loss on what the last window showed.

    While it learns it takes the arm whose loss may be lowest (mean less `CAUTION` standard errors); then, that of
    the lowest mean. Source: Li, Chu, Langford & Schapire, *WWW* (2010), algorithm 1.
    """

    arms: Sequence[Values]
    typical: Sequence[float]
    learning: bool = True
    gram: np.ndarray = field(init=False)
    moment: np.ndarray = field(init=False)
    worst: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.context(None))
        self.gram = np.stack([RIDGE * np.eye(n) for _ in self.arms])
        self.moment = np.zeros((len(self.arms), n))

    def context(self, last: Seen | None) -> np.ndarray:
        """1, and logarithms of rate and mean lengths of the last window against typical ones."""
        if last is None:
            return np.array([1.0, 0.0, 0.0, 0.0])
        shown = (last.rate, last.input_tokens, last.output_tokens)
        logs = [math.log(max(a, 1e-9) / max(b, 1e-9)) for a, b in zip(shown, self.typical, strict=True)]
        return np.array([1.0, *np.clip(logs, -3.0, 3.0)])

    def choose(self, last: Seen | None) -> Values:
        x = self.context(last)
        inverse = np.linalg.inv(self.gram)
        guess = np.einsum("ij,ijk,k->i", self.moment, inverse, x)
        doubt = np.sqrt(np.einsum("j,ijk,k->i", x, inverse, x))
        score = guess - CAUTION * doubt * self.worst if self.learning else guess
        return self.arms[int(np.argmin(score))]

    def learn(self, last: Seen | None, found: Seen) -> None:
        """Take in what an arm cost after a window like that."""
        x, arm = self.context(last), list(self.arms).index(found.values)
        self.gram[arm] += np.outer(x, x)
        self.moment[arm] += found.loss * x
        self.worst = max(self.worst, abs(found.loss))


def learn_bandit(plant: Plant, windows: Sequence[Recorded], budget: int, seed: int) -> Bandit:
    """A bandit that passed over these windows `budget` times, each pass from another window on."""
    arms = list(dict.fromkeys([plant.default, *(values_at(plant.knobs, p) for p in lattice(plant.knobs, ARMS))]))
    first = [plant.serve(plant.default, window) for window in windows]
    means = np.array([[s.rate, s.input_tokens, s.output_tokens] for s in first]).mean(axis=0)
    bandit = Bandit(arms, [float(mean) for mean in means])
    rng = np.random.default_rng(seed)
    for _ in range(budget):
        last: Seen | None = None
        begin = int(rng.integers(len(windows)))
        for i in (*range(begin, len(windows)), *range(begin)):
            found = plant.serve(bandit.choose(last), windows[i])
            bandit.learn(last, found)
            last = found
    bandit.learning = False
    return bandit


def run(plant: Plant, controller: Controller, windows: Sequence[Recorded]) -> list[Seen]:
    """The windows in order, each under the values that the controller chose from the one before."""
    seen: list[Seen] = []
    for window in windows:
        values = controller.choose(seen[-1] if seen else None)
        seen.append(plant.serve(values, window))
    return seen
