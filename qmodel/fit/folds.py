"""Cross-validation that leaves out whole factor levels: a model is wanted where nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmodel.fit.cells import Cells, Mask

MOST = 20
"""A factor with more levels is left out in interleaved groups of levels."""

GROUPS = 19
"""Their number: a prime, so that groups do not line up with tiles of 2^k."""


@dataclass(frozen=True)
class Fold:
    """Cells held out together: `levels` of `factor`; at an edge, predicting them is extrapolation."""

    factor: str
    label: str
    test: Mask
    edge: bool


def level_folds(cells: Cells, numeric: Sequence[str]) -> list[Fold]:
    """Each level of each numeric factor left out in turn; factors with two levels cannot lose one.

    A level without which another factor would keep fewer than half of its levels is not left out: of a design that
    varies one factor at a time, the base level holds everything together, and nothing could be judged without it.
    Where no factor has three levels, single cells are left out instead (factor "cell"); of fewer than four cells
    none can be spared.
    """
    every = [fold for name in numeric for fold in _of_factor(name, np.asarray(cells.levels[name]))]
    folds = [fold for fold in every if keeps_variation(fold, cells, numeric)]
    return folds or (_single_cells(len(cells)) if len(cells) > 3 else [])


def keeps_variation(fold: Fold, cells: Cells, numeric: Sequence[str]) -> bool:
    """Whether every other factor keeps two levels and half of those it has when the fold is left out."""
    for name in numeric:
        values = np.asarray(cells.levels[name])
        levels = len(np.unique(values))
        if name != fold.factor and levels > 1 and len(np.unique(values[~fold.test])) < max(2.0, levels / 2):
            return False
    return True


def _of_factor(name: str, values: np.ndarray) -> list[Fold]:
    levels, index = np.unique(values, return_inverse=True)
    if len(levels) < 3:
        return []
    group = np.arange(len(levels))
    last = len(levels) - 1
    if len(levels) > MOST:
        group = 1 + (group - 1) % GROUPS
        group[0], group[last] = 0, GROUPS + 1
    folds = []
    for k in np.unique(group):
        mine = levels[group == k]
        label = f"{name} = {mine[0]:g}" + (f" and {len(mine) - 1} more" if len(mine) > 1 else "")
        edge = group[0] == k or group[last] == k
        folds.append(Fold(name, label, group[index] == k, bool(edge)))
    return folds


def _single_cells(size: int) -> list[Fold]:
    group = np.arange(size) % min(size, MOST)
    return [Fold("cell", f"cells, part {k + 1}", group == k, False) for k in np.unique(group)]


def largest_fifth(cells: Cells, numeric: Sequence[str]) -> list[Fold]:
    """For each factor with five levels or more, its largest fifth of levels, to be predicted from the rest."""
    folds = []
    for name in numeric:
        values = np.asarray(cells.levels[name])
        levels = np.unique(values)
        if len(levels) >= 5:
            start = levels[len(levels) - max(1, len(levels) // 5)]
            folds.append(Fold(name, f"{name} >= {start:g}", values >= start, True))
    return folds
