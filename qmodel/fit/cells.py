"""Cells: repetitions at the same levels drawn together, with their mean and the noise between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]
Index = np.ndarray[Any, Any]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Noise:
    """Variance of y / (mean of its cell), pooled over cells with replicates, and its degrees of freedom."""

    scv: float
    degrees_of_freedom: int

    @property
    def known(self) -> bool:
        """Whether any cell was repeated."""
        return self.degrees_of_freedom > 0


@dataclass(frozen=True)
class Cells:
    """One entry a cell: `levels` of each factor, `mean` response, `count` of rows; `row_cell` places each row.

    `mean_variance` is the relative variance of each cell's mean by its replicates, known with `mean_freedom`
    degrees of freedom (0: nothing was repeated).
    """

    levels: Mapping[str, Any]
    mean: Array
    count: Array
    noise: Noise
    row_cell: Index
    mean_variance: Array
    mean_freedom: int

    @classmethod
    def of(cls, frame: pd.DataFrame, factors: Sequence[str], y: Array) -> Cells:
        """Group the rows of `frame` by `factors`."""
        groups = frame.groupby(list(factors), sort=True, observed=True)
        row_cell = groups.ngroup().to_numpy(np.intp)
        keys = frame.iloc[np.unique(row_cell, return_index=True)[1]]
        count = np.bincount(row_cell).astype(float)
        mean = np.bincount(row_cell, weights=y) / count
        levels = {name: _column(keys[name]) for name in factors}
        noise = noise_within(y, mean, row_cell)
        return cls(levels, mean, count, noise, row_cell, noise.scv / count, noise.degrees_of_freedom)

    def __len__(self) -> int:
        return len(self.mean)

    def take(self, mask: Mask) -> Cells:
        """The cells where `mask` holds; `row_cell` stays that of the whole."""
        levels = {name: values[mask] for name, values in self.levels.items()}
        picked = {"mean": self.mean[mask], "count": self.count[mask], "mean_variance": self.mean_variance[mask]}
        return replace(self, levels=levels, **picked)  # type: ignore[arg-type]

    @property
    def repeated(self) -> bool:
        """Whether replicates tell how uncertain the means are."""
        return self.mean_freedom > 0 and bool(np.all(self.mean_variance > 0))


def noise_within(y: Array, mean: Array, row_cell: Index) -> Noise:
    """Pooled variance of y over its cell's mean: sum (y/mean - 1)^2 / (rows - cells)."""
    freedom = len(y) - len(mean)
    if freedom == 0:
        return Noise(0.0, 0)
    return Noise(float(np.sum((y / mean[row_cell] - 1.0) ** 2) / freedom), freedom)


def _column(values: pd.Series) -> Any:
    return values.to_numpy(float) if pd.api.types.is_numeric_dtype(values) else values.to_numpy(str)
