"""How uncertain a fitted model is: its coefficients as one vector with their covariance, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qmodel.service.from_model import FittedModel
from qmodel.service.model import ServiceModel
from qmodel.service.token_service import TokenService


@dataclass(frozen=True)
class Spread:
    """Estimated coefficients (then ratios), a root of their covariance, and the model that a vector makes."""

    values: np.ndarray
    root: np.ndarray
    rebuilt: Callable[[np.ndarray], FittedModel]


def spread_of(model: FittedModel | None) -> Spread | None:
    """None where the model is not fitted, or carries no uncertainty.

    >>> spread_of(ServiceModel.affine({"1": 0.002})) is None
    True
    """
    if isinstance(model, ServiceModel):
        if not np.any(model.covariance):
            return None
        return Spread(_vector(model), _root(model.covariance), lambda vector: _with(model, vector))
    if isinstance(model, TokenService):
        return _of_phases(model)
    return None


def _of_phases(model: TokenService) -> Spread | None:
    """Prefill and decode were measured apart: their errors are independent."""
    parts = [_vector(model.prefill), _vector(model.decode)]
    covariances = [np.asarray(model.prefill.covariance), np.asarray(model.decode.covariance)]
    if not any(np.any(covariance) for covariance in covariances):
        return None
    cut = len(parts[0])
    root = np.zeros((cut + len(parts[1]),) * 2)
    root[:cut, :cut], root[cut:, cut:] = map(_root, covariances)

    def rebuilt(vector: np.ndarray) -> FittedModel:
        return replace(model, prefill=_with(model.prefill, vector[:cut]), decode=_with(model.decode, vector[cut:]))

    return Spread(np.concatenate(parts), root, rebuilt)


def _vector(model: ServiceModel) -> np.ndarray:
    ratios = [model.ratios[name][level] for name, level in model.free_ratios()]
    return np.concatenate((np.asarray(model.form.coefficients, dtype=float), ratios))


def _with(model: ServiceModel, vector: np.ndarray) -> ServiceModel:
    """The model with other coefficients and ratios, in the order of its covariance."""
    count = len(model.form.coefficients)
    ratios: dict[str, dict[str, Any]] = {name: dict(by_level) for name, by_level in model.ratios.items()}
    for (name, level), value in zip(model.free_ratios(), vector[count:], strict=True):
        ratios[name][level] = float(value)
    return replace(model, form=model.form.with_coefficients(vector[:count]), ratios=ratios)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root; rounding below 0 is cut off."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=float))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
