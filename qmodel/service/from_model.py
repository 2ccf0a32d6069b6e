"""The law of a class's service time from a fitted model and the laws of the model's factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.continuous import Gamma
from qmodel.workload.discrete import Deterministic, Discrete
from qmodel.workload.distribution import Distribution, Mixture

MAX_LEVELS = 64
"""A factor with more levels is cut into this many equally likely ones, each at its conditional mean."""


class FittedModel(Protocol):
    """What a fitted service model offers here."""

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of its factors."""

    @property
    def residual_scv(self) -> float:
        """Squared coefficient of variation of measured over predicted."""

    def predict(self, levels: Mapping[str, Any]) -> Any:
        """Seconds at these levels."""


def service_law(model: FittedModel, factors: Mapping[str, Distribution], place: str) -> Distribution:
    """Mixture over the factor levels of the predicted time, each with the model's residual as a gamma law.

    Factors are independent. Raises InputError when `factors` misses one of the model's.
    """
    missing = [name for name in model.factors if name not in factors]
    if missing:
        raise InputError(
            place, f"lacks the model's factor '{missing[0]}'", "the model has " + ", ".join(model.factors)
        )
    times: dict[float, float] = {}
    for combination in itertools.product(*(levels(factors[name]) for name in model.factors)):
        seconds = float(model.predict({n: value for n, (value, _) in zip(model.factors, combination, strict=True)}))
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(place, f"the model predicts {seconds} s", "keep the factors inside the range it saw")
        times[seconds] = times.get(seconds, 0.0) + math.prod(p for _, p in combination)
    laws = [_with_residual(seconds, model.residual_scv) for seconds in times]
    return laws[0] if len(laws) == 1 else Mixture(tuple(times.values()), tuple(laws))


def _with_residual(seconds: float, scv: float) -> Distribution:
    return Gamma(mean=seconds, scv=scv) if scv > 1e-10 else Deterministic(seconds)


def levels(law: Distribution) -> list[tuple[float, float]]:
    """(value, probability) pairs that stand for the law; exact for one with few point masses."""
    atoms = law.atoms()
    if atoms and len(atoms) <= MAX_LEVELS and math.isclose(sum(p for _, p in atoms), 1.0, rel_tol=1e-9):
        return atoms
    cells = np.linspace(0.0, 1.0, MAX_LEVELS + 1)
    inner = cells[:-1, None] + np.linspace(1 / 64, 63 / 64, 32)[None, :] / MAX_LEVELS
    means = law.quantile(inner.reshape(-1)).reshape(inner.shape).mean(axis=1)
    means *= law.mean / means.mean()
    return [(float(value), 1.0 / MAX_LEVELS) for value in means]


def mapped(law: Distribution, function: object) -> Discrete:
    """The law of function(value), over the law's levels."""
    masses: dict[float, float] = {}
    for value, p in levels(law):
        image = float(function(value))  # type: ignore[operator]
        masses[image] = masses.get(image, 0.0) + p
    return Discrete(tuple(masses), tuple(masses.values()))
