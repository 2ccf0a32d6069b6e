"""Orders by predictions that take single values: one bit, measured pairs, sizes that are point masses.

Requests of one predicted value y are a stream with a law of size given y, so that SPJF and PSPJF are priorities
by y, FCFS inside each, and SPRPT and TRAIL are SOAP with ranks y - age. With r(y), r(y-) the loads of predictions
up to and below y, and d = min(Y - y, C Y) the age from which a request predicted Y > y goes before y:

    SPJF   sum lambda E[S^2] / (2 (1 - r(y-)) (1 - r(y))) + x
    PSPJF  sum_{Y <= y} lambda E[S^2] / (2 (1 - r(y-)) (1 - r(y))) + x / (1 - r(y-))
    SPRPT  (sum_{Y <= y} lambda E[S^2] + sum_{Y > y} lambda E[((S - d)^+)^2]) / (2 (1 - r(y-)) (1 - r(y)))
           + int_0^x da / (1 - r((y - a)-)),   TRAIL: not stretched from age C y on

Sources as in `predictions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from qmodel.answer import NotAnalysable
from qmodel.policy import PSPJF, Policy
from qmodel.scenario import ServedClass
from qmodel.theory.rank.soap import Background
from qmodel.workload import Deterministic, Discrete, Distribution, Mixture, PredictedSize
from qmodel.workload.partial import limited_moment
from qmodel.workload.predicted_size import nearest_of
from qmodel.workload.truncated import Truncated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_CORRELATED, MOST_CUTS = 400, 200
"""Point masses of a correlated law, and measured sizes that cut up a continuous law, at most."""

NOTHING = 1e-15
"""Less probability than this is none."""
REACH = 9.0
"""Normal scores beyond this have no mass."""


@dataclass(frozen=True)
class Guess:
    """A predicted value, its probability in its class, the rate of such requests, and the law of their size."""

    y: float
    share: float
    rate: float
    law: Distribution


def takes_single_values(served: ServedClass) -> bool:
    """Whether the predictions of this class take single values."""
    error = served.predicted_size.error
    return error in ("one-bit", "file") or (error in ("exact", "correlated") and is_atomic(served.size))


def is_atomic(law: Distribution) -> bool:
    """Whether the law is one of point masses alone."""
    return bool(law.atoms()) and math.fsum(p for _, p in law.atoms()) > 1.0 - 1e-9


def level_means(
    policy: Policy, limit: float, classes: Sequence[ServedClass], background: Background, stretched: bool
) -> dict[str, float] | NotAnalysable:
    """Mean response of each class; `limit` is TRAIL's C, `stretched`: the background interrupts every service."""
    for served in classes:
        why = _too_many(served)
        if why:
            return NotAnalysable(f"class '{served.name}': {why}", "sizes as measured, or fewer of them")
    guesses = {served.name: guesses_of(served) for served in classes}
    levels = Levels([guess for found in guesses.values() for guess in found], limit, background, stretched)
    return {
        name: math.fsum(guess.share * levels.mean_response(policy, guess) for guess in found)
        for name, found in guesses.items()
    }


def _too_many(served: ServedClass) -> str:
    guess = served.predicted_size
    if guess.error == "correlated" and len(served.size.atoms()) > MOST_CORRELATED:
        return f"more than {MOST_CORRELATED} sizes, correlated with as many predictions"
    if guess.error == "file" and not is_atomic(served.size) and len(set(guess.sizes_s)) > MOST_CUTS:
        return f"more than {MOST_CUTS} measured sizes cut up a continuous law"
    return ""


class Levels:
    """Sums over all requests by predicted value."""

    def __init__(self, guesses: Sequence[Guess], limit: float, background: Background, stretched: bool) -> None:
        self._guesses, self._limit, self._background = guesses, limit, background
        self.alone = 1.0 - background.load if stretched else 1.0
        self.values, place = np.unique([guess.y for guess in guesses], return_inverse=True)
        first = np.array([guess.rate * guess.law.mean for guess in guesses])
        second = np.array([guess.rate * guess.law.moment(2) for guess in guesses])
        by_value = np.bincount(place, weights=first)
        self.upto = background.load + np.cumsum(by_value)
        self.below = self.upto - by_value
        self.squares_upto = np.cumsum(np.bincount(place, weights=second))
        self._kept: Floats | None = None

    def mean_response(self, policy: Policy, guess: Guess) -> float:
        """Mean response of requests with this prediction."""
        i = int(np.searchsorted(self.values, guess.y))
        idle = (1.0 - self.below[i]) * (1.0 - self.upto[i])
        before = self._background.residual
        if not policy.preemptive:
            return float((before + 0.5 * self.squares_upto[-1]) / idle + guess.law.mean / self.alone)
        if isinstance(policy, PSPJF):
            return float((before + 0.5 * self.squares_upto[i]) / idle + guess.law.mean / (1.0 - self.below[i]))
        return float((before + 0.5 * (self.squares_upto[i] + self.kept[i])) / idle + self._stay(guess))

    @property
    def kept(self) -> Floats:
        """Per second, over requests predicted larger: squared service once they go before each value."""
        if self._kept is None:
            self._kept = np.zeros(len(self.values))
            for guess in self._guesses:
                smaller = self.values < guess.y
                age = np.minimum(guess.y - self.values[smaller], self._limit * guess.y)
                self._kept[smaller] += guess.rate * squared_excess(guess.law, age)
        return self._kept

    def _stay(self, guess: Guess) -> float:
        """Ages up to y - u are stretched by those predicted u and less; past the limit none is."""
        smaller = self.values < guess.y
        ends = np.minimum(guess.y - self.values[smaller][::-1], self._limit * guess.y)
        served = np.concatenate(([0.0], limited_moment(guess.law, 1, ends), [guess.law.mean]))
        idle = np.append(1.0 - self.upto[smaller][::-1], self.alone)
        return float(np.diff(served) @ (1.0 / idle))


def squared_excess(law: Distribution, age: Floats) -> Floats:
    """E[((S - age)^+)^2].

    >>> squared_excess(Deterministic(3.0), np.array([1.0, 4.0])).tolist()
    [4.0, 0.0]
    """
    first, second = (limited_moment(law, k, age) for k in (1, 2))
    left = law.moment(2) - second - 2.0 * age * (law.mean - first)
    return np.maximum(left, 0.0)


def guesses_of(served: ServedClass) -> list[Guess]:
    """The predicted values of a class."""
    guess, law = served.predicted_size, served.size
    if guess.error == "one-bit":
        pairs = _one_bit(guess, law)
    elif guess.error == "file":
        pairs = _measured(guess, law)
    elif guess.error == "correlated" and guess.correlation < 1.0:
        pairs = _correlated(guess, law)
    else:
        pairs = [(value, p, Deterministic(value)) for value, p in law.atoms()]
    return [Guess(y, p, served.rate * p, size) for y, p, size in pairs]


Pairs = list[tuple[float, float, Distribution]]
Cells = list[tuple[float, Distribution, int]]


def _one_bit(guess: PredictedSize, law: Distribution) -> Pairs:
    upto, a = float(law.cdf(guess.threshold)), guess.accuracy
    small = Truncated(law, 0.0, guess.threshold) if upto > NOTHING else law
    large = Truncated(law, guess.threshold, math.inf) if 1.0 - upto > NOTHING else law
    masses = ((a * upto, (1.0 - a) * (1.0 - upto)), ((1.0 - a) * upto, a * (1.0 - upto)))
    told = zip(guess.guesses(law), masses, strict=True)
    return [(y, p, _mixed([m / sum(mass) for m in mass], [small, large])) for (y, p), mass in told if p > NOTHING]


def _mixed(shares: list[float], laws: list[Distribution]) -> Distribution:
    kept = [(share, law) for share, law in zip(shares, laws, strict=True) if share > 0]
    return kept[0][1] if len(kept) == 1 else Mixture(tuple(p for p, _ in kept), tuple(law for _, law in kept))


def _measured(guess: PredictedSize, law: Distribution) -> Pairs:
    values, groups = guess.measured()
    if is_atomic(law):
        sizes, masses = (np.array(column) for column in zip(*law.atoms(), strict=True))
        near = nearest_of(values, sizes)
        cells: Cells = [
            (float(p), Deterministic(float(s)), int(i)) for s, p, i in zip(sizes, masses, near, strict=True)
        ]
    else:
        cells = _cut(law, values)
    by_value: dict[float, list[tuple[float, Distribution]]] = {}
    for p, size, i in cells:
        for y, count in zip(*np.unique(groups[i], return_counts=True), strict=True):
            by_value.setdefault(float(y), []).append((p * count / len(groups[i]), size))
    return [(y, *_together(parts)) for y, parts in sorted(by_value.items())]


def _cut(law: Distribution, values: Floats) -> Cells:
    """The law cut where the nearest measured size changes: probability, law and measured size of each piece."""
    ends = [0.0, *(0.5 * (values[1:] + values[:-1])).tolist(), math.inf]
    cells: Cells = []
    for i, (low, high) in enumerate(pairwise(ends)):
        beyond = float(law.sf(high)) if high < math.inf else 0.0
        p = float(law.sf(low)) - beyond
        if p > NOTHING:
            cells.append((p, Truncated(law, low, high), i))
    return cells


def _together(parts: list[tuple[float, Distribution]]) -> tuple[float, Distribution]:
    total = math.fsum(p for p, _ in parts)
    if all(isinstance(law, Deterministic) for _, law in parts):
        masses: dict[float, float] = {}
        for p, law in parts:
            masses[law.mean] = masses.get(law.mean, 0.0) + p / total
        values = sorted(masses)
        return total, Discrete(tuple(values), tuple(masses[value] for value in values))
    return total, _mixed([p / total for p, _ in parts], [law for _, law in parts])


def _correlated(guess: PredictedSize, law: Distribution) -> Pairs:
    """Size and prediction are cells of two normals of correlation r; rows are summed over nodes of the size's."""
    from scipy.special import ndtr, ndtri

    values, masses = (np.array(column) for column in zip(*law.atoms(), strict=True))
    cuts = ndtri(np.minimum(np.cumsum(masses) / masses.sum(), 1.0))
    r = guess.normal_correlation
    joint = np.empty((len(values), len(values)))
    edges = np.concatenate(([-REACH], np.clip(cuts, -REACH, REACH)))
    for i in range(len(values)):
        z, weights = _scores(edges[i], edges[i + 1], min(0.5, 2.0 * math.sqrt(1.0 - r * r)))
        upto = ndtr((cuts - r * z[:, None]) / math.sqrt(1.0 - r * r))
        joint[i] = weights @ np.diff(upto, axis=1, prepend=0.0)
    joint /= joint.sum()
    found: Pairs = []
    for j, y in enumerate(values):
        p = float(joint[:, j].sum())
        kept = joint[:, j] > 0
        shares = joint[kept, j] / p
        found.append((float(y), p, Discrete(tuple(values[kept].tolist()), tuple((shares / shares.sum()).tolist()))))
    return found


def _scores(low: float, high: float, widest: float) -> tuple[Floats, Floats]:
    """Nodes of a normal between two scores, with its density in the weights."""
    x, w = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(low, high, max(1, math.ceil((high - low) / widest)) + 1)
    z = (edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (x + 1.0)).reshape(-1)
    weights = (np.diff(edges)[:, None] * 0.5 * w).reshape(-1)
    return z, weights * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
