"""From timed iterations to an engine's iteration time: base + sequences + context tokens + prompt tokens.

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
FACTORS = ("batch_size", "context_tokens", "prefill_tokens")


@dataclass(frozen=True)
class IterationFit:
    """Seconds of each term, and how well they tell the cells: fitted over measured mean, less 1.

    `cells` has a row a cell: its factors, `mean_s`, `rows`, `fitted_s` and `relative_error`.
    """

    coefficients: dict[str, float]
    cells: pd.DataFrame

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
        return (
            self.describe() + "\n\n" + self.cells.to_string(index=False, float_format=lambda x: f"{x:.6g}") + "\n"
        )


def fit_iteration_time(rows: pd.DataFrame) -> IterationFit:
    """The iteration time from rows with `batch_size`, `latency_s` and, where there are any, tokens.

    `context_tokens` are those of each decoding sequence; `prefill_tokens` those of one prompt read beside them.
    Raises InputError where there are fewer cells than terms that vary.
    """
    factors = [name for name in FACTORS if name in rows]
    filled = rows.assign(**{name: rows[name].fillna(0.0) for name in factors})
    cells = pd.DataFrame(filled.groupby(factors).latency_s.agg(mean_s="mean", rows="size").reset_index())
    design, names = _design(cells)
    if len(cells) < len(names):
        raise InputError("iteration time", f"{len(cells)} cells for {len(names)} terms", "profile more levels")
    solved = _solved(design, cells.mean_s.to_numpy(float))
    coefficients = dict.fromkeys(TERMS, 0.0) | dict(zip(names, solved.tolist(), strict=True))
    cells["fitted_s"] = design @ solved
    cells["relative_error"] = cells.fitted_s / cells.mean_s - 1.0
    return IterationFit(coefficients, cells)


def _design(cells: pd.DataFrame) -> tuple[Floats, list[str]]:
    """One column a term that varies over the cells."""
    decoding = cells.batch_size.to_numpy(float)
    nothing = np.zeros(len(cells))
    context = decoding * (cells.context_tokens.to_numpy(float) + 1.0) if "context_tokens" in cells else nothing
    prompt = cells.prefill_tokens.to_numpy(float) if "prefill_tokens" in cells else nothing
    columns = (np.ones(len(cells)), decoding + (prompt > 0), context, prompt)
    used = [(column, name) for column, name in zip(columns, TERMS, strict=True) if name == "base" or np.ptp(column)]
    return np.column_stack([column for column, _ in used]), [name for _, name in used]


def _solved(design: Floats, taken: Floats) -> Floats:
    from scipy.optimize import nnls

    relative = design / taken[:, None]
    scale = relative.max(axis=0)
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
