"""A policy learned from a trace: which model serves next by how many are there, from costs alone (Q-learning).

The learner knows neither rate nor laws. It goes through a trace again and again, mostly as it thinks best, and
keeps for each number there and each choice what it cost from then on, against the mean:

    Q(n, a) <- Q(n, a) + step (c + min_b Q(n', b) - min_b Q(1, b) - Q(n, a)),   step = 1 / visits^0.7

Source: relative value iteration by Q-learning, Abounadi, Bertsekas & Borkar, *SIAM J. Control Optim.* 40 (2001)
681-698. What it says of long queues, which are rare, is noise; so it is asked for a threshold, the form of the
optimum, and gives the one that its own table regrets least, each number there counting as often as it was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qmodel.planning.queue_control import QueueControl

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

LEVELS = 60
"""Numbers there that are told apart; more are as many."""
PASSES, CURIOUS, FADING = 8, 0.2, 0.7
Choose = Callable[[int, float], int]
Learn = Callable[[int, int, float, int], None]


@dataclass(frozen=True)
class Trace:
    """Requests in order of arrival: `arrival_s`, and for each choice the seconds that a request takes.

    `losses` of quality of each choice, and the `price` of a second of response in quality.
    """

    arrival_s: NDArray[np.float64]
    service_s: tuple[NDArray[np.float64], ...]
    losses: tuple[float, ...]
    price: float

    @classmethod
    def of(cls, scenario: Scenario, control: QueueControl, count: int, seed: int) -> Trace:
        """About so many requests of a scenario, drawn; at the quality and price of the problem that it is."""
        from qmodel.simulation.draw import draw

        drawn = draw(scenario, count, np.random.SeedSequence(seed))
        return cls(drawn.arrival_s, (drawn.service_s, drawn.long_s), control.losses, control.price)

    def cost_of(self, threshold: int) -> float:
        """Mean cost of a request with the second choice where more than so many are there."""
        return self.serve(lambda there, _: int(there > threshold))

    def serve(self, choose: Choose, learn: Learn | None = None) -> float:
        """Mean cost of a request, loss + price x response, served in order by one server.

        `choose` is told how many are there, and the time; `learn` of each service: how many were there, what was
        chosen, the cost while it lasted (all present pay), how many are there at the next one.

        >>> both = np.array([0.0, 0.0]), (np.array([1.0, 1.0]), np.array([0.5, 0.5]))
        >>> Trace(*both, (0.0, 0.2), 0.1).serve(lambda there, _: int(there > 1))  # 0.2 + 0.05, then 0.15
        0.2
        """
        times, services = self.arrival_s.tolist(), [each.tolist() for each in self.service_s]
        count, now, come, spent = len(times), 0.0, 0, 0.0
        owed: tuple[int, int, float] | None = None
        for i in range(count):
            now = max(now, times[i])
            while come < count and times[come] <= now:
                come += 1
            there = come - i
            if owed is not None and learn is not None:
                learn(*owed, there)
            chosen = choose(there, now)
            end = now + services[chosen][i]
            held = there * (end - now)
            while come < count and times[come] <= end:
                held += end - times[come]
                come += 1
            owed = there, chosen, self.losses[chosen] + self.price * held
            spent += self.losses[chosen] + self.price * (end - times[i])
            now = end
        return spent / count


@dataclass
class QLearner:
    """The table, how often each entry was seen, and chances of trying something else."""

    table: NDArray[np.float64]
    visits: NDArray[np.int64]
    rng: np.random.Generator
    curious: float = CURIOUS

    @classmethod
    def new(cls, choices: int, seed: int) -> QLearner:
        """Knows nothing."""
        shape = (LEVELS, choices)
        return cls(np.zeros(shape), np.zeros(shape, dtype=np.int64), np.random.default_rng(seed))

    def choose(self, there: int, now_s: float) -> int:
        """The best known choice, or now and then another."""
        row = self.table[min(there, LEVELS) - 1]
        if self.rng.random() < self.curious:
            return int(self.rng.integers(row.size))
        return int(row.argmin())

    def learn(self, there: int, chosen: int, cost: float, then: int) -> None:
        """What a choice cost, and where it led."""
        here, after = min(there, LEVELS) - 1, min(then, LEVELS) - 1
        self.visits[here, chosen] += 1
        step = self.visits[here, chosen] ** -FADING
        target = cost + self.table[after].min() - self.table[0].min()
        self.table[here, chosen] += step * (target - self.table[here, chosen])

    @property
    def threshold(self) -> int:
        """Above so many there the second choice, by the table: sum over n of visits(n) x regret(n) is least."""
        weights = self.visits.min(axis=1)
        regrets = weights[:, None] * (self.table - self.table.min(axis=1, keepdims=True))
        before = np.concatenate([[0.0], np.cumsum(regrets[:, 0])])
        after = np.concatenate([np.cumsum(regrets[::-1, 1])[::-1], [0.0]])
        return int((before + after).argmin())


def learned(trace: Trace, seed: int, passes: int = PASSES) -> QLearner:
    """A learner that went through a trace so often, less curious each time."""
    learner = QLearner.new(len(trace.losses), seed)
    for i in range(passes):
        learner.curious = CURIOUS * (1.0 - i / passes)
        trace.serve(learner.choose, learner.learn)
    return learner
