"""Which model serves next, by how many are there: a Markov decision problem, solved to the optimum.

Poisson arrivals at rate lambda, one server, FCFS. When a service starts with n there (n >= 1, itself included) one
of several laws of service is chosen, each with the quality that it loses. Every service is one request, so that
the mean cost of a stage is the mean cost of a request:

    c(n, a) = loss_a + price (n E[S_a] + lambda E[S_a^2] / 2),    n' = max(n - 1 + A_a, 1)

with A_a the arrivals in S_a; the second term is the time that all present spend in the system, so by Little the
mean over stages is E[loss] + price E[T]. States beyond `most` are taken as `most`.

Sources: Howard, *Dynamic Programming and Markov Processes* (1960); bounds of the sweeps, Odoni, *Oper. Res.* 17
(1969) 857-860. For two laws, one faster and dearer, a threshold is optimal: Federgruen & Tijms, *J. Appl. Prob.* 17
(1980) 758-773.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.numerics.stationary import stationary_law
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

MOST, LIMIT = 200, 2_000
CUT = 1e-6
"""States that are told apart, usually and at most; the share of stages that may be beyond them."""
SWEEPS = 100_000


@dataclass(frozen=True)
class QueueControl:
    """The problem: `laws[a]` of service, `losses[a]` of quality, `price` of a second of response in quality.

    >>> from qmodel.workload import Exponential
    >>> two = QueueControl(0.5, (Exponential(mean=1.0), Exponential(mean=0.5)), (0.0, 0.2), price=0.1)
    >>> round(two.cost_of([0] * two.most), 9)  # the slow one alone: 0.1 / (1 - 0.5)
    0.2
    >>> value_iteration(two).threshold
    2
    """

    rate: float
    laws: tuple[Distribution, ...]
    losses: tuple[float, ...]
    price: float
    most: int = MOST

    def __post_init__(self) -> None:
        if self.rate * min(law.mean for law in self.laws) >= 1.0:
            raise InputError("queue control", "the fastest service does not carry the load", "lower the rate")
        if not (math.isfinite(self.price) and self.price > 0):
            raise InputError("queue control, price", f"{self.price} is no price", "quality for a second, above 0")

    @classmethod
    def of(cls, scenario: Scenario, price: float) -> QueueControl:
        """Of a scenario with one class and a model that changes above a queue length. Raises InputError."""
        served = scenario.served[0]
        if len(scenario.classes) > 1 or served.long_queue is None or scenario.system.servers > 1:
            fault = "is not one class on one server with a model that changes above a queue length"
            raise InputError("scenario", fault, "give one class and a transform with above_queue")
        losses = (1.0 - served.service.quality, 1.0 - served.long_queue.quality)
        laws = served.size, served.long_queue.occupancy
        return cls(scenario.rate, laws, losses, price, states_for(laws, losses, price))

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """Of a stage, (laws, states); state i stands for i + 1 there."""
        there = np.arange(1.0, self.most + 1)
        held = [there * law.mean + 0.5 * self.rate * law.moment(2) for law in self.laws]
        return np.array(self.losses)[:, None] + self.price * np.array(held)

    @cached_property
    def moves(self) -> NDArray[np.float64]:
        """Transition probabilities, (laws, from, to)."""
        return np.stack([self._moves(law) for law in self.laws])

    def _moves(self, law: Distribution) -> NDArray[np.float64]:
        counts = count_probabilities(law.lst, self.rate, self.most)
        found = np.zeros((self.most, self.most))
        found[0, 0], found[0, 1:] = counts[0] + counts[1], counts[2 : self.most + 1]
        for there in range(2, self.most + 1):
            found[there - 1, there - 2 :] = counts[: self.most - there + 2]
        found[:, -1] += np.maximum(1.0 - found.sum(axis=1), 0.0)
        return found

    def cost_of(self, actions: Sequence[int] | NDArray[np.int64]) -> float:
        """Mean cost of a request under a law for each state; infinite where the longest queues outgrow it.

        Raises InputError for queues that are often longer than `most`.
        """
        if self.rate * self.laws[actions[-1]].mean >= 1.0:
            return math.inf
        chosen = np.asarray(actions, dtype=np.int64), np.arange(self.most)
        # states are handed over from the last to the first, which all others lead to
        law = stationary_law(self.moves[chosen][::-1, ::-1])[::-1]
        if law[-1] > CUT * law.sum():
            raise InputError("queue control, most", f"{self.most} there are often exceeded", "give more")
        return float(law @ self.costs[chosen] / law.sum())

    def threshold(self, above: int) -> NDArray[np.int64]:
        """The second law where more than so many are there, else the first."""
        return (np.arange(1, self.most + 1) > above).astype(np.int64)

    def thresholds(self, most: int = 50) -> NDArray[np.float64]:
        """Costs of all thresholds from 0 to `most`: exhaustive search."""
        return np.array([self.cost_of(self.threshold(above)) for above in range(most + 1)])


def states_for(laws: Sequence[Distribution], losses: Sequence[float], price: float) -> int:
    """States enough: where so many are there that no quality is worth the slowest service, twice over.

    Were they fewer, a queue held at its last state by an overload would seem cheap.

    >>> from qmodel.workload import Deterministic
    >>> states_for([Deterministic(1.0), Deterministic(0.4)], [0.0, 0.2], 0.0005)
    800
    """
    slowest = max(law.mean for law in laws)
    needed = 2.0 * (max(losses) - min(losses)) / (max(price, 1e-12) * slowest)
    return int(min(max(MOST, math.ceil(needed)), LIMIT))


@dataclass(frozen=True)
class Optimum:
    """The law to choose in each state, and bounds of the least mean cost of a request."""

    actions: tuple[int, ...]
    low: float
    high: float
    steps: int

    @property
    def threshold(self) -> int | None:
        """The most who are there while the first law is chosen, where the second is chosen above it; else None."""
        return threshold_of(self.actions)

    @property
    def as_threshold(self) -> int:
        """The threshold. Raises InputError where the optimum is none."""
        if self.threshold is None:
            raise InputError("queue control", "no threshold is optimal", "ask for its actions")
        return self.threshold


def threshold_of(actions: Sequence[int]) -> int | None:
    """The threshold that these actions are, if they are one.

    >>> threshold_of([0, 0, 1, 1]), threshold_of([0, 1, 0, 1])
    (2, None)
    """
    first = list(actions).index(1) if 1 in actions else len(actions)
    return first if set(actions[first:]) <= {1} and not any(actions[:first]) else None


def _inside(control: QueueControl, found: Optimum) -> Optimum:
    """The optimum, where it hardly ever comes to the last state. Raises InputError where that decides."""
    if not math.isfinite(control.cost_of(found.actions)):
        fault = f"with {control.most} states the queue is held at the last: waiting costs too little to be told"
        raise InputError("queue control, price", fault, "raise the price of a second, or give more states")
    return found


def value_iteration(control: QueueControl, tolerance: float = 1e-9) -> Optimum:
    """Sweeps over all states until the least mean cost is known to `tolerance`. Raises InputError if it is not."""
    values = np.zeros(control.most)
    for sweep in range(1, SWEEPS + 1):
        found = control.costs + control.moves @ values
        best = found.min(axis=0)
        gained = best - values
        if gained.max() - gained.min() <= tolerance:
            actions = tuple(found.argmin(axis=0).tolist())
            return _inside(control, Optimum(actions, float(gained.min()), float(gained.max()), sweep))
        values = best - best[0]
    raise InputError(
        "value iteration", f"does not settle in {SWEEPS} sweeps", "is the load of the fastest below 1?"
    )


def policy_iteration(control: QueueControl) -> Optimum:
    """Howard's: the values of a policy solved for, the policy made better by them, until it stays."""
    states = np.arange(control.most)
    actions = control.costs.argmin(axis=0)
    for step in range(1, SWEEPS + 1):
        system = np.eye(control.most) - control.moves[actions, states]
        system[:, 0] = 1.0  # the value of the first state is 0; its column is the mean cost's
        solved = np.linalg.solve(system, control.costs[actions, states])
        mean, values = float(solved[0]), np.concatenate([[0.0], solved[1:]])
        found = control.costs + control.moves @ values
        better = np.where(found.min(axis=0) < found[actions, states] - 1e-11, found.argmin(axis=0), actions)
        if (better == actions).all():
            return _inside(control, Optimum(tuple(actions.tolist()), mean, mean, step))
        actions = better
    raise InputError(
        "policy iteration", f"does not settle in {SWEEPS} steps", "is the load of the fastest below 1?"
    )
