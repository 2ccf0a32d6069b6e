"""M/PH/k under FCFS, exactly, where the states are few: services that pass through exponential phases.

A level is the number present, a state the number of busy servers in each phase. From level k up the blocks repeat:
arrivals A0 = lambda I, and with D0, D1 the moves of k busy servers without and with a departure, A1 = D0 - lambda
I, A2 = D1. Then pi_{k+j} = pi_k R^j, R the least solution of A0 + R A1 + R^2 A2 = 0, and the wait follows from the
number that wait as in M/D/k (the arrivals during a wait):

    P(W > 0) = pi_k (I - R)^{-1} e,    E[W] = pi_k R (I - R)^{-2} e / lambda,
    W~(s) - P(W = 0) = pi_k (I - R + s R / lambda)^{-1} e.

Sources: Neuts, *Matrix-Geometric Solutions in Stochastic Models* (1981); Latouche & Ramaswami, *J. Appl. Prob.* 30
(1993) 650-674 (logarithmic reduction); Keilson & Servi, *Oper. Res. Lett.* 7 (1988) 223-227 (distributional law).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.numerics.sizes import components
from qmodel.workload import Distribution, Gamma
from qmodel.workload.distribution import Scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating[Any]]

MOST_STATES = 100
"""States of a level: more take longer than an answer may."""
REDUCTIONS, STILL = 64, 1e-15


@dataclass(frozen=True)
class Phases:
    """A phase-type law: probabilities of the first phase, rates of leaving each, and to which phase (or out)."""

    start: tuple[float, ...]
    rates: tuple[float, ...]
    onward: tuple[int | None, ...]

    @property
    def mean(self) -> float:
        """E[S]."""
        return math.fsum(p * self._from(i) for i, p in enumerate(self.start))

    def _from(self, phase: int) -> float:
        after = self.onward[phase]
        return 1.0 / self.rates[phase] + (0.0 if after is None else self._from(after))


def phases_of(law: Distribution) -> Phases | None:
    """The law as phases: a mixture of exponentials, or an Erlang law; None for any other.

    >>> from qmodel.workload import Erlang
    >>> phases_of(Erlang(2, 1.0))
    Phases(start=(1.0, 0.0), rates=(2.0, 2.0), onward=(1, None))
    """
    mixed = exponential_phases(law)
    if mixed is not None:
        shares: dict[float, float] = {}
        for p, mean in mixed:
            shares[mean] = shares.get(mean, 0.0) + p
        return Phases(tuple(shares.values()), tuple(1.0 / mean for mean in shares), (None,) * len(shares))
    parts = list(components(law))
    inner = parts[0].law if isinstance(parts[0], Scaled) else parts[0]
    k = round(1.0 / law.scv) if len(parts) == 1 and isinstance(inner, Gamma) else 0
    if k < 2 or not math.isclose(k * law.scv, 1.0, rel_tol=1e-12):
        return None
    return Phases((1.0, *(0.0,) * (k - 1)), (k / law.mean,) * k, (*range(1, k), None))


def states(present: int, phases: int) -> int:
    """How many states a level has.

    >>> states(3, 2)
    4
    """
    return math.comb(present + phases - 1, phases - 1)


class PhaseServers:
    """k servers whose services are of this phase-type law, at `rate` requests a second."""

    def __init__(self, servers: int, rate: float, law: Phases) -> None:
        self.servers, self.rate, self.law = servers, rate, law
        self._levels = [_occupations(n, len(law.rates)) for n in range(servers + 1)]

    @cached_property
    def _matrix(self) -> Matrix:
        """R of the repeating levels."""
        without, leaving = self._moves(self.servers)
        arrive = self.rate * np.eye(len(without))
        first = least_return(leaving @ self._start(self.servers - 1), without - arrive, arrive)
        return np.linalg.solve((arrive - without - arrive @ first).T, arrive.T).T

    def _start(self, present: int) -> Matrix:
        """From a level to the one above: a newcomer, or the first in the queue, takes up a phase."""
        index = {state: i for i, state in enumerate(self._levels[present + 1])}
        block = np.zeros((len(self._levels[present]), len(index)))
        for i, state in enumerate(self._levels[present]):
            for phase, p in enumerate(self.law.start):
                block[i, index[_plus(state, phase, 1)]] += p
        return block

    def _moves(self, present: int) -> tuple[Matrix, Matrix]:
        """Moves inside the level (with the diagonal of service), and departures to the level below."""
        here, below = (
            {state: i for i, state in enumerate(self._levels[n])} if n >= 0 else {} for n in (present, present - 1)
        )
        inside, leaving = np.zeros((len(here), len(here))), np.zeros((len(here), len(below)))
        for state, i in here.items():
            for phase, busy in enumerate(state):
                speed, onward = busy * self.law.rates[phase], self.law.onward[phase]
                inside[i, i] -= speed
                if busy and onward is None:
                    leaving[i, below[_plus(state, phase, -1)]] += speed
                elif busy and onward is not None:
                    inside[i, here[_plus(_plus(state, phase, -1), onward, 1)]] += speed
        return inside, leaving

    @cached_property
    def _full(self) -> Matrix:
        """pi_k, by the recursion pi_n = pi_{n-1} R_n from above, normalised over all levels."""
        after = self._matrix @ self._moves(self.servers)[1] @ self._start(self.servers - 1)
        ladder: list[Matrix] = []
        for n in range(self.servers, 0, -1):
            inside, leaving = self._moves(n)
            stay = self.rate * np.eye(len(inside)) - inside - after
            step = np.linalg.solve(stay.T, (self.rate * self._start(n - 1)).T).T
            after = step @ leaving
            ladder.append(step)
        law: NDArray[Any] = np.ones(1)
        total = 1.0
        for n, step in enumerate(reversed(ladder), 1):
            law = np.asarray(law @ step)
            total += law.sum() if n < self.servers else float(self._sum(law, 1))
        return np.asarray(law / total)

    def _sum(self, law: Matrix, power: int) -> float:
        """law (I - R)^-power e."""
        rest = np.eye(len(law)) - self._matrix
        out: NDArray[Any] = np.ones(len(law))
        for _ in range(power):
            out = np.linalg.solve(rest, out)
        return float(law @ out)

    @cached_property
    def delayed(self) -> float:
        """P(W > 0)."""
        return self._sum(self._full, 1)

    @cached_property
    def mean_wait(self) -> float:
        """E[W] (s)."""
        return self._sum(self._full @ self._matrix, 2) / self.rate

    @cached_property
    def second_moment(self) -> float:
        """E[W^2] (s^2)."""
        return 2.0 * self._sum(self._full @ self._matrix @ self._matrix, 3) / self.rate**2

    @cached_property
    def _modes(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Eigenvalues r of R, and weights w: W~+(s) = sum w / (1 - r + s r / lambda)."""
        values, vectors = np.linalg.eig(self._matrix)
        return values, (self._full @ vectors) * np.linalg.solve(vectors, np.ones(len(values)))

    def positive_wait(self, s: np.ndarray) -> np.ndarray:
        """Transform of W where W > 0, of mass P(W > 0)."""
        values, weights = self._modes
        return (weights / (1.0 - values + np.multiply.outer(np.asarray(s) / self.rate, values))).sum(axis=-1)

    @property
    def diagonal(self) -> bool:
        """Whether R has eigenvectors enough for `positive_wait` to hold, judged by the wait's first two moments."""
        values, weights = self._modes
        ratio = values / (1.0 - values)
        got = (weights / (1.0 - values) * ratio).sum() / self.rate
        return bool(abs(got - self.mean_wait) <= 1e-8 * self.mean_wait)


def least_return(down: Matrix, inside: Matrix, up: Matrix) -> Matrix:
    """G, the least solution of down + inside G + up G^2 = 0: where the level below is first entered.

    Logarithmic reduction: the number of levels looked at doubles with each step.
    """
    turn = np.linalg.inv(-inside)
    high, low = turn @ up, turn @ down
    first, passed = low.copy(), high.copy()
    for _ in range(REDUCTIONS):
        both = np.linalg.inv(np.eye(len(high)) - high @ low - low @ high)
        high, low = both @ high @ high, both @ low @ low
        added = passed @ low
        first, passed = first + added, passed @ high
        if np.abs(added).max() < STILL:
            break
    return first


def _occupations(busy: int, phases: int) -> list[tuple[int, ...]]:
    """All ways of placing the busy servers in the phases."""
    found = []
    for bars in combinations(range(busy + phases - 1), phases - 1):
        edges = (-1, *bars, busy + phases - 1)
        found.append(tuple(edges[i + 1] - edges[i] - 1 for i in range(phases)))
    return found


def _plus(state: Sequence[int], phase: int, by: int) -> tuple[int, ...]:
    return (*state[:phase], state[phase] + by, *state[phase + 1 :])
