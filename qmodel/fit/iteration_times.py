"""From timed iterations to an engine's iteration time: base + sequences + context tokens + prompt tokens.

An engine that packs all requests into one dense attention has one more term, queries times keys. It is kept where
the cells show it: where levels left out of the fit are told better with it than without, by more than one standard
error over the folds (`qmodel.fit.selection`), and a pair takes more than two standard errors.

The coefficients are seconds and cannot be negative, so they are found by non-negative least squares (Lawson &
Hanson 1974) on the mean of each cell, each cell weighted by its mean: relative errors count alike, from one
sequence to many. Means, since what a run waits for is the sum of its iterations, the slow ones included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qmodel.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TERMS = ("base", "per_sequence", "per_context_token", "per_prefill_token")
PAIRS = "per_query_key"
CLEAR = 2.0
"""A pair takes more than so many of its standard errors where the term is kept."""
FACTORS = ("batch_size", "context_tokens", "prefill_tokens")


@dataclass(frozen=True)
class Pairs:
    """Whether queries times keys cost time: mean error at levels left out without and with that term.

    `seconds` of a pair, and their `standard_error` as the cells scatter about the function.
    """

    kept: bool
    without: float
    with_them: float
    seconds: float
    standard_error: float

    def describe(self) -> str:
        """One line."""
        each = f"{1e9 * self.seconds:.3g} ns (standard error {1e9 * self.standard_error:.2g} ns)"
        errors = f"{100 * self.with_them:.1f} % off at levels left out, {100 * self.without:.1f} % without"
        return f"{PAIRS} {'kept' if self.kept else 'left out'}: {each}; {errors}"


@dataclass(frozen=True)
class IterationFit:
    """Seconds of each term, and how well they tell the cells: fitted over measured mean, less 1.

    `cells` has a row a cell: its factors, `mean_s`, `rows`, `fitted_s` and `relative_error`.
    """

    coefficients: dict[str, float]
    cells: pd.DataFrame
    pairs: Pairs | None = None

    @property
    def median_error(self) -> float:
        """Median over the cells of the relative error's size."""
        return float(self.cells.relative_error.abs().median())

    @property
    def worst_error(self) -> float:
        """Largest over the cells."""
        return float(self.cells.relative_error.abs().max())

    def describe(self) -> str:
        """One line."""
        terms = " + ".join(f"{1e3 * value:.4g} ms {name}" for name, value in self.coefficients.items() if value)
        worst = f"worst {100 * self.worst_error:.1f} %"
        return (
            f"iteration = {terms}; median error {100 * self.median_error:.1f} %, {worst} of {len(self.cells)} cells"
        )

    def summary(self) -> str:
        """The coefficients and every cell, as text."""
        lines = [self.describe(), *([self.pairs.describe()] if self.pairs else []), ""]
        return "\n".join([*lines, self.cells.to_string(index=False, float_format=lambda x: f"{x:.6g}"), ""])


def fit_iteration_time(rows: pd.DataFrame) -> IterationFit:
    """The iteration time from rows with `batch_size`, `latency_s` and, where there are any, tokens.

    `context_tokens` are those of each decoding sequence; `prefill_tokens` those of one prompt read beside them. The
    coefficients have `per_query_key` only where it is kept. Raises InputError where there are fewer cells than
    terms that vary.
    """
    factors = [name for name in FACTORS if name in rows]
    filled = rows.assign(**{name: rows[name].fillna(0.0) for name in factors})
    cells = pd.DataFrame(filled.groupby(factors).latency_s.agg(mean_s="mean", rows="size").reset_index())
    design, names = _design(cells)
    if len(cells) < len(names):
        raise InputError("iteration time", f"{len(cells)} cells for {len(names)} terms", "profile more levels")
    taken = cells.mean_s.to_numpy(float)
    pairs, packed = None, np.column_stack([design, _query_keys(cells)])
    if len(cells) > len(names) + 2 and _rank(packed) > _rank(design):
        pairs = _judged(cells, factors, design, packed)
        if pairs.kept:
            design, names = packed, [*names, PAIRS]
    solved = _solved(design, taken)
    coefficients = dict.fromkeys(TERMS, 0.0) | dict(zip(names, solved.tolist(), strict=True))
    cells["fitted_s"] = design @ solved
    cells["relative_error"] = cells.fitted_s / cells.mean_s - 1.0
    return IterationFit(coefficients, cells, pairs)


def _rank(design: Floats) -> int:
    return int(np.linalg.matrix_rank(design / design.max(axis=0).clip(1e-300)))


def _query_keys(cells: pd.DataFrame) -> Floats:
    """Queries times keys of each cell: (n + p) (context + p); 0 where no tokens are told."""
    decoding, context, prompt = _tokens(cells)
    return (decoding + prompt) * (context + prompt)


def _tokens(cells: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Decoding sequences, context tokens in all and prompt tokens of each cell."""
    decoding = cells.batch_size.to_numpy(float)
    nothing = np.zeros(len(cells))
    context = decoding * (cells.context_tokens.to_numpy(float) + 1.0) if "context_tokens" in cells else nothing
    prompt = cells.prefill_tokens.to_numpy(float) if "prefill_tokens" in cells else nothing
    return decoding, context, prompt


def _judged(cells: pd.DataFrame, factors: list[str], design: Floats, packed: Floats) -> Pairs:
    """The term of pairs at levels left out, and how sure its coefficient is."""
    from qmodel.fit.cells import Cells
    from qmodel.fit.folds import level_folds
    from qmodel.fit.selection import simplest

    taken = cells.mean_s.to_numpy(float)
    folds = [fold.test for fold in level_folds(Cells.of(cells, factors, taken), factors)]
    errors = [_left_out(made, taken, folds) for made in (design, packed)]
    better = simplest(errors, [(made.shape[1],) for made in (design, packed)]) == 1
    each, spread = float(_solved(packed, taken)[-1]), _standard_error(packed, taken)
    without, with_them = (float(error.mean()) for error in errors)
    return Pairs(better and each > CLEAR * spread, without, with_them, each, spread)


def _standard_error(design: Floats, taken: Floats) -> float:
    """Of the last coefficient, by least squares of the relative errors: s^2 (X' X)^-1."""
    relative = design / taken[:, None]
    scale = relative.max(axis=0)
    errors = relative @ _solved(design, taken) - 1.0
    variance = float(errors @ errors) / (len(taken) - design.shape[1])
    unit = relative / scale
    return float(np.sqrt(variance * np.linalg.pinv(unit.T @ unit)[-1, -1]) / scale[-1])


def _left_out(design: Floats, taken: Floats, folds: Sequence[NDArray[np.bool_]]) -> Floats:
    """Root mean square relative error of each fold, predicted from the others."""
    found = [design[test] @ _solved(design[~test], taken[~test]) / taken[test] - 1.0 for test in folds]
    return np.array([float(np.sqrt(np.mean(error**2))) for error in found])


def _design(cells: pd.DataFrame) -> tuple[Floats, list[str]]:
    """One column a term that varies over the cells."""
    decoding, context, prompt = _tokens(cells)
    columns = (np.ones(len(cells)), decoding + (prompt > 0), context, prompt)
    used = [(column, name) for column, name in zip(columns, TERMS, strict=True) if name == "base" or np.ptp(column)]
    return np.column_stack([column for column, _ in used]), [name for _, name in used]


def _solved(design: Floats, taken: Floats) -> Floats:
    from scipy.optimize import nnls

    relative = design / taken[:, None]
    scale = relative.max(axis=0)
    scale[scale == 0] = 1.0  # a fold without any prompt, say
    found, _ = nnls(relative / scale, np.ones(taken.size))
    return np.asarray(found / scale)


def read_iterations(path: Path, phases: Sequence[str], pacing: str | None = None) -> pd.DataFrame:
    """Rows of a profile that are ok, of these phases and this pacing. Raises InputError when none is left."""
    rows = pd.read_csv(path)
    rows = rows[(rows.status == "ok") & rows.phase.isin(phases)]
    if pacing is not None and "pacing" in rows:
        rows = rows[rows.pacing == pacing]
    if not len(rows):
        raise InputError(str(path), "has no iteration that was timed", "profile " + " and ".join(phases))
    return rows
