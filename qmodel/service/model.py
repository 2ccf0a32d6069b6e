"""A fitted service model: predicts seconds from factor levels, says how well, and where it was never measured.

The file (JSON, schema `qmodel.model/1`) holds the response, its terms and coefficients with their covariance, the
residual, the domain seen and the statistics of the fit. Loading it executes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.service.domain import Domain, Numeric
from qmodel.service.forms import Affine, Form, Levels
from qmodel.service.terms import Array, Term, latex_name, level_text
from qmodel.service.units import Unit, stem, unit_of

if TYPE_CHECKING:
    from qmodel.workload.distribution import Distribution

Ratios = Mapping[str, Mapping[str, float]]

HOST, NOW = "host", "now"
"""The factor, and its only level, that a model of a host at another speed is multiplied by."""

NEGLIGIBLE_SCV = 1e-10
"""Residual variance below which the service time is taken as constant."""


@dataclass(frozen=True)
class Residual:
    """Measured over predicted, around its mean of 1: what repeats of the same work vary by.

    `scv` is its variance, equal to the squared coefficient of variation of the service time at given levels;
    `source` says whether it comes from replicates or, where there were none, from the residuals of the fit.
    `quantiles`, if there, are those of measured over predicted at equally spaced probabilities from 0 to 1.
    """

    scv: float = 0.0
    distribution: str = "lognormal"
    source: str = "replicates"
    degrees_of_freedom: float = math.inf
    quantiles: tuple[float, ...] = ()

    def law(self, mean: float) -> Distribution:
        """Measured values where `mean` is predicted: lognormal, gamma, or the quantiles seen ("empirical").

        An empirical law takes the quantiles' midpoints as equally likely and keeps mean and scv exactly.
        """
        from qmodel.workload.continuous import Gamma
        from qmodel.workload.discrete import Deterministic, Empirical
        from qmodel.workload.heavy_tailed import Lognormal

        if self.scv <= NEGLIGIBLE_SCV:
            return Deterministic(mean)
        if self.distribution == "empirical" and len(self.quantiles) > 1:
            values = mean * standardised(self.quantiles, self.scv)
            return Empirical(values)
        return (
            Gamma(mean=mean, scv=self.scv) if self.distribution == "gamma" else Lognormal(mean=mean, scv=self.scv)
        )


EXACT = Residual()
"""Repeats of the same work take the same time."""


def standardised(quantiles: Sequence[float], scv: float) -> Array:
    """Midpoints between quantiles, shifted and stretched to mean 1 and variance `scv`, none at or below 0.

    >>> x = standardised([0.9, 1.0, 1.2], 0.04)
    >>> round(float(x.mean()), 9), round(float(x.var()), 9)
    (1.0, 0.04)
    """
    edges = np.asarray(quantiles, float)
    middle = (edges[1:] + edges[:-1]) / 2.0
    spread = float(middle.std())
    scaled = 1.0 + (middle - middle.mean()) * (math.sqrt(scv) / spread if spread > 0 else 0.0)
    return scaled if np.all(scaled > 0) else middle / middle.mean()


@dataclass(frozen=True)
class ServiceModel:
    """Service time (or energy, or another response) as a function of factor levels.

    prediction = form(levels) x ratio of each ratio factor's level, and never below `floor` where that is given:
    what the hardware cannot beat. `reference` gives the level assumed for a factor that `predict` is not told.
    `covariance` is that of the form's coefficients followed by the ratios that are not 1 by definition; intervals
    use Student's t with `degrees_of_freedom`.

    >>> model = ServiceModel.affine({"1": 0.002, "steps": 0.0003}, domain={"steps": (5, 50)})
    >>> model.predict({"steps": 20})
    0.008
    >>> model.outside_domain({"steps": 100})
    ['steps = 100 is outside the measured range 5 to 50']
    >>> model.describe()
    'latency = 2 ms + 0.3 ms*steps'
    """

    form: Form
    covariance: Array
    domain: Domain
    response: str = "latency_s"
    phase: str | None = None
    residual: Residual = field(default_factory=Residual)
    ratios: Ratios = field(default_factory=dict)
    reference: Mapping[str, str | float] = field(default_factory=dict)
    degrees_of_freedom: float = math.inf
    statistics: Mapping[str, Any] = field(default_factory=dict)
    anova: Sequence[Mapping[str, Any]] = ()
    data_sha256: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    floor: Form | None = None
    broadcasts: ClassVar[bool] = True

    @classmethod
    def affine(
        cls,
        coefficients: Mapping[str, float],
        *,
        domain: Mapping[str, tuple[float, float]] | None = None,
        response: str = "latency_s",
        residual_scv: float = 0.0,
    ) -> ServiceModel:
        """A model written down rather than fitted: terms with their coefficients, no uncertainty."""
        form = Affine(tuple(Term.parse(text) for text in coefficients), tuple(coefficients.values()))
        spans = {name: Numeric(low, high) for name, (low, high) in (domain or {}).items()}
        size = len(coefficients)
        residual = Residual(scv=residual_scv, distribution="lognormal", source="given")
        return cls(form, np.zeros((size, size)), Domain(spans), response, residual=residual)

    @classmethod
    def load(cls, path: str | Path) -> ServiceModel:
        """Read a model file; raises InputError naming file and place where it is not one."""
        from qmodel.service.model_file import read_model

        return read_model(Path(path))

    def save(self, path: str | Path) -> None:
        """Write the model file: to a temporary name first, then renamed."""
        from qmodel.service.model_file import write_model

        write_model(self, Path(path))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the model file says: equal models have equal fingerprints."""
        from qmodel.service.model_file import to_json

        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors that `predict` must be told: those of the formula that have no reference level."""
        return tuple(name for name in self._used if name not in self.reference)

    @property
    def _used(self) -> tuple[str, ...]:
        below = self.floor.factors if self.floor is not None else ()
        return tuple(dict.fromkeys((*self.form.factors, *self.ratios, *below)))

    def _above_floor(self, value: Array, full: Levels) -> Array:
        """`value`, or the floor where that is higher."""
        return value if self.floor is None else np.asarray(np.maximum(value, self.floor.evaluate(full)))

    def law(self, levels: Levels) -> Distribution:
        """The service time at `levels` as a distribution: the prediction as its mean, the residual as its shape.

        >>> round(ServiceModel.affine({"1": 0.002}, residual_scv=0.04).law({}).scv, 9)
        0.04
        """
        return self.residual.law(float(np.asarray(self.predict(levels))))

    def times(self, factor: float) -> ServiceModel:
        """The model of a host that takes so many times as long: one more ratio, which `describe` tells.

        >>> ServiceModel.affine({"steps": 0.002}).times(1.5).predict({"steps": 10})
        0.03
        """
        ratios = {**self.ratios, HOST: {NOW: factor * self.ratios.get(HOST, {NOW: 1.0})[NOW]}}
        return replace(self, ratios=ratios, reference={**self.reference, HOST: NOW})

    @property
    def unit(self) -> Unit:
        """Unit of the response."""
        return unit_of(self.response)

    @property
    def residual_scv(self) -> float:
        """Variance of measured over predicted: the service variability at given levels."""
        return self.residual.scv

    def predict(self, levels: Levels) -> float | Array:
        """Mean response at `levels` (scalars, or arrays that broadcast), in the response's unit.

        Raises InputError for a factor that is missing and has no reference, for a level that is not a number
        where one is needed, and for a category that was never measured. Factors that the model does not know are
        ignored here and reported by `outside_domain`.
        """
        full = self._complete(levels)
        value = self._above_floor(self.form.evaluate(full) * self._ratio(full), full)
        shape = np.broadcast_shapes(*(np.shape(full[name]) for name in self._used))
        return float(value) if shape == () else np.broadcast_to(value, shape).copy()

    def interval(self, levels: Levels, confidence: float = 0.95) -> tuple[Any, Any]:
        """Confidence interval of the mean response at `levels`, from the covariance of the coefficients."""
        from scipy.special import stdtrit  # not at module level: loading and predicting need numpy alone

        value = np.asarray(self.predict(levels))
        gradient = self.gradient(levels)
        variance = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient).reshape(value.shape)
        quantile = stdtrit(min(self.degrees_of_freedom, 1e9), 0.5 + confidence / 2)
        half = quantile * np.sqrt(np.maximum(variance, 0.0))
        low, high = (self._above_floor(end, self._complete(levels)) for end in (value - half, value + half))
        return (float(low), float(high)) if value.shape == () else (low, high)

    def outside_domain(self, levels: Levels) -> list[str]:
        """One message for each way in which `levels` leave what was measured; empty inside it."""
        return self.domain.outside({**self.reference, **levels})

    def labelled_coefficients(self) -> dict[str, tuple[float, float]]:
        """Coefficient and standard error by label: the terms, then `ratio pacing[back-to-back]` and so on."""
        names = [*self.form.labels, *(f"ratio {name}[{level}]" for name, level in self.free_ratios())]
        values = [*self.form.coefficients, *(self.ratios[name][level] for name, level in self.free_ratios())]
        errors = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return {n: (float(v), float(e)) for n, v, e in zip(names, values, errors, strict=True)}

    def describe(self) -> str:
        """The formula on one line, with units."""
        line = f"{stem(self.response)} = {self.form.words(self.unit)}"
        if self.floor is not None:
            line += f"; never below {self.floor.words(self.unit)}"
        for name, level in self.free_ratios():
            line += f"; x {self.ratios[name][level]:.4g} if {name} = {level}"
        return line

    def latex(self) -> str:
        """The formula as one LaTeX equation body, without dollar signs."""
        body = self.form.latex(self.unit)
        for name in self.ratios:
            body = rf"\left({body}\right) \cdot r_{{{latex_name(name)}}}"
        return f"{latex_name(stem(self.response))} = {body}"

    def _complete(self, levels: Levels) -> dict[str, Any]:
        """The needed factors, checked, missing ones taken from the reference."""
        full = {}
        for name in self._used:
            if name not in levels and name not in self.reference:
                raise InputError("service model", f"factor '{name}' has no level", _offered(name, list(levels)))
            full[name] = self._checked(name, levels.get(name, self.reference.get(name)))
        return full

    def _checked(self, name: str, level: Any) -> Any:
        span = self.domain.spans.get(name)
        return level if span is None else span.checked(name, level)

    def _ratio(self, levels: Levels) -> Array:
        product = np.asarray(1.0)
        for name, by_level in self.ratios.items():
            text = level_text(levels[name])
            product = product * np.select([text == level for level in by_level], list(by_level.values()), np.nan)
        return product

    def gradient(self, levels: Levels) -> Array:
        """Derivative by coefficients, then by free ratios; shape (points, parameters)."""
        levels = self._complete(levels)
        free = self.form.evaluate(levels) * self._ratio(levels)
        above = np.asarray(self._above_floor(free, levels) == free, float)
        base, ratio = np.broadcast_arrays(self.form.evaluate(levels), self._ratio(levels) * above)
        shape = np.broadcast_shapes(base.shape, *(np.shape(v) for v in levels.values()))
        value = np.broadcast_to(base * ratio, shape).ravel()
        scale = np.broadcast_to(ratio, shape).ravel()
        columns = [self.form.gradient({k: np.broadcast_to(v, shape) for k, v in levels.items()}) * scale[:, None]]
        for name, level in self.free_ratios():
            here = np.broadcast_to(level_text(levels[name]) == level, shape).ravel()
            columns.append((here * value / self.ratios[name][level])[:, None])
        return np.hstack(columns)

    def free_ratios(self) -> list[tuple[str, str]]:
        """Ratios that were estimated, in the order of the covariance: all but the reference levels."""
        return [
            (name, level)
            for name, by_level in self.ratios.items()
            for level in by_level
            if level != str(level_text(self.reference.get(name, "")))
        ]


def _offered(name: str, given: list[str]) -> str:
    return nearest(name, given) if given else f"give {name}"
