"""How the input and the output length of a request hang together: a Gaussian copula, or pairs that were seen."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.workload.columns import number_column
from qmodel.workload.discrete import Empirical
from qmodel.workload.distribution import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTHS = ("input_tokens", "output_tokens")
CELLS = 64
"""Pairs that were seen are stood for by at most this many times this many."""


class JointLengths(ABC):
    """The joint law of LENGTHS, given the law of each."""

    @abstractmethod
    def at(self, laws: Mapping[str, Distribution], first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Inputs and outputs at two independent uniform numbers a request."""

    @abstractmethod
    def pairs(
        self, laws: Mapping[str, Distribution], points: Mapping[str, list[tuple[float, float]]]
    ) -> list[tuple[float, float, float]]:
        """(input, output, probability) that stand for the joint law; `points` stand for each law alone."""

    @abstractmethod
    def to_table(self) -> dict[str, Any]:
        """As a scenario file spells it."""


@dataclass(frozen=True)
class Copula(JointLengths):
    """A Gaussian copula: lengths are monotone functions of two correlated normal variables.

    `correlation` is the rank correlation (Spearman's) of continuous lengths; the normals have 2 sin(pi r / 6).
    Equal lengths (atoms, whole tokens) bring the rank correlation of a sample a little nearer to 0.

    >>> round(Copula(0.5).normal_correlation, 6)
    0.517638
    """

    correlation: float

    def __post_init__(self) -> None:
        if not -1.0 < self.correlation < 1.0:
            place = "lengths, correlation"
            raise InputError(place, f"{self.correlation!r} is no rank correlation", "give a number from -1 to 1")

    @property
    def normal_correlation(self) -> float:
        """Correlation of the normals."""
        return 2.0 * math.sin(math.pi * self.correlation / 6.0)

    def at(self, laws: Mapping[str, Distribution], first: Floats, second: Floats) -> tuple[Floats, Floats]:
        from scipy.special import ndtr, ndtri

        r = self.normal_correlation
        other = r * ndtri(first) + math.sqrt(1.0 - r * r) * ndtri(second)
        given, drawn = (laws[name] for name in LENGTHS)
        upper = drawn.upper_quantile(ndtr(-np.maximum(other, 0.0)))
        return given.quantile(first), np.where(other < 0, drawn.quantile(ndtr(np.minimum(other, 0.0))), upper)

    def pairs(
        self, laws: Mapping[str, Distribution], points: Mapping[str, list[tuple[float, float]]]
    ) -> list[tuple[float, float, float]]:
        """The points of each law, paired with the copula's probability of their cell."""
        first, second = (sorted(points[name]) for name in LENGTHS)
        upto = both_below(_cuts(first)[:, None], _cuts(second)[None, :], self.normal_correlation)
        masses = np.maximum(np.diff(np.diff(upto, axis=0), axis=1), 0.0)
        masses /= masses.sum()
        return [
            (value, other, float(masses[i, j]))
            for i, (value, _) in enumerate(first)
            for j, (other, _) in enumerate(second)
            if masses[i, j] > 0
        ]

    def to_table(self) -> dict[str, Any]:
        return {"correlation": self.correlation}


def _cuts(points: list[tuple[float, float]]) -> Floats:
    """Normal variables between the points of a law, with the ends."""
    from scipy.special import ndtri

    upto = np.minimum(np.cumsum([p for _, p in points])[:-1], 1.0)
    return np.concatenate(([-FAR], np.clip(ndtri(upto), -FAR, FAR), [FAR]))


FAR = 40.0
"""Standard deviations beyond which a normal variable has no mass."""


def both_below(h: Floats, k: Floats, r: float) -> Floats:
    """P(X <= h, Y <= k) of standard normals of correlation r, elementwise (Owen, *Ann. Math. Stat.* 1956).

    >>> round(float(both_below(np.array(0.0), np.array(0.0), 0.5)), 12) == round(1 / 3, 12)
    True
    """
    from scipy.special import ndtr, owens_t

    h, k = (np.where(np.abs(x) < TINY, TINY, x) for x in np.broadcast_arrays(h, k))
    s = math.sqrt(1.0 - r * r)
    opposite = np.where(h * k < 0, 0.5, 0.0)
    return np.asarray(
        0.5 * (ndtr(h) + ndtr(k)) - owens_t(h, (k / h - r) / s) - owens_t(k, (h / k - r) / s) - opposite
    )


TINY = 1e-14


@dataclass(frozen=True)
class Pairs(JointLengths):
    """Pairs of lengths that were seen together, each as likely as any other.

    >>> Pairs((100.0, 900.0), (20.0, 400.0)).laws()["output_tokens"].mean
    210.0
    """

    inputs: tuple[float, ...]
    outputs: tuple[float, ...]

    def __post_init__(self) -> None:
        place = "lengths"
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise InputError(place, "holds no pairs", "give as many input_tokens as output_tokens")
        for name, values in zip(LENGTHS, (self.inputs, self.outputs), strict=True):
            if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
                raise InputError(f"{place}, {name}", "holds a value that is no length", "give numbers >= 0")

    @classmethod
    def from_csv(cls, path: Path) -> Pairs:
        """The rows of the columns input_tokens and output_tokens. Raises InputError naming file and line."""
        inputs, outputs = (tuple(number_column(path, [name])) for name in LENGTHS)
        try:
            return cls(inputs, outputs)
        except InputError as error:
            raise InputError(f"{path}, {error.place}", error.fault, error.remedy) from error

    def laws(self) -> dict[str, Distribution]:
        """The law of each length alone."""
        return {n: Empirical(seen) for n, seen in zip(LENGTHS, (self.inputs, self.outputs), strict=True)}

    @cached_property
    def _sorted(self) -> tuple[Floats, Floats]:
        order = np.lexsort((self.outputs, self.inputs))
        return np.array(self.inputs)[order], np.array(self.outputs)[order]

    def at(self, laws: Mapping[str, Distribution], first: Floats, second: Floats) -> tuple[Floats, Floats]:
        row = np.minimum((first * len(self.inputs)).astype(np.int64), len(self.inputs) - 1)
        inputs, outputs = self._within(laws)
        return inputs[row], outputs[row]

    def _within(self, laws: Mapping[str, Distribution]) -> tuple[Floats, Floats]:
        """Pairs sorted by input, cut to the largest lengths of the laws, which a token limit may have lowered."""
        inputs, outputs = self._sorted
        most_in, most_out = (laws[name].support()[1] for name in LENGTHS)
        return np.minimum(inputs, most_in), np.minimum(outputs, most_out)

    def pairs(
        self, laws: Mapping[str, Distribution], points: Mapping[str, list[tuple[float, float]]]
    ) -> list[tuple[float, float, float]]:
        """The distinct pairs; many are stood for by the means of CELLS cells of inputs, each cut into as many."""
        seen, counts = np.unique(np.column_stack(self._within(laws)), axis=0, return_counts=True)
        if len(seen) > CELLS**2:
            cell = _cells(seen[:, 0], counts)
            for one in range(CELLS):
                rows = np.flatnonzero(cell == one * CELLS)
                cell[rows] += _cells(seen[rows, 1], counts[rows]) // CELLS
            _, cell = np.unique(cell, return_inverse=True)
            total = np.bincount(cell, counts)
            seen = np.column_stack([np.bincount(cell, counts * column) / total for column in seen.T])
            counts = total
        masses = counts / counts.sum()
        return [(float(i), float(o), float(p)) for (i, o), p in zip(seen, masses, strict=True)]

    def to_table(self) -> dict[str, Any]:
        return {"input_tokens": list(self.inputs), "output_tokens": list(self.outputs)}


def _cells(values: Floats, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """CELLS times the number of the cell of each value; cells share out number and second moment alike."""
    order = np.argsort(values, kind="stable")
    squares = counts * values**2
    weight = counts / max(counts.sum(), 1) + squares / max(squares.sum(), 1e-300)
    upto = np.empty(len(values))
    upto[order] = np.cumsum(weight[order]) - weight[order] / 2
    return np.minimum(upto / 2 * CELLS, CELLS - 1).astype(np.int64) * CELLS
