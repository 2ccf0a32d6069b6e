"""Composite Gauss-Legendre quadrature on (0, x_max]: the first panel in x, the others in log x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NODES = 10


@dataclass(frozen=True)
class Panels:
    """Panels that end at `edges` (increasing, above 0); the first begins at 0."""

    edges: Floats
    order: int = NODES

    @classmethod
    def through(cls, ends: set[float], widest: float, order: int = NODES) -> Panels:
        """Panels with these ends (those above 0), none wider than the ratio `widest`, of `order` nodes each."""
        found = np.array(sorted(end for end in ends if 0 < end < math.inf))
        found = found[np.append(True, np.diff(found) > 1e-13 * found[1:])]
        pieces = np.maximum(np.ceil(np.log(found[1:] / found[:-1]) / math.log(widest)), 1).astype(int)
        if pieces.max(initial=1) == 1:
            return cls(found, order)
        part = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / np.repeat(pieces, pieces)
        split = np.repeat(found[:-1], pieces) * np.repeat(found[1:] / found[:-1], pieces) ** part
        return cls(np.append(split, found[-1]), order)

    @cached_property
    def nodes(self) -> Floats:
        """All nodes, increasing."""
        return self._grid[0].reshape(-1)

    @cached_property
    def weights(self) -> Floats:
        """Weights of the integral over x at the nodes."""
        return self._grid[1].reshape(-1)

    def integrals(self, values: Floats) -> tuple[Floats, Floats]:
        """Integrals from 0 to the nodes and to the edges; `values` at the nodes, of a function smooth in panels."""
        rows = values.reshape(-1, self.order) * self._grid[1]
        at_edges = np.cumsum(rows.sum(axis=1))
        before = np.concatenate(([0.0], at_edges[:-1]))
        _, weights, upto = _gauss(self.order)
        return (before[:, None] + (rows / weights) @ upto.T).reshape(-1), at_edges

    def columns(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """As `integrals`, for several functions at once, one a column (real or complex)."""
        if np.iscomplexobj(values):
            at_nodes, ends = self.columns(np.ascontiguousarray(values).view(float))
            return at_nodes.view(complex), ends.view(complex)
        rows = values.reshape(-1, self.order, values.shape[-1]) * self._grid[1][:, :, None]
        at_edges = np.cumsum(rows.sum(axis=1), axis=0)
        inside = inner(self.order) @ rows
        inside[1:] += at_edges[:-1, None]
        return inside.reshape(values.shape), at_edges

    @cached_property
    def _grid(self) -> tuple[Floats, Floats]:
        logs = np.log(self.edges)
        width = np.diff(logs)[:, None]
        nodes, weights, _ = _gauss(self.order)
        x = np.exp(logs[:-1, None] + width * nodes)
        first = self.edges[0]
        return np.vstack((first * nodes, x)), np.vstack((first * weights, width * x * weights))


@lru_cache
def inner(order: int) -> Floats:
    """Matrix from the weighted values in a panel to the integrals from its begin to each of its nodes."""
    _, weights, upto = _gauss(order)
    return upto / weights


@lru_cache
def _gauss(order: int) -> tuple[Floats, Floats, Floats]:
    """Nodes and weights on [0, 1], and the matrix of integrals up to each node of the polynomial through values."""
    legendre = np.polynomial.legendre
    x, w = legendre.leggauss(order)
    values = legendre.legvander(x, order)
    degrees = np.arange(order)
    coefficients = (degrees[:, None] + 0.5) * values[:, :order].T * w
    below = np.hstack((np.zeros((order, 1)), values))[:, :order]
    integrals = (values[:, 1:] - below) / (2 * degrees + 1)
    integrals[:, 0] = x + 1.0
    return 0.5 * (x + 1.0), 0.5 * w, 0.5 * integrals @ coefficients
