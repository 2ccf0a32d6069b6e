"""The chosen function made into a service model: domain, residual, statistics and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from qmodel import __version__
from qmodel.fit.anova import Anova
from qmodel.fit.cells import Array, Cells
from qmodel.fit.least_squares import residual_summary
from qmodel.fit.residual_law import residual_law, shape_rows
from qmodel.fit.search import Search
from qmodel.fit.table import Measurements
from qmodel.fit.uncertainty import Uncertainty
from qmodel.service.domain import Categorical, Domain, Numeric
from qmodel.service.forms import Affine
from qmodel.service.model import Residual, ServiceModel
from qmodel.service.terms import level_text

FEW_LEVELS = 64
"""A numeric factor with more levels has only its range in the model file."""


def initial_model(m: Measurements, search: Search, references: Mapping[str, str]) -> ServiceModel:
    """The chosen function as a model, without uncertainty yet."""
    ratios = {s.factor: dict(s.ratios) for s in search.scalings}
    size = len(search.form.coefficients) + sum(len(r) - 1 for r in ratios.values())
    used = {name: level for name, level in references.items() if name in ratios}
    domain = Domain(_spans(m), m.out_of_memory)
    return ServiceModel(
        search.form, np.zeros((size, size)), domain, m.response, m.phase, ratios=ratios, reference=used
    )


def _spans(m: Measurements) -> dict[str, Numeric | Categorical]:
    spans: dict[str, Numeric | Categorical] = {}
    for name in m.factors:
        if name in m.categorical:
            spans[name] = Categorical(tuple(np.unique(level_text(m.frame[name].to_numpy())).tolist()))
        else:
            levels = np.unique(m.frame[name].to_numpy(float))
            few = tuple(levels.tolist()) if len(levels) <= FEW_LEVELS else ()
            spans[name] = Numeric(float(levels[0]), float(levels[-1]), few)
    for name, level in (m.fixed or {}).items():
        spans[name] = Categorical((level,)) if isinstance(level, str) else Numeric(level, level, (level,))
    return spans


def thinned(model: ServiceModel) -> ServiceModel:
    """Without the terms that non-negativity set to zero (those of max-affine pieces are gone already)."""
    if not isinstance(model.form, Affine) or np.all(model.form.coefficients != 0):
        return model
    keep = model.form.coefficients != 0
    form = Affine(
        tuple(t for t, k in zip(model.form.terms, keep, strict=True) if k),
        tuple(w for w, k in zip(model.form.weights, keep, strict=True) if k),
    )
    free = len(model.covariance) - len(keep)
    size = len(form.terms) + free
    return replace(model, form=form, covariance=np.zeros((size, size)))


def scatter(model: ServiceModel, cells: Cells) -> float:
    """Variance of cell means around the function, relative."""
    relative = cells.mean / np.asarray(model.predict(cells.levels)) - 1.0
    return float(np.sum(relative**2) / max(len(cells) - len(model.covariance), 1))


def completed(
    model: ServiceModel, m: Measurements, cells: Cells, spread: Uncertainty, search: Search, anova: Anova | None
) -> ServiceModel:
    """Add covariance, residual, statistics and provenance."""
    predicted = np.asarray(model.predict(cells.levels)) * np.ones(len(cells))
    statistics = {
        "rows": len(m.frame),
        "cells": len(cells),
        "in_sample": residual_summary(predicted / cells.mean - 1.0),
        "cross_validated": search.chosen.inside(),
        "cross_validated_at_edges": search.chosen.at_edges(),
        "largest_fifth": search.extrapolation,
        "replicate_scv": cells.noise.scv if cells.noise.known else None,
        "r_squared": _r_squared(cells.mean, predicted),
        "condition_number": spread.condition,
    }
    provenance = {
        "qmodel": __version__,
        "sources": list(m.sources),
        "target": m.target,
        "device": m.device,
        "fixed": dict(m.fixed or {}),
        "skipped": dict(m.skipped or {}),
    }
    return replace(
        model,
        residual=_residual(m.y, predicted, cells),
        statistics=statistics,
        anova=anova.records() if anova else [],
        data_sha256=m.sha256,
        provenance=provenance,
    )


def _residual(y: Array, predicted: Array, cells: Cells) -> Residual:
    """Replicate noise, or the fit's residual where nothing was repeated; quantiles around a mean of 1."""
    replicated = cells.noise.known
    ratio = y / (cells.mean if replicated else predicted)[cells.row_cell]
    if replicated:
        repeated = cells.count[cells.row_cell] > 1
        stretch = np.sqrt(cells.count / np.maximum(cells.count - 1.0, 1.0))[cells.row_cell]
        ratio = (1.0 + (ratio - 1.0) * stretch)[repeated]
    scv = cells.noise.scv if replicated else float(np.var(ratio))
    freedom = float(cells.noise.degrees_of_freedom if replicated else max(len(y) - 1, 1))
    quantiles = tuple(float(q) for q in np.quantile(ratio, np.linspace(0.0, 1.0, 101))) if len(ratio) >= 50 else ()
    shaped = ratio[shape_rows(cells)[cells.count[cells.row_cell] > 1]] if replicated else ratio
    law = residual_law(shaped).distribution
    return Residual(scv, law, "replicates" if replicated else "residuals", freedom, quantiles)


def _r_squared(y: Array, predicted: Array) -> float:
    total = float(np.sum((y - y.mean()) ** 2))
    return 1.0 - float(np.sum((y - predicted) ** 2)) / total if total > 0 else 0.0
