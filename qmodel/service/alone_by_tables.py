"""Service time of a request that an engine serves alone, where its iteration time is told by tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qmodel.service.composed import ComposedTime
from qmodel.service.fitted_iterations import engine_time_of
from qmodel.service.model import EXACT, Residual


@dataclass(frozen=True)
class AloneByTables:
    """The prefill iteration, then a decoding iteration for each further token; of long outputs 256 are looked at
    and the others read between them.

    >>> from qmodel.service.model import ServiceModel
    >>> alone = AloneByTables(ServiceModel.affine({"1": 0.01, "prefill_tokens": 1e-5}))
    >>> round(alone.predict({"input_tokens": 100, "output_tokens": 3}), 9)
    0.031
    """

    model: Any
    factors: tuple[str, ...] = ("input_tokens", "output_tokens")
    residual: Residual = EXACT
    residual_scv: float = 0.0

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return f"alone {self.model.fingerprint}"

    @cached_property
    def _taken(self) -> ComposedTime:
        return engine_time_of(self.model)

    def predict(self, levels: Mapping[str, Any]) -> float:
        """Seconds of the whole service."""
        taken, inputs = self._taken, float(levels["input_tokens"])
        steps = max(0, round(float(levels["output_tokens"])) - 1)
        contexts = inputs + np.arange(1, steps + 1)
        if not steps:
            return taken.seconds(0, 0.0, inputs, prefills=1)
        looked = np.unique(np.linspace(0, steps - 1, min(steps, 256)).astype(int))
        each = taken.decoding_alone_s(contexts[looked])
        decoded = float(np.interp(np.arange(steps), looked, each).sum())
        return taken.seconds(0, 0.0, inputs, prefills=1) + decoded
