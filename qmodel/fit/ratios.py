"""Factors that scale the time: one ratio a level, estimated from cells matched on everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_law

from qmodel.fit.cells import Array, Cells, Index
from qmodel.service.terms import level_text


@dataclass(frozen=True)
class Scaling:
    """`ratios` by level (the reference's is 1); `p_constant` tests that they hold alike in every cell.

    `span` is the smallest and largest deviation of single cells from what the ratios say, as factors.
    """

    factor: str
    reference: str
    ratios: Mapping[str, float]
    p_constant: float | None = None
    span: tuple[float, float] = (1.0, 1.0)

    def of(self, cells: Cells) -> Array:
        """The ratio of each cell."""
        text = level_text(cells.levels[self.factor])
        return np.array([self.ratios[level] for level in text.tolist()])


def estimate(cells: Cells, factor: str, reference: str) -> Scaling | None:
    """Least squares on log means with one constant for each combination of the other factors.

    None where some level was never measured at the same levels of the others as the rest.
    """
    text = level_text(cells.levels[factor])
    levels = [level for level in np.unique(text).tolist() if level != reference]
    group = _groups(cells, factor)
    dummies = np.column_stack([(text == level).astype(float) for level in levels])
    within = _demeaned(dummies, group, cells.count)
    target = _demeaned(np.log(cells.mean)[:, None], group, cells.count)[:, 0]
    root = np.sqrt(cells.count)
    solution, _, rank, _ = np.linalg.lstsq(within * root[:, None], target * root, rcond=1e-9)
    if rank < len(levels):
        return None
    residual = target - within @ solution
    freedom = len(cells) - (int(group.max()) + 1) - len(levels)
    ratios = {reference: 1.0} | {level: float(np.exp(x)) for level, x in zip(levels, solution, strict=True)}
    span = (float(np.exp(residual.min())), float(np.exp(residual.max())))
    return Scaling(factor, reference, dict(sorted(ratios.items())), _constancy(cells, residual, freedom), span)


def _groups(cells: Cells, factor: str) -> Index:
    """Number of each cell's combination of the other factors."""
    others: Sequence[str] = [name for name in cells.levels if name != factor]
    if not others:
        return np.zeros(len(cells), int)
    codes = np.column_stack([np.unique(level_text(cells.levels[name]), return_inverse=True)[1] for name in others])
    return np.asarray(np.unique(codes, axis=0, return_inverse=True)[1]).ravel()


def _demeaned(columns: Array, group: Index, weight: Array) -> Array:
    total = np.bincount(group, weights=weight)
    means = [np.bincount(group, weights=weight * column) / total for column in columns.T]
    return np.asarray(columns - np.column_stack(means)[group])


def _constancy(cells: Cells, residual: Array, freedom: int) -> float | None:
    """p of the F test of the ratio's variation between cells against the replicates' noise."""
    if freedom < 1 or not cells.repeated:
        return None
    statistic = float(np.sum(residual**2 / cells.mean_variance) / freedom)
    return float(f_law.sf(statistic, freedom, cells.mean_freedom))
