"""Visits: a cell's repetitions within one block; where they are alike, visits are the replicates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import f as f_law

from qmodel.fit.cells import Array, Cells, Index
from qmodel.fit.table import Measurements

LEVEL = 0.05


@dataclass(frozen=True)
class Visits:
    """Test of visits against repetitions within them.

    `deviation` is the standard deviation of visits around their cell and block (relative), `p` that of the F test
    of no difference beyond what repetitions explain, `degrees_of_freedom` those of visits.
    """

    deviation: float
    p: float
    degrees_of_freedom: int

    @property
    def matter(self) -> bool:
        """Whether repetitions of one visit must not be counted as independent."""
        return self.p < LEVEL


def visits(frame: pd.DataFrame, cells: Cells, y: Array) -> Visits | None:
    """Compare visits of the same cell; None unless cells were visited in several blocks, several times each.

    With d = y / (mean of its cell) - 1 less the mean of its block, visit means v of m repetitions give
    F = (sum m v^2 / (visits - cells - blocks + 1)) / (sum (d - v)^2 / (rows - visits)).
    """
    if "block" not in frame or frame["block"].nunique() < 2:
        return None
    block = pd.factorize(frame["block"])[0]
    visit = pd.factorize(cells.row_cell * (block.max() + 1) + block)[0]
    d = y / cells.mean[cells.row_cell] - 1.0
    d = d - _group_mean(d, block)[block]
    v, size = _group_mean(d, visit), np.bincount(visit).astype(float)
    between = len(v) - len(cells) - int(block.max())
    within = len(d) - len(v)
    if between < 1 or within < 1:
        return None
    spread = float(np.sum((d - v[visit]) ** 2)) / within
    mean_square = float(np.sum(size * v**2)) / between
    if spread == 0:
        return None
    p = float(f_law.sf(mean_square / spread, between, within))
    return Visits(float(np.sqrt(np.sum(v**2) / between)), p, between)


def with_visits(cells: Cells, frame: pd.DataFrame, found: Visits | None) -> Cells:
    """Cells whose means are as uncertain as visits say, where visits matter."""
    if found is None or not found.matter:
        return cells
    pairs = pd.DataFrame({"cell": cells.row_cell, "block": frame["block"].to_numpy()}).drop_duplicates()
    count = np.bincount(pairs["cell"], minlength=len(cells)).astype(float)
    return replace(cells, mean_variance=found.deviation**2 / count, mean_freedom=found.degrees_of_freedom)


def visit_means(m: Measurements) -> Measurements:
    """One row a visit: the mean response of each cell in each block, in the order of the visits."""
    keys = [*m.factors, "block"]
    columns = {m.response: "mean"} | ({"run_order": "mean"} if "run_order" in m.frame else {})
    frame = m.frame.groupby(keys, sort=False, observed=True).agg(columns).reset_index()
    return replace(m, frame=frame)


def _group_mean(values: Array, group: Index) -> Array:
    return np.asarray(np.bincount(group, weights=values) / np.bincount(group))
