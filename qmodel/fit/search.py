"""The search for a service-time function: candidates, and the choice among them by left-out levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.fit.candidates import AffineCandidate, Candidate, GroupedCandidate, basis, degree
from qmodel.fit.cells import Cells
from qmodel.fit.folds import Fold, largest_fifth, level_folds
from qmodel.fit.least_squares import Fitting, residual_summary
from qmodel.fit.ratios import Scaling
from qmodel.fit.screening import Screened, screen
from qmodel.fit.selection import Validated, simplest, validate
from qmodel.fit.table import Measurements
from qmodel.fit.treatments import Groups, treatments
from qmodel.service.forms import Affine, Form
from qmodel.service.terms import Term

LEAST_CELLS = 4
"""With fewer cells nothing can be left out: the straight line through them is taken as it is."""

BEST = 6
"""How many of the best screened candidates are fitted in full, besides the best of each size."""


@dataclass(frozen=True)
class Option:
    """A candidate with its treatment of factors with named levels, validated."""

    scalings: tuple[Scaling, ...]
    cells: Cells
    validated: Validated

    @property
    def size(self) -> int:
        """Parameters: coefficients and free ratios."""
        return self.validated.candidate.size + sum(len(s.ratios) - 1 for s in self.scalings)

    @property
    def label(self) -> str:
        """Its terms, and the factors that scale them."""
        return self.validated.candidate.label + "".join(f" x {s.factor}" for s in self.scalings)


@dataclass(frozen=True)
class Search:
    """What was tried (`table`, best first) and what was chosen; `cells` have the ratios divided out."""

    cells: Cells
    chosen: Validated
    form: Form
    scalings: tuple[Scaling, ...]
    table: pd.DataFrame
    folds: tuple[Fold, ...]
    extrapolation: Mapping[str, Mapping[str, float]]


def search(
    m: Measurements,
    cells: Cells,
    references: Mapping[str, str],
    how: Fitting,
    order: int = 3,
    terms: Sequence[Term] | None = None,
) -> Search:
    """Try candidates under every treatment of named levels and choose one; `terms` fixes the function.

    Raises InputError where the measurements determine no candidate.
    """
    folds = level_folds(cells, m.numeric)
    options = [
        Option(scalings, adjusted, validate(candidate, adjusted, folds, how, lenient=terms is not None))
        for scalings, adjusted, groups in treatments(m, cells, references)
        if terms is None or groups is None
        for candidate in _candidates(m, adjusted, folds, groups, order, terms)
    ]
    options = [o for o in options if np.isfinite(o.validated.score) and (terms is not None or _all_used(o, how))]
    if not options:
        place = f"terms {' + '.join(map(str, terms))}" if terms else "measurements"
        raise InputError(place, "do not determine a function when any level is left out", "measure more levels")
    sizes = [(float(option.size), option.validated.candidate.degree) for option in options]
    chosen = options[simplest([option.validated.fold_errors for option in options], sizes)]
    candidate, adjusted = chosen.validated.candidate, chosen.cells
    form = candidate.fit(adjusted, None, how)
    if form is None:
        raise InputError(candidate.label, "is not determined by the measurements", "measure more levels")
    far = {fold.label: _beyond(candidate, adjusted, fold, how) for fold in largest_fifth(adjusted, m.numeric)}
    return Search(adjusted, chosen.validated, form, chosen.scalings, _table(options, chosen), tuple(folds), far)


def _all_used(option: Option, how: Fitting) -> bool:
    """Whether every term but the constant has a coefficient: otherwise a smaller candidate says the same."""
    form = option.validated.candidate.fit(option.cells, None, how)
    if not isinstance(form, Affine):
        return form is not None
    return all(weight != 0 or _is_constant(term) for term, weight in zip(form.terms, form.weights, strict=True))


def _is_constant(term: Term) -> bool:
    return all(atom.kind == "is" for atom in term.atoms)


def _beyond(candidate: Candidate, cells: Cells, fold: Fold, how: Fitting) -> dict[str, float]:
    """Errors in the largest fifth of a factor's levels, fitted to the rest."""
    return residual_summary(validate(candidate, cells, [fold], how).errors)


def _candidates(
    m: Measurements,
    cells: Cells,
    folds: Sequence[Fold],
    groups: Groups | None,
    order: int,
    terms: Sequence[Term] | None,
) -> list[Candidate]:
    """The best affine functions of the screening, or the one that was asked for."""
    if terms is not None:
        return [AffineCandidate(tuple(terms))]
    if len(cells) < LEAST_CELLS:
        return [AffineCandidate((Term(), *(Term.parse(name) for name in m.numeric[: len(cells) - 1])))]
    screened = screen(basis(cells, m.numeric, order), cells, folds, groups.index if groups else None)
    chosen = [s.terms for s in _worth_a_look(screened)]
    if groups is not None:
        return [GroupedCandidate(t, groups) for t in chosen]
    return [AffineCandidate(t) for t in chosen]


def _worth_a_look(screened: Sequence[Screened]) -> list[Screened]:
    """The screening's own choice, the best few, and the best of each size for comparison."""
    if not screened:
        return []
    sizes = [(float(len(s.terms)), float(sum(map(degree, s.terms)))) for s in screened]
    picked = {simplest([s.fold_errors for s in screened], sizes), *range(min(BEST, len(screened)))}
    for size in range(1, 5):
        picked |= {next((k for k, s in enumerate(screened) if len(s.terms) == size), 0)}
    return [screened[k] for k in sorted(picked)]


def _table(options: Sequence[Option], chosen: Option) -> pd.DataFrame:
    """One row a candidate, best first."""
    rows = []
    for option in options:
        inside, edges = option.validated.inside(), option.validated.at_edges()
        rows.append(
            {
                "form": option.validated.candidate.form,
                "terms": option.label,
                "parameters": option.size,
                "cv_rms": option.validated.score,
                "cv_median": inside["median"],
                "cv_p95": inside["p95"],
                "cv_max": inside["max"],
                "edge_median": edges["median"],
                "edge_max": edges["max"],
                "chosen": option is chosen,
            }
        )
    return pd.DataFrame(rows).sort_values("cv_rms", kind="stable").reset_index(drop=True)
