"""Functions in pieces: on each panel a sum of Legendre polynomials, for collocation and product integration.

A panel [a, b] has the local coordinate xi = (2x - a - b)/(b - a), in [-1, 1]. Source: Trefethen, *Approximation
Theory and Approximation Practice* (2013), chapters 8 and 19.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

ORDER = 16
CLOSE = 1e-9
"""Largest error of a table, where its panel is no shorter than the function's own scale."""
MOST_PANELS = 500
_BETWEEN = np.array([-0.97, -0.8, -0.3, 0.05, 0.4, 0.75, 0.985])
"""Where a panel's polynomial is held against the function."""


@lru_cache
def gauss(order: int) -> tuple[Floats, Floats, Floats]:
    """Gauss nodes and weights on [-1, 1], and the matrix from values at the nodes to Legendre coefficients."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    degrees = np.arange(order)
    values = np.polynomial.legendre.legvander(nodes, order - 1)
    return nodes, weights, (degrees[:, None] + 0.5) * values.T * weights


def legendre(xi: Floats, count: int) -> Floats:
    """P_0 .. P_(count - 1), count >= 2, at xi: one polynomial a row.

    >>> legendre(np.array([0.5]), 3)[:, 0].tolist()
    [1.0, 0.5, -0.125]
    """
    out = np.empty((count, *xi.shape))
    out[0], out[1] = 1.0, xi
    held = np.empty(xi.shape)
    for n in range(1, count - 1):
        np.multiply(xi, out[n], out=out[n + 1])
        out[n + 1] *= (2 * n + 1) / (n + 1)
        np.multiply(out[n - 1], n / (n + 1), out=held)
        out[n + 1] -= held
    return out


def primitives(xi: Floats, count: int) -> Floats:
    """Integrals from -1 to xi of P_0 .. P_(count - 1).

    >>> primitives(np.array([1.0, 0.0]), 2).tolist()
    [[2.0, 1.0], [0.0, -0.5]]
    """
    values = legendre(xi, count + 1)
    out = np.empty((count, *xi.shape))
    out[0] = xi + 1.0
    odd = (2 * np.arange(1, count) + 1).reshape(-1, *[1] * xi.ndim)
    out[1:] = (values[2:] - values[:-2]) / odd
    return out


@lru_cache
def derivatives(count: int) -> Floats:
    """Matrix whose row n holds the Legendre coefficients of P_n'.

    >>> derivatives(4)[3].tolist()
    [1.0, 0.0, 5.0, 0.0]
    """
    n, k = np.mgrid[:count, :count]
    return np.where((k < n) & ((n - k) % 2 == 1), 2.0 * k + 1.0, 0.0)


@dataclass(frozen=True)
class Pieces:
    """Panels between `ends` (increasing), each with `order` Gauss nodes."""

    ends: Floats
    order: int = ORDER

    @cached_property
    def width(self) -> Floats:
        """Length of each panel."""
        return np.diff(self.ends)

    @cached_property
    def nodes(self) -> Floats:
        """All nodes, increasing."""
        places = 0.5 * (self.ends[:-1] + self.ends[1:])[:, None] + 0.5 * self.width[:, None] * gauss(self.order)[0]
        return np.asarray(places.reshape(-1))

    def local(self, x: Floats, panel: Indices) -> Floats:
        """Local coordinate of x in its panel."""
        return np.asarray((2.0 * x - self.ends[panel] - self.ends[panel + 1]) / self.width[panel])

    def panel_of(self, x: Floats) -> Indices:
        """The panel that holds x; an end belongs to the panel before it."""
        return np.clip(np.searchsorted(self.ends, x) - 1, 0, len(self.ends) - 2)

    def interpolation(self, x: Floats) -> tuple[Indices, Floats]:
        """Panel of each x, and the weights of the values at that panel's nodes, one row an x."""
        panel = self.panel_of(x)
        return panel, legendre(self.local(x, panel), self.order).T @ gauss(self.order)[2]


@dataclass(frozen=True)
class Table:
    """A function as its Legendre coefficients, one row a panel; `error`: the largest seen, weighed as CLOSE is."""

    pieces: Pieces
    coefficients: Floats
    error: float

    @classmethod
    def of(cls, function: Callable[[Floats], Floats], ends: Floats, scale: float) -> Table:
        """Panels with these ends, halved until the function, at most 1, is met, or MOST_PANELS are made.

        `scale`: length on which the function falls.

        >>> table = Table.of(lambda x: np.exp(-x), np.array([0.0, 10.0]), 1.0)
        >>> bool(np.allclose(table(np.array([[0.3], [7.0]]))[:, 0], np.exp([-0.3, -7.0]), rtol=0, atol=CLOSE))
        True
        """
        found: list[tuple[Floats, Floats]] = []
        low, high, error = ends[:-1], ends[1:], 0.0
        while len(low):
            middle, half = 0.5 * (low + high)[:, None], 0.5 * (high - low)[:, None]
            rows = function(middle + half * gauss(ORDER)[0]) @ gauss(ORDER)[2].T
            gap = function(middle + half * _BETWEEN) - rows @ legendre(_BETWEEN, ORDER)
            weighed = np.abs(gap).max(axis=1) * np.minimum(1.0, (high - low) / scale)
            room = sum(len(some) for some, _ in found) + 2 * len(low) <= MOST_PANELS
            met = (weighed < CLOSE) | (not room)
            error = max(error, float(weighed[met].max(initial=0.0)))
            found.append((low[met], rows[met]))
            parts = middle[~met, 0]
            low, high = np.concatenate((low[~met], parts)), np.concatenate((parts, high[~met]))
        starts, coefficients = (np.concatenate([part[i] for part in found]) for i in (0, 1))
        order = np.argsort(starts)
        return cls(Pieces(np.append(starts[order], ends[-1])), coefficients[order], error)

    def __call__(self, x: Floats) -> Floats:
        """The function at x, whose rows each lie in one panel."""
        panel = self.pieces.panel_of(x.mean(axis=1))
        values = legendre(self.pieces.local(x, panel[:, None]), ORDER)
        return np.asarray(np.einsum("sp,psn->sn", self.coefficients[panel], values))
