"""Candidates that are tables: cell means on a complete grid, interpolated between levels and silent beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmodel.fit.cells import Array, Cells
from qmodel.fit.least_squares import DEFAULT, Fitting
from qmodel.fit.piecewise import possible_tiles
from qmodel.fit.uncertainty import Uncertainty, lack_of_fit
from qmodel.service.model import ServiceModel
from qmodel.service.table_form import Table

MOST_VALUES = 2500
"""A larger table is no model one can read, and its covariance would be larger still."""


@dataclass(frozen=True)
class TableCandidate:
    """The cell means themselves at every combination of the levels of `inputs`."""

    inputs: tuple[str, ...]
    tiles: tuple[float, ...] = ()
    form: str = "table"

    @property
    def label(self) -> str:
        """`table over batch_size, tokens in tiles of 64`."""
        tiles = self.tiles or (0.0,) * len(self.inputs)
        pairs = zip(self.inputs, tiles, strict=True)
        return "table over " + ", ".join(f"{n} in tiles of {t:g}" if t else n for n, t in pairs)

    @property
    def searched(self) -> int:
        """The tile sizes."""
        return int(np.count_nonzero(self.tiles))

    @property
    def degree(self) -> float:
        """One an input."""
        return float(len(self.inputs))

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> Table | None:
        """Means over the cells of each combination; None where the grid has holes or is too large."""
        axes, position = [], np.zeros(len(cells), int)
        for name in self.inputs:
            knots, index = np.unique(np.asarray(cells.levels[name], float), return_inverse=True)
            axes.append((name, tuple(knots.tolist())))
            position = position * len(knots) + index
        size = int(np.prod([len(knots) for _, knots in axes]))
        weight = np.ones(len(cells)) if weights is None else weights
        if size > MOST_VALUES or len(np.unique(position)) < size or size < 2:
            return None
        value = np.bincount(position, weight * cells.mean, size) / np.bincount(position, weight, size)
        return Table(tuple(axes), tuple(value.tolist()), self.tiles)


def table_candidates(cells: Cells, numeric: Sequence[str]) -> list[TableCandidate]:
    """One over all numeric factors, and one for each tile size that one of them shows."""
    if not numeric:
        return []
    found = [TableCandidate(tuple(numeric))]
    for k, name in enumerate(numeric):
        for tile in possible_tiles(np.asarray(cells.levels[name], float)):
            found.append(TableCandidate(tuple(numeric), tuple(tile * (j == k) for j in range(len(numeric)))))
    return found


def table_uncertainty(model: ServiceModel, cells: Cells, left_out: Array) -> Uncertainty:
    """Variance of each value: replicate noise or, without replicates, the error found at left-out levels.

    Values count as independent; ratios of named levels as known.
    """
    predicted = np.asarray(model.predict(cells.levels)) * np.ones(len(cells))
    gradient = model.form.gradient(cells.levels)
    known = left_out[np.isfinite(left_out)]
    relative = cells.mean_variance if cells.repeated else np.full(len(cells), _robust_variance(known))
    share = gradient / np.maximum(gradient.sum(axis=0), 1e-300)
    variance = (share**2).T @ (relative * cells.mean**2)
    size, free = gradient.shape[1], len(model.free_ratios())
    covariance = np.diag(np.concatenate([variance, np.zeros(free)]))
    freedom = float(cells.mean_freedom if cells.repeated else max(len(known), 1))
    return Uncertainty(covariance, freedom, 1.0, lack_of_fit(predicted, cells, size + free))


def _robust_variance(errors: Array) -> float:
    return float((np.median(np.abs(errors)) / 0.6745) ** 2) if errors.size else 0.0
