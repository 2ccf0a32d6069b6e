"""The service-time function: candidates, choice by left-out levels, coefficients with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from qmodel.errors import InputError, nearest
from qmodel.fit.anova import Anova, Transform, analyse
from qmodel.fit.assembly import completed, initial_model, scatter, thinned
from qmodel.fit.cells import Cells
from qmodel.fit.diagnostics import diagnose
from qmodel.fit.factorial import two_level
from qmodel.fit.least_squares import Fitting, Loss
from qmodel.fit.pruning import weakest_term, without
from qmodel.fit.random_blocks import MOST_ROWS as MOST_MIXED_ROWS
from qmodel.fit.random_blocks import random_blocks
from qmodel.fit.result import FitResult
from qmodel.fit.search import EVERY_FORM, FORMS, Search, Wish, search
from qmodel.fit.table import Level, Measurements
from qmodel.fit.tables import table_uncertainty
from qmodel.fit.uncertainty import Uncertainty, cell_weights, refine, uncertainty
from qmodel.fit.visits import Visits, visit_means, visits, with_visits
from qmodel.service.model import ServiceModel
from qmodel.service.table_form import Table
from qmodel.service.terms import Term, level_text

__all__ = ["FitResult", "fit_measurements"]

PLACEMENT = ("tensor_parallel", "pipeline_parallel", "data_parallel", "expert_parallel")
"""Numbers that name a way of placing the model: time does not grow with them, so their levels are taken by name."""

MOST_PLACEMENTS = 6

IDLE_GAPS = "idle-gaps"
"""The pacing of a live run: requests come with gaps, so predictions assume it unless told otherwise."""


def fit_measurements(
    measurements: Measurements,
    *,
    terms: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    reference: Mapping[str, Level] | None = None,
    loss: Loss = "relative",
    nonnegative: bool = True,
    order: int = 3,
    forms: Sequence[str] = FORMS,
    anova_type: int = 2,
    transform: Transform = "log",
    analysis: bool = True,
) -> FitResult:
    """Choose and fit the service-time function of `measurements`.

    Candidates are sums of products of the factors (of up to `order`) with non-negative coefficients and, where
    those leave more than noise, functions with breaks and tile steps ("piecewise"), maxima of two or three
    pieces ("max-affine") and power laws with an offset ("power-law"); `forms` limits the families, and "table" may
    be asked for: cell means, interpolated. The choice goes by the relative error at left-out factor levels, the
    simpler of equals first. `terms` (in the grammar of
    `qmodel.service.terms`) fixes the function instead. A factor with named levels either scales the time (one
    ratio a level; always so for `pacing`), changes every coefficient, or does nothing, whichever predicts best;
    `reference` names the level that predictions assume. `loss` is relative, huber or absolute. Without `analysis`
    the analysis of variance is left out, which takes most of the time of a small fit.
    Raises InputError for levels or terms that the measurements do not have.
    """
    for name in forms:
        if name not in EVERY_FORM:
            raise InputError("forms", f"'{name}' is unknown", nearest(name, list(EVERY_FORM)))
    m = _with_categories(measurements, categorical)
    how = Fitting(loss, nonnegative)
    cells = Cells.of(m.frame, m.factors, m.y)
    stays = visits(m.frame, cells, m.y)
    cells = with_visits(cells, m.frame, stays)
    references = _references(m, dict(reference or {}))
    found = search(m, cells, references, Wish(_parsed(terms, m), order, tuple(forms), how))
    model, spread = _estimated(m, cells, found, references, how)
    while terms is None and (term := weakest_term(model)) is not None:
        lean = without(found, term, how)
        if lean is None:
            break
        found = lean
        model, spread = _estimated(m, cells, found, references, how)
    anova = _analysis(m, stays, anova_type, transform) if analysis else None
    model = completed(model, m, cells, spread, found, anova)
    further = _further_analyses(m, transform) if analysis else {}
    return diagnose(FitResult(model, m, cells, anova, found, spread, stays, **further))


def _estimated(
    m: Measurements, cells: Cells, found: Search, references: Mapping[str, str], how: Fitting
) -> tuple[ServiceModel, Uncertainty]:
    """Coefficients and ratios refined together, with their uncertainty."""
    start = thinned(initial_model(m, found, references))
    if isinstance(start.form, Table):
        spread = table_uncertainty(start, cells, found.chosen.errors)
        return replace(start, covariance=spread.covariance, degrees_of_freedom=spread.degrees_of_freedom), spread
    weights = cell_weights(cells, scatter(start, cells))
    model = refine(start, cells, weights, how)
    spread = uncertainty(model, cells, weights, m.frame, m.y, how)
    return replace(model, covariance=spread.covariance, degrees_of_freedom=spread.degrees_of_freedom), spread


def _analysis(m: Measurements, stays: Visits | None, kind: int, transform: Transform) -> Anova:
    """Of single repetitions or, where those of one visit are alike, of the visits' means."""
    if stays is None or not stays.matter:
        return analyse(m, type=kind, transform=transform)
    means = visit_means(m)
    note = f"on the means of {len(means.frame)} visits, since repetitions within a visit are alike"
    anova = analyse(means, type=kind, transform=transform)
    return replace(anova, notes=(note, *anova.notes))


def _further_analyses(m: Measurements, transform: Transform) -> dict[str, Any]:
    """Two-level effects where every factor has two levels, and blocks as a random effect where there are some."""
    found: dict[str, Any] = {}
    if len(m.factors) > 1 and all(m.frame[name].nunique() == 2 for name in m.factors):
        with suppress(InputError):
            found["two_level"] = two_level(m, transform)
    if "block" in m.frame and m.frame["block"].nunique() > 1 and len(m.frame) <= MOST_MIXED_ROWS:
        with suppress(InputError, np.linalg.LinAlgError):
            found["blocks"] = random_blocks(analyse(m, transform=transform, remedies=False))
    return found


def _with_categories(m: Measurements, categorical: Sequence[str]) -> Measurements:
    """Numeric factors that are to be taken by name, such as a precision in bits."""
    for name in categorical:
        if name not in m.factors:
            raise InputError("categorical", f"'{name}' is not a factor", nearest(name, list(m.factors)))
    by_nature = [n for n in m.numeric if n in PLACEMENT and m.frame[n].nunique() <= MOST_PLACEMENTS]
    new = [name for name in (*by_nature, *categorical) if name not in m.categorical]
    new = list(dict.fromkeys(new))
    frame = m.frame.assign(**{name: level_text(m.frame[name].to_numpy()) for name in new})
    return replace(m, frame=frame, categorical=(*m.categorical, *new))


def _references(m: Measurements, asked: Mapping[str, Level]) -> dict[str, str]:
    """The level that predictions assume of each factor with named levels: as asked, idle gaps, or the commonest."""
    for name in asked:
        if name not in m.categorical:
            raise InputError(
                "reference", f"'{name}' is not a factor with named levels", nearest(name, list(m.categorical))
            )
    references = {}
    for name in m.categorical:
        present = level_text(m.frame[name].to_numpy())
        levels, counts = np.unique(present, return_counts=True)
        default = IDLE_GAPS if IDLE_GAPS in levels else str(levels[np.argmax(counts)])
        level = str(level_text(asked[name])) if name in asked else default
        if level not in levels:
            raise InputError("reference", f"{name} was never '{level}'", nearest(level, levels.tolist()))
        references[name] = level
    return references


def _parsed(texts: Sequence[str] | None, m: Measurements) -> tuple[Term, ...] | None:
    """The terms that were asked for, checked against the factors."""
    if texts is None:
        return None
    terms = tuple(dict.fromkeys(Term.parse(text, "terms") for text in texts))
    for term in terms:
        for atom in term.atoms:
            if atom.factor not in m.factors:
                raise InputError("terms", f"'{atom.factor}' is not a factor", nearest(atom.factor, list(m.factors)))
            if (atom.kind == "is") != (atom.factor in m.categorical):
                kind = "has named levels" if atom.factor in m.categorical else "is a number"
                raise InputError("terms", f"{term}: {atom.factor} {kind}", "write precision[bf16] or steps")
    if not terms:
        raise InputError("terms", "are empty", "write for example 1,steps,steps:batch_size")
    return terms
