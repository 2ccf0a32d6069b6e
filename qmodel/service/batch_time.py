"""How long a batch takes that is served as one: by its size alone, or until its longest answer is out.

With iteration time a + b n + c context + p prefill + g pairs (queries times keys), a batch of n requests with
input lengths I and longest output L (shorter answers are padded, all leave together) takes one prefill iteration
and L - 1 decode iterations:

    L (a + b n) + p sum(I) + g sum(I)^2 + (c + g n) ((L - 1) sum(I) + n L (L - 1) / 2).

L is the largest of n independent output lengths, P(L <= l) = F(l)^n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.service.iteration_time import IterationTime
from qmodel.workload import Deterministic, Distribution, Mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

    Floats = NDArray[np.float64]

POINTS = 256
"""A law of the longest output is carried by so many equally likely lengths."""


@dataclass(frozen=True)
class BatchTime:
    """Law of a batch's time by its size: `atoms(n)` gives its values (s) and their probabilities.

    >>> taken = BatchTime.of_size(IterationTime(base=2.0, per_sequence=0.5).seconds)
    >>> taken.mean(4), taken.is_fixed
    (4.0, True)
    """

    atoms: Callable[[int], tuple[Floats, Floats]]
    is_fixed: bool
    is_exact: bool = True

    @classmethod
    def of_size(cls, seconds: Callable[[int], float]) -> BatchTime:
        """A time that depends on the size alone."""
        return cls(lambda size: (np.array([float(seconds(size))]), np.ones(1)), is_fixed=True)

    def mean(self, size: int) -> float:
        """Mean seconds of a batch of `size`."""
        return self.moment(size, 1)

    def moment(self, size: int, order: int) -> float:
        """E[time^order] of a batch of `size`."""
        times, probabilities = self.atoms(size)
        return float(probabilities @ times**order)


def padded(taken: IterationTime, input_tokens: Distribution | None, output_tokens: Distribution) -> BatchTime:
    """Time of a batch that goes on until its longest output is out.

    Inputs (None: there are none) count by their mean; where they vary and cost time, `is_exact` is False.

    >>> from qmodel.workload import Deterministic
    >>> taken = padded(IterationTime(base=1.0), None, Deterministic(5))
    >>> taken.mean(3)
    5.0
    """

    each = 0.0 if input_tokens is None else input_tokens.mean
    spread = 0.0 if input_tokens is None else variance(input_tokens)

    @cache
    def atoms(size: int) -> tuple[Floats, Floats]:
        longest = longest_lengths(output_tokens, size)
        times = until_longest(taken, size, size * each, longest, size * spread)
        return times, np.full(longest.size, 1.0 / longest.size)

    counted = taken.per_prefill_token + taken.per_context_token + taken.per_query_key > 0
    return BatchTime(
        atoms,
        is_fixed=output_tokens.scv == 0,
        is_exact=not counted or input_tokens is None or input_tokens.scv == 0,
    )


def until_longest(
    taken: IterationTime, size: int, input_tokens: float | Floats, longest: Floats, spread: float = 0.0
) -> Floats:
    """Seconds of a batch of `size` with so many input tokens in all, by its longest output.

    `spread`: the variance of the input tokens, where those given are their mean.
    """
    steps = longest - 1.0
    context = steps * input_tokens + size * longest * steps / 2.0
    once = taken.per_prefill_token * input_tokens + taken.per_query_key * (input_tokens**2 + spread)
    each = taken.per_context_token + taken.per_query_key * size
    return np.asarray(longest * taken.seconds(size) + once + each * context)


def variance(lengths: Distribution) -> float:
    """Variance of a length, tokens squared; 0 where it is always 0."""
    return lengths.scv * lengths.mean**2 if lengths.mean else 0.0


def longest_lengths(lengths: Distribution, size: int, low: float = 0.0, high: float = 1.0) -> Floats:
    """Equally likely values of the largest of `size` lengths, shape (points,); whole tokens, 1 or more.

    The lengths are those between the law's probabilities `low` and `high`.
    """
    if isinstance(lengths, Deterministic):
        return np.array([lengths.mean])
    levels = ((np.arange(POINTS) + 0.5) / POINTS) ** (1.0 / size)
    values = lengths.quantile(low + (high - low) * levels)
    return np.asarray(np.maximum(np.ceil(values - 1e-9), 1.0))


def batch_time(scenario: Scenario) -> BatchTime:
    """Time of a dynamic batch of the scenario. Raises InputError where the scenario gives none."""
    found = scenario.system.iteration_time
    if found is None:
        raise InputError("system, iteration_time", "is missing", "dynamic batching needs base and per_sequence")
    outputs = merged(scenario, "output_tokens")
    if outputs is None and any("output_tokens" in c.factors for c in scenario.classes):
        raise InputError("scenario", "only some classes have output_tokens", "give them to all or to none")
    if outputs is None:
        if found.per_context_token or found.per_prefill_token or found.per_query_key:
            fault = "counts tokens that no class brings"
            raise InputError("system, iteration_time", fault, "give input_tokens and output_tokens")
        return BatchTime.of_size(found.seconds)
    return padded(found, merged(scenario, "input_tokens"), outputs)


def merged(scenario: Scenario, factor: str) -> Distribution | None:
    """Law of a factor over the requests of all classes; None if a class lacks it."""
    laws = tuple(c.factors[factor] for c in scenario.classes if factor in c.factors)
    if len(laws) < len(scenario.classes):
        return None
    return laws[0] if len(laws) == 1 else Mixture(tuple(c.rate / scenario.rate for c in scenario.classes), laws)
