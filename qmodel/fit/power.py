"""Power and energy: mean power as a response of its own, and what a request costs by two fitted models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.fit.csv_text import TextTable
from qmodel.service.forms import Levels
from qmodel.service.model import ServiceModel
from qmodel.service.terms import Array

POWER = "power_w"


def with_power(table: TextTable) -> TextTable:
    """The table with `power_w` = energy_j / latency_s beside its rows; as it is where it has that column.

    Rows without both numbers stay empty. Raises InputError where energy or latency is missing altogether.
    """
    frame = table.frame
    if POWER in frame:
        return table
    for name in ("energy_j", "latency_s"):
        if name not in frame:
            raise InputError(f"{table.path}, column {name}", "is missing: power is energy over time", "measure it")
    energy, latency = (pd.to_numeric(frame[name], errors="coerce") for name in ("energy_j", "latency_s"))
    power = (energy / latency).where((energy > 0) & (latency > 0))
    if power.isna().all():
        raise InputError(f"{table.path}, column energy_j", "holds no measurement", "profile with an energy meter")
    text = power.map(lambda x: repr(float(x)) if np.isfinite(x) else "")
    return replace(table, frame=frame.assign(**{POWER: text.astype(object)}))


@dataclass(frozen=True)
class Energy:
    """Energy and time of the same work: `power` is their ratio; both models must know the same levels.

    >>> time = ServiceModel.affine({"1": 0.01, "batch_size": 0.001})
    >>> joules = ServiceModel.affine({"1": 3.0, "batch_size": 0.5}, response="energy_j")
    >>> both = Energy(joules, time)
    >>> both.power({"batch_size": 10}), both.per_request({"batch_size": 10})
    (400.0, 0.8)
    """

    energy: ServiceModel
    latency: ServiceModel

    def __post_init__(self) -> None:
        for model, response in ((self.energy, "energy_j"), (self.latency, "latency_s")):
            if model.response != response:
                raise InputError("energy", f"{model.response} is not {response}", "give an energy and a time model")

    def power(self, levels: Levels) -> Any:
        """Mean power in W: energy over time."""
        return self._ratio(self.energy.predict(levels), self.latency.predict(levels))

    def per_request(self, levels: Levels) -> Any:
        """Joules a request: the energy of a batch over its size."""
        return self._ratio(self.energy.predict(levels), np.asarray(levels.get("batch_size", 1.0), float))

    @staticmethod
    def _ratio(above: Any, below: Any) -> float | Array:
        value = np.asarray(above, float) / np.asarray(below, float)
        return float(value) if value.shape == () else value
