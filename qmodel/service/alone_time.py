"""Service time of a request that an engine serves alone, from its iteration time: one prefill, then its decodes.

T(I, L) = L (a + b) + p I + (c + g) ((L - 1) I + L (L - 1) / 2) + g I^2 for I input and L output tokens; the prefill
iteration makes the first token. It is what a batch of one takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import EXACT, Residual


@dataclass(frozen=True)
class AloneTime:
    """An iteration time in the shape of a fitted model with factors input_tokens and output_tokens.

    >>> alone = AloneTime(IterationTime(base=0.01, per_prefill_token=1e-4))
    >>> round(alone.predict({"input_tokens": 50, "output_tokens": 3}), 12)
    0.035
    """

    taken: IterationTime
    factors: ClassVar[tuple[str, ...]] = ("input_tokens", "output_tokens")
    residual: ClassVar[Residual] = EXACT
    residual_scv: ClassVar[float] = 0.0
    broadcasts: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """Its coefficients."""
        return repr(self.taken)

    def predict(self, levels: Mapping[str, Any]) -> Any:
        """Seconds of one request's whole service; of many, where the levels are arrays."""
        inputs, outputs = levels["input_tokens"], levels["output_tokens"]
        steps = outputs - 1.0
        context = steps * inputs + outputs * steps / 2.0
        counted = self.taken.per_prefill_token * inputs + self.taken.per_context_token * context
        pairs = self.taken.per_query_key * (inputs**2 + context)
        return outputs * self.taken.seconds(1) + counted + pairs
