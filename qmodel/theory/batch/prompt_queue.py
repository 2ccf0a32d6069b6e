"""Prompts in a batching engine: how long until a request's first token, where iterations have a token budget.

A request that is admitted makes its first token in the iteration that computes the last of its prompt. That is
the next one, with the prompts that came meanwhile, unless the budget cuts its prompt or prompts ahead push it back:
each iteration computes as many prompt tokens as the budget leaves beside the decoding requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaincc

from qmodel.theory.batch.token_demand import Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.theory.batch.continuous_batching import BatchingEngine

    Floats = NDArray[np.float64]

WALK = 200
KNOTS = 25
"""Lengths of prompts at which the time to prefill is worked out; between them it is interpolated."""
UNLIKELY = 1e-10
"""Probability of a number running, or of one more iteration, that does not count."""
MOST_ITERATIONS = 10_000


@dataclass(frozen=True)
class PromptQueue:
    """Prompts of the requests that come to an engine."""

    engine: BatchingEngine

    def prefill(self, tokens: float) -> Floats:
        """Mean seconds from admission to the first token, by the number running, with so many prompt tokens.

        Of numbers that are hardly ever running, without what a budget adds.
        """
        together = tokens + self.engine.others * self.engine.demand.prefills.moment(1)
        first = self.engine.beside(np.arange(self.engine.cap + 1.0), together)
        if self.engine.packed:  # the mean of the square of the prompts beside it
            first = (
                first + self.engine.taken.per_query_key * self.engine.others * self.engine.demand.prefills.moment(2)
            )
        more = np.zeros(self.engine.cap + 1)
        more[self._likely] = self._more_iterations(tokens)
        return np.asarray(first + more * self.engine.iteration)

    @cached_property
    def _room(self) -> Floats:
        """Prompt tokens that fit into an iteration beside the decoding requests, by the number running."""
        return np.maximum(self.engine.budget - np.arange(self.engine.cap + 1.0), 1.0)

    @cached_property
    def _likely(self) -> NDArray[np.intp]:
        """The numbers running that arrivals find."""
        return np.nonzero(self.engine.seen > UNLIKELY)[0]

    def _more_iterations(self, tokens: float) -> Floats:
        """Mean number of further iterations that a prompt needs, which the budget cuts or prompts ahead push back.

        By the likely numbers running. Prompt tokens ahead, of an earlier iteration or the same one, are taken as
        gamma with their two moments.
        """
        mean, variance = (moment[self._likely] for moment in self._tokens_ahead)
        room = self._room[self._likely]
        shape, rate = mean**2 / variance, mean / variance
        more, filled = np.zeros(room.size), room.copy()
        for _ in range(MOST_ITERATIONS):
            over = gammaincc(shape, np.maximum(filled - tokens, 0.0) * rate)
            more += over
            if over.max() < UNLIKELY:
                break
            filled = filled + room
        return more

    @cached_property
    def _tokens_ahead(self) -> tuple[Floats, Floats]:
        """Mean and variance of the prompt tokens before an arrival's own: a backlog, and those of its iteration.

        The backlog is a random walk reflected at 0: E[M] = sum_k E[(S_k - k room)^+] / k, its variance likewise
        with squares (Spitzer), S_k the tokens that come in k iterations. It is left out where hardly any arrival
        finds that number running.
        """
        came = self.engine.demand.rate * self.engine.residuals
        mean = np.maximum(came * self.engine.demand.prefills.moment(1), 1e-12)
        variance = np.maximum(came * self.engine.demand.prefills.moment(2), 1e-12)
        arriving, spread = (moment[self._likely] for moment in self._arriving)
        room = self._room[self._likely]
        for k in range(1, WALK + 1):
            first, second = _excess(k * arriving, k * spread, k * room)
            mean[self._likely] += first / k
            variance[self._likely] += second / k
            if (first < 1e-4).all():
                break
        return mean, variance

    @cached_property
    def _arriving(self) -> tuple[Floats, Floats]:
        """Mean and variance of the prompt tokens that come in an iteration, by the number running."""
        came = self.engine.demand.rate * self.engine.iteration
        return came * self.engine.demand.prefills.moment(1), came * self.engine.demand.prefills.moment(2)

    @property
    def budget_load(self) -> float:
        """Share of the room for prompts, in an average iteration, that is asked for."""
        return float(self.engine.seen @ (self._arriving[0] / self._room))

    @property
    def scale(self) -> float:
        """E[I^2] / E[I], the prompt that a prompt token belongs to, over the room for prompts."""
        prompts = self.engine.demand.prefills
        return prompts.moment(2) / prompts.moment(1) / float(self.engine.seen @ self._room)

    def mean_prefill(self, prompts: Points) -> float:
        """The same for prompts of these lengths."""
        key = prompts.values.tobytes() + prompts.weights.tobytes()
        if key not in self._prefilled:
            self._prefilled[key] = self._mean_prefill(prompts)
        return self._prefilled[key]

    @cached_property
    def _prefilled(self) -> dict[bytes, float]:
        return {}

    def _mean_prefill(self, prompts: Points) -> float:
        lengths = np.unique(prompts.values)
        if lengths.size > KNOTS:
            lengths = np.quantile(lengths, np.linspace(0.0, 1.0, KNOTS))
        means = [float(self.engine.seen @ self.prefill(length)) for length in lengths]
        return float(prompts.weights @ np.interp(prompts.values, lengths, means))


def _excess(mean: Floats, variance: Floats, level: Floats) -> tuple[Floats, Floats]:
    """E[(X - level)^+] and E[((X - level)^+)^2] of gamma X with this mean and variance."""
    shape, scale = mean**2 / variance, variance / mean
    beyond = [gammaincc(shape + i, level / scale) for i in range(3)]
    first = mean * beyond[1] - level * beyond[0]
    second = shape * (shape + 1) * scale**2 * beyond[2] - 2 * level * mean * beyond[1] + level**2 * beyond[0]
    return np.maximum(first, 0.0), np.maximum(second, 0.0)
