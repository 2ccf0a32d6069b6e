"""Time of one iteration of a batching engine, written out in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from qmodel.errors import InputError

PAIRS = "per_query_key"
"""The term that most engines do not have: where it is 0 it is not shown."""


@dataclass(frozen=True)
class IterationTime:
    """base + per_sequence*n + per_context_token*context + per_prefill_token*prefill + per_query_key*pairs, seconds.

    Pairs: a library that packs all requests of an iteration into one dense attention computes every query with
    every key, whosever it is. Queries are the decoding sequences and the prompt tokens; keys are the context tokens
    of the decoding sequences, the prompt tokens, and what is cached of the prompts already.

    >>> round(IterationTime(base=0.01, per_sequence=0.0002).seconds(sequences=10), 6)
    0.012
    >>> round(IterationTime(base=0.01, per_query_key=1e-7).seconds(3, context_tokens=200, prefill_tokens=50), 6)
    0.0113
    """

    base: float
    per_sequence: float = 0.0
    per_context_token: float = 0.0
    per_prefill_token: float = 0.0
    per_query_key: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"iteration_time, {name}", f"{value} is no time", "give seconds >= 0")
        if self.base + self.per_sequence <= 0:
            raise InputError("iteration_time", "takes no time", "give base or per_sequence above 0")

    def __repr__(self) -> str:
        return f"IterationTime({', '.join(f'{name}={value!r}' for name, value in self.terms().items())})"

    def terms(self) -> dict[str, float]:
        """Seconds of each term by name; that of pairs only where it is there."""
        return {name: value for name, value in vars(self).items() if value or name != PAIRS}

    def seconds(
        self, sequences: float, context_tokens: float = 0.0, prefill_tokens: float = 0.0, *,
        prefills: float | None = None, cached_tokens: float = 0.0,
    ) -> float:  # fmt: skip
        """Duration of one iteration with `sequences` running, `prefills` of which compute their prompts.

        `prefills` None: one does where there are `prefill_tokens`. `cached_tokens`: of their prompts,
        computed before.
        """
        work = self.per_context_token * context_tokens + self.per_prefill_token * prefill_tokens
        linear = self.base + self.per_sequence * sequences + work
        if not self.per_query_key:
            return linear
        computing = float(prefill_tokens > 0) if prefills is None else prefills
        pairs = query_keys(sequences - computing, context_tokens, prefill_tokens, cached_tokens)
        return linear + self.per_query_key * float(pairs)

    def times(self, factor: float, of_base: float | None = None) -> IterationTime:
        """Iterations so many times as long; `of_base` where the base is longer by another factor.

        >>> IterationTime(0.01, 0.002).times(2.0, of_base=3.0)
        IterationTime(base=0.03, per_sequence=0.004, per_context_token=0.0, per_prefill_token=0.0)
        """
        work = (self.per_sequence, self.per_context_token, self.per_prefill_token, self.per_query_key)
        return IterationTime((of_base or factor) * self.base, *(factor * each for each in work))


def query_keys(decoding: Any, context_tokens: Any, prefill_tokens: Any = 0.0, cached_tokens: Any = 0.0) -> Any:
    """Queries times keys of an iteration, numbers or arrays: (n + p) (context + p + cached).

    >>> query_keys(decoding=2, context_tokens=200, prefill_tokens=50)
    13000.0
    """
    return (decoding + prefill_tokens) * (context_tokens + prefill_tokens + cached_tokens + 0.0)
