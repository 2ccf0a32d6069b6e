"""Terms not needed after all: their interval includes zero and prediction is as good without them."""

from __future__ import annotations

from dataclasses import replace

from scipy.special import stdtrit

from qmodel.fit.candidates import AffineCandidate
from qmodel.fit.least_squares import Fitting
from qmodel.fit.search import Search
from qmodel.fit.selection import validate, within_one_standard_error
from qmodel.service.model import ServiceModel
from qmodel.service.terms import Term

IRRELEVANT = 0.01
"""An error at left-out levels that grows by less than this share has not grown."""


def weakest_term(model: ServiceModel) -> Term | None:
    """The plain term furthest inside its own 95 % interval around zero; None if there is no such term."""
    quantile = float(stdtrit(model.degrees_of_freedom, 0.975))
    weak = []
    for term in getattr(model.form, "terms", ()):
        value, error = model.labelled_coefficients()[str(term)]
        if term.atoms and error > 0 and abs(value) < quantile * error:
            weak.append((abs(value) / error, str(term), term))
    return min(weak)[2] if weak else None


def without(found: Search, term: Term, how: Fitting) -> Search | None:
    """The search's choice without `term`, or None where left-out levels are predicted worse without it."""
    candidate = found.chosen.candidate
    if not isinstance(candidate, AffineCandidate):
        return None
    lean = AffineCandidate(tuple(t for t in candidate.terms if t != term))
    validated = validate(lean, found.searched, found.folds, how)
    form = lean.fit(found.cells, None, how)
    as_good = within_one_standard_error([found.chosen.fold_errors, validated.fold_errors])[1]
    if form is None or not (as_good or validated.score <= (1 + IRRELEVANT) * found.chosen.score):
        return None
    return replace(found, chosen=validated, form=form)
