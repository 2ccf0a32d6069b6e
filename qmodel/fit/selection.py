"""Choosing among candidates by errors at left-out levels, the simpler of equals first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmodel.fit.candidates import Candidate
from qmodel.fit.cells import Array, Cells
from qmodel.fit.folds import Fold
from qmodel.fit.least_squares import DEFAULT, Fitting, residual_summary
from qmodel.service.forms import Form
from qmodel.service.table_form import Table

MUCH_WORSE = 0.25
"""A mean error larger than the best by this share of it is worse, however much the folds differ."""

ROUNDING = 1.0 + 1e-9
"""Where a single fold differs, the mean difference is its standard error, but for rounding: that is near enough."""


@dataclass(frozen=True)
class Validated:
    """A candidate fitted without each fold in turn.

    `errors` holds predicted/measured - 1 of every cell of every fold it was left out in, `fold` and `edge` say
    which; `forms` are the fits without each fold, whose spread shows what one level moves.
    """

    candidate: Candidate
    fold_errors: Array
    errors: Array
    fold: Array
    edge: Array
    forms: tuple[Form | None, ...]

    @property
    def score(self) -> float:
        """Mean over folds of the root mean square relative error; infinite where a fold cannot be predicted.

        Folds in which no cell can be judged (NaN) do not count.
        """
        return mean_known(self.fold_errors) if len(self.forms) else 0.0

    def inside(self) -> dict[str, float]:
        """Median, P95 and maximum error at left-out levels between measured ones."""
        return residual_summary(self.errors[~self.edge.astype(bool)])

    def at_edges(self) -> dict[str, float]:
        """The same at left-out lowest and highest levels, where the prediction is extrapolation."""
        return residual_summary(self.errors[self.edge.astype(bool)])


def validate(
    candidate: Candidate, cells: Cells, folds: Sequence[Fold], how: Fitting = DEFAULT, *, lenient: bool = False
) -> Validated:
    """Fit without each fold and predict it; a fold without which nothing is determined counts as infinitely wrong.

    Where `lenient`, such a fold is passed over (NaN): the function was asked for, whatever the folds say.
    """
    fold_errors, errors, which, edge, forms = [], [], [], [], []
    for k, fold in enumerate(folds):
        form = candidate.fit(cells.take(~fold.test), None, how)
        error = _relative_error(form, cells.take(fold.test))
        error = np.where(np.isinf(error), np.nan, error) if lenient else error
        forms.append(form)
        errors.append(error)
        which.append(np.full(len(error), k))
        edge.append(np.full(len(error), fold.edge))
        known = error[~np.isnan(error)]
        fold_errors.append(np.sqrt(np.mean(known**2)) if known.size else np.nan)
    return Validated(
        candidate,
        np.array(fold_errors),
        np.concatenate([np.zeros(0), *errors]),
        np.concatenate([np.zeros(0), *which]),
        np.concatenate([np.zeros(0), *edge]),
        tuple(forms),
    )


def mean_known(values: Array) -> float:
    """Mean without NaN; infinite if nothing else is there."""
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else float("inf")


def _relative_error(form: Form | None, cells: Cells) -> Array:
    if form is None:
        return np.full(len(cells), np.inf)
    evaluate = form.inside if isinstance(form, Table) else form.evaluate
    predicted = evaluate(cells.levels) * np.ones(len(cells))
    return np.where(predicted == 0.0, np.nan, predicted / cells.mean - 1.0)


def within_one_standard_error(fold_errors: Sequence[Array]) -> list[bool]:
    """Which candidates are no worse than the best: mean paired difference over folds within one standard error.

    Nor may it exceed a quarter of the best's error. The difference to the best is taken fold by fold, so that folds
    which are hard for every candidate do not make every candidate look alike. Folds that some candidate could not
    be judged in (NaN) do not count. The best itself is always among them.
    """
    if not fold_errors[0].size:
        return [True] * len(fold_errors)
    shared = ~np.any([np.isnan(e) for e in fold_errors], axis=0)
    fold_errors = [e[shared] for e in fold_errors] if shared.any() else [np.nan_to_num(e) for e in fold_errors]
    scores = [float(np.mean(e)) for e in fold_errors]
    best = fold_errors[int(np.argmin(scores))]
    near = []
    for errors in fold_errors:
        if not np.all(np.isfinite(errors)):
            near.append(False)
            continue
        difference = errors - best
        error = np.std(difference, ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
        most = min(error * ROUNDING, MUCH_WORSE * np.mean(best))
        near.append(bool(np.mean(difference) <= most))
    return near


def simplest(fold_errors: Sequence[Array], sizes: Sequence[tuple[float, ...]]) -> int:
    """Position of the chosen candidate: the smallest within one standard error, of those the best."""
    near = within_one_standard_error(fold_errors)
    return min(
        (k for k, ok in enumerate(near) if ok),
        key=lambda k: (*sizes[k], mean_known(fold_errors[k])),
    )
