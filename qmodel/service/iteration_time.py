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
