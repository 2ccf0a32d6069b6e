"""Service time of a language-model request from the fitted times of its phases: one prefill, then decode steps.

T(input, output) = prefill(input) + sum over i = 1 .. output-1 of decode(context = input + i): the prefill makes the
first token. Both phases are taken at batch size 1 (one request at a time) and at the same exit layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.service.model import Residual, ServiceModel

LENGTHS = ("input_tokens", "output_tokens")


@dataclass(frozen=True)
class TokenService:
    """A fitted model with factors `input_tokens` and `output_tokens`, made of a prefill and a decode model.

    >>> prefill = ServiceModel.affine({"1": 0.002, "input_tokens": 1e-5})
    >>> decode = ServiceModel.affine({"1": 0.001, "context_tokens": 1e-7})
    >>> round(TokenService(prefill, decode).predict({"input_tokens": 100, "output_tokens": 11}), 9)
    0.0131055
    """

    prefill: ServiceModel
    decode: ServiceModel

    def __post_init__(self) -> None:
        if "input_tokens" not in self.prefill.factors:
            raise InputError("prefill model", "has no factor input_tokens", "fit it over that factor")

    @property
    def factors(self) -> tuple[str, ...]:
        """The lengths, and what else the phases need (exit_layer); batch size is 1 here."""
        own = (*self.prefill.factors, *self.decode.factors)
        others = [name for name in own if name not in (*LENGTHS, "context_tokens", "batch_size")]
        return (*LENGTHS, *dict.fromkeys(others))

    @property
    def fingerprint(self) -> str:
        """The fingerprints of both phases."""
        return f"{self.prefill.fingerprint}+{self.decode.fingerprint}"

    @property
    def residual(self) -> Residual:
        """The prefill's replicate noise: a bound for the sum, in which that of many decode steps averages out."""
        return self.prefill.residual

    @property
    def residual_scv(self) -> float:
        """Its squared coefficient of variation."""
        return self.residual.scv

    def times(self, factors: Mapping[str, float]) -> TokenService:
        """The model where each phase takes so many times as long: `factors` by phase, prefill and decode."""
        return TokenService(self.prefill.times(factors["prefill"]), self.decode.times(factors["decode"]))

    def first_token(self, levels: Mapping[str, Any]) -> float:
        """Seconds until the first token, once service has begun."""
        return float(self.prefill.predict({**levels, "batch_size": 1}))

    def predict(self, levels: Mapping[str, Any]) -> float:
        """Seconds of one request's whole service."""
        steps = round(float(levels["output_tokens"])) - 1
        if steps < 0:
            raise InputError(
                "output_tokens", f"{levels['output_tokens']} is below 1", "a request makes 1 token or more"
            )
        rest = {name: level for name, level in levels.items() if name not in LENGTHS} | {"batch_size": 1}
        contexts = float(levels["input_tokens"]) + np.arange(1, steps + 1)
        each = self.decode.predict({**rest, "context_tokens": contexts}) if steps else 0.0
        decoded = float(np.broadcast_to(each, steps).sum())  # one number where the context makes no difference
        return self.first_token({**rest, "input_tokens": levels["input_tokens"]}) + decoded

    def outside_domain(self, levels: Mapping[str, Any]) -> list[str]:
        """What was never measured at these levels, phase by phase."""
        last = float(levels["input_tokens"]) + float(levels["output_tokens"])
        rest = {name: level for name, level in levels.items() if name not in LENGTHS}
        found = self.prefill.outside_domain({**rest, "input_tokens": levels["input_tokens"]})
        return [*found, *self.decode.outside_domain({**rest, "context_tokens": last})]
