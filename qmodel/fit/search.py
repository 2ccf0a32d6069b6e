"""The search for a service-time function: candidates, and the choice among them by left-out levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qmodel.errors import InputError
from qmodel.fit.candidates import AffineCandidate, Candidate, GroupedCandidate, basis, degree
from qmodel.fit.cells import Cells, Mask
from qmodel.fit.families import bent_candidates
from qmodel.fit.folds import Fold, largest_fifth, level_folds
from qmodel.fit.least_squares import DEFAULT, Fitting, residual_summary
from qmodel.fit.power_laws import power_law_candidates
from qmodel.fit.ratios import Scaling
from qmodel.fit.screening import Screened, screen
from qmodel.fit.selection import Validated, simplest, validate
from qmodel.fit.table import Measurements
from qmodel.fit.tables import TableCandidate, table_candidates
from qmodel.fit.treatments import Groups, treatments
from qmodel.service.forms import Affine, Form
from qmodel.service.terms import Term

FORMS = ("affine", "piecewise", "max-affine", "power-law")
"""Families of functions that are tried."""

EVERY_FORM = (*FORMS, "table")
"""Families that may be asked for: a table cannot say anything beyond its edges, so it is taken only on request."""

STRAIGHT = ("affine", "piecewise", "max-affine")
"""Families that begin with, or fall back to, a straight function."""

MOST_CELLS = 3000
LEAST_CELLS = 4
"""With fewer cells nothing can be left out: the straight line through them is taken as it is."""

BEST = 6
"""How many of the best screened candidates are fitted in full, besides the best of each size."""


@dataclass(frozen=True)
class Option:
    """A candidate with its treatment of factors with named levels: validated, and fitted to all cells."""

    scalings: tuple[Scaling, ...]
    cells: Cells
    validated: Validated
    fitted: Form

    @property
    def size(self) -> int:
        """Parameters: coefficients that are not zero, what was searched for, and free ratios."""
        ratios = sum(len(s.ratios) - 1 for s in self.scalings)
        return int(np.count_nonzero(self.fitted.coefficients)) + self.validated.candidate.searched + ratios

    @property
    def label(self) -> str:
        """Its terms, and the factors that scale them."""
        return self.validated.candidate.label + "".join(f" x {s.factor}" for s in self.scalings)


@dataclass(frozen=True)
class Search:
    """What was tried (`table`, best first) and what was chosen; `cells` have the ratios divided out.

    `searched` are those of the cells that candidates were judged on.
    """

    cells: Cells
    searched: Cells
    chosen: Validated
    form: Form
    scalings: tuple[Scaling, ...]
    table: pd.DataFrame
    folds: tuple[Fold, ...]
    extrapolation: Mapping[str, Mapping[str, float]]
    sampled: int | None = None


@dataclass(frozen=True)
class Wish:
    """What may be tried: `terms` fixes the function, `order` bounds products, `forms` names families."""

    terms: tuple[Term, ...] | None = None
    order: int = 3
    forms: tuple[str, ...] = FORMS
    how: Fitting = DEFAULT


def search(m: Measurements, cells: Cells, references: Mapping[str, str], wish: Wish) -> Search:
    """Try candidates under every treatment of named levels and choose one.

    With very many cells a random sample of them is searched; the chosen function is fitted to all.
    Raises InputError where the measurements determine no candidate.
    """
    sample = _sample(len(cells))
    searched = cells.take(sample)
    folds = level_folds(searched, m.numeric)
    options = [
        option
        for scalings, adjusted, groups in treatments(m, cells, references)
        if wish.terms is None or groups is None
        for option in _options(m, scalings, adjusted, _picked(groups, sample), sample, folds, wish)
    ]
    if not options:
        place = f"terms {' + '.join(map(str, wish.terms))}" if wish.terms else "measurements"
        wanted = f"a {' or '.join(wish.forms)}" if not set(wish.forms) & set(STRAIGHT) else "a function"
        remedy = "measure more levels" + (", at every combination" if "table" in wish.forms else "")
        raise InputError(place, f"do not determine {wanted} when any level is left out", remedy)
    sizes = [(float(option.size), option.validated.candidate.degree) for option in options]
    best = options[simplest([option.validated.fold_errors for option in options], sizes)]
    candidate = best.validated.candidate
    far = {
        fold.label: residual_summary(validate(candidate, best.cells, [fold], wish.how).errors)
        for fold in largest_fifth(best.cells, m.numeric)
    }
    return Search(
        cells=best.cells,
        searched=best.cells.take(sample),
        chosen=best.validated,
        form=best.fitted,
        scalings=best.scalings,
        table=_table(options, best),
        folds=tuple(folds),
        extrapolation=far,
        sampled=None if sample.all() else int(sample.sum()),
    )


def _sample(size: int) -> Mask:
    """All cells, or a random choice of the most that are searched."""
    mask = np.zeros(size, bool)
    mask[np.random.default_rng(0).permutation(size)[:MOST_CELLS]] = True
    return mask


def _picked(groups: Groups | None, sample: Mask) -> Groups | None:
    return None if groups is None else Groups(groups.index[sample], groups.atoms)


def _options(
    m: Measurements,
    scalings: tuple[Scaling, ...],
    adjusted: Cells,
    groups: Groups | None,
    sample: Mask,
    folds: Sequence[Fold],
    wish: Wish,
) -> list[Option]:
    """Candidates of one treatment that can be validated and fitted to all cells."""
    searched, options = adjusted.take(sample), []
    for candidate in _candidates(m, searched, folds, groups, wish):
        validated = validate(candidate, searched, folds, wish.how, lenient=wish.terms is not None)
        fitted = candidate.fit(adjusted, None, wish.how) if np.isfinite(validated.score) else None
        if fitted is not None and (wish.terms is not None or _all_used(fitted)):
            options.append(Option(scalings, adjusted, validated, fitted))
    return options


def _all_used(form: Form) -> bool:
    """Whether every plain term but the constant has a coefficient: otherwise a smaller candidate says the same."""
    if not isinstance(form, Affine):
        return True
    return all(
        weight != 0 or all(atom.kind != "power" for atom in term.atoms)
        for term, weight in zip(form.terms, form.weights, strict=True)
    )


def _candidates(
    m: Measurements, cells: Cells, folds: Sequence[Fold], groups: Groups | None, wish: Wish
) -> list[Candidate]:
    """The best affine functions of the screening, with bent ones where they leave something; or what was asked.

    Where affine functions are not among the forms asked for, they stand in if nothing else does better.
    """
    if wish.terms is not None:
        return [AffineCandidate(wish.terms)]
    curves = _curves(m, cells, wish) if groups is None else []
    if not set(wish.forms) & set(STRAIGHT):
        return curves
    if len(cells) < LEAST_CELLS:
        return [AffineCandidate((Term(), *(Term.parse(name) for name in m.numeric[: len(cells) - 1])))]
    screened = screen(basis(cells, m.numeric, wish.order), cells, folds, groups.index if groups else None)
    picked = _worth_a_look(screened)
    if groups is not None:
        return [GroupedCandidate(s.terms, groups) for s in picked]
    affine = [AffineCandidate(s.terms) for s in picked]
    bases = [_simplest(screened).terms, screened[0].terms] if screened else []
    bent = bent_candidates(bases, cells, m.numeric, wish.forms, wish.how, curves)
    straight = affine if "affine" in wish.forms or not bent else []
    return [*straight, *bent, *_tables(curves)]


def _curves(m: Measurements, cells: Cells, wish: Wish) -> list[Candidate]:
    """Power laws and tables, as far as they are wished for."""
    laws: list[Candidate] = [*power_law_candidates(cells, m.numeric)] if "power-law" in wish.forms else []
    return [*laws, *table_candidates(cells, m.numeric)] if "table" in wish.forms else laws


def _tables(curves: Sequence[Candidate]) -> list[Candidate]:
    """Tables fit in sample whatever they are worth: only left-out levels judge them."""
    return [c for c in curves if isinstance(c, TableCandidate)]


def _simplest(screened: Sequence[Screened]) -> Screened:
    sizes = [(float(len(s.terms)), float(sum(map(degree, s.terms)))) for s in screened]
    return screened[simplest([s.fold_errors for s in screened], sizes)]


def _worth_a_look(screened: Sequence[Screened]) -> list[Screened]:
    """The screening's own choice, the best few, and the best of each size for comparison."""
    if not screened:
        return []
    picked = [_simplest(screened), *screened[:BEST]]
    for size in range(1, 5):
        picked += [s for s in screened if len(s.terms) == size][:1]
    return list({s.terms: s for s in picked}.values())


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
