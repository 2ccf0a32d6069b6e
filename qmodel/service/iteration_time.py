"""Time of one iteration of a batching engine, written out in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qmodel.errors import InputError


@dataclass(frozen=True)
class IterationTime:
    """base + per_sequence*n + per_context_token*context + per_prefill_token*prefill, all in seconds.

    >>> round(IterationTime(base=0.01, per_sequence=0.0002).seconds(sequences=10), 6)
    0.012
    """

    base: float
    per_sequence: float = 0.0
    per_context_token: float = 0.0
    per_prefill_token: float = 0.0

    def __post_init__(self) -> None:
        for name in ("base", "per_sequence", "per_context_token", "per_prefill_token"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"iteration_time, {name}", f"{value} is no time", "give seconds >= 0")
        if self.base + self.per_sequence <= 0:
            raise InputError("iteration_time", "takes no time", "give base or per_sequence above 0")

    def seconds(self, sequences: float, context_tokens: float = 0.0, prefill_tokens: float = 0.0) -> float:
        """Duration of one iteration with `sequences` running."""
        work = self.per_context_token * context_tokens + self.per_prefill_token * prefill_tokens
        return self.base + self.per_sequence * sequences + work

    def times(self, factor: float, of_base: float | None = None) -> IterationTime:
        """Iterations so many times as long; `of_base` where the base is longer by another factor.

        >>> IterationTime(0.01, 0.002).times(2.0, of_base=3.0)
        IterationTime(base=0.03, per_sequence=0.004, per_context_token=0.0, per_prefill_token=0.0)
        """
        work = (self.per_sequence, self.per_context_token, self.per_prefill_token)
        return IterationTime((of_base or factor) * self.base, *(factor * each for each in work))
