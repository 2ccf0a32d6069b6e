"""The Volterra equation of processor sharing in the size, for any law of size; no transform is asked of it.

With a(v) = lambda P(S > v) and y(x) the solution of

    y(x) = 1 - int_0^x a + int_0^x (a(x - u) + s) y(u) du,

the response V(x) of a request of size x has E[exp(-s V(x))] = (1 - rho) / D(s, x), D = 1 - rho + s int_0^x y: y has
the transform (1 - a~)/(q (1 - a~) - s) in x, and so D is 1 - rho + s x + s^2 g(s, x) of `sharing_law`.

On panels, y is a polynomial through its values at Gauss nodes, and the convolution with `a` a matrix of product
integrals: it depends on neither s nor t, so one matrix serves a whole contour of s, panel after panel. A point mass
p at v contributes lambda p int_(x-v)^x y. Source of the method: Brunner, *Collocation Methods for Volterra Integral
and Related Functional Differential Equations* (2004), chapters 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.one_server.sharing_pieces import Pieces, Table, gauss, legendre, primitives

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]
    Indices = NDArray[np.intp]

INSIDE = 10
"""Gauss nodes in each piece of a product integral."""
BLOCK = 8192
"""Pieces at a time: what is made of them stays in the cache."""
EMPTY = 1e-14
"""Pieces shorter than this, relatively, are left out."""
LARGEST = 1e120
"""Values beyond this are held there: 1/D is 0 to any purpose."""


@dataclass(frozen=True)
class LargerSizes:
    """P(S > v): `smooth` is what the law has besides its point masses `masses` at `values`."""

    smooth: Table
    values: Floats
    masses: Floats


@dataclass(frozen=True)
class Solution:
    """int_0^x y for each s: its values at the ends of the panels, and y's coefficients (panel, degree, s)."""

    s: Complex
    at_ends: Complex
    coefficients: Complex


@dataclass(frozen=True)
class SharingEquation:
    """The equation on these panels, for requests at `rate`."""

    pieces: Pieces
    rate: float
    larger: LargerSizes

    @cached_property
    def _kernel(self) -> Floats:
        """Matrix of the convolution with a, from values at the nodes to values at the nodes."""
        p, count = self.pieces.order, len(self.pieces.width)
        found = np.zeros((len(self.pieces.nodes), count, p))
        self._add_smooth(found)
        self._add_masses(found)
        return np.asarray(self.rate * found.reshape(-1, count * p))

    def _add_smooth(self, found: Floats) -> None:
        """Product integrals over pieces in which u is in one panel, and x - u in one of the table's."""
        if not self.larger.smooth.coefficients.any():
            return
        row, low, high = self._cuts()
        panel = self.pieces.panel_of(0.5 * (high + low))
        moments = np.empty((len(row), self.pieces.order))
        for i in range(0, len(row), BLOCK):
            part = slice(i, i + BLOCK)
            moments[part] = self._moments(row[part], panel[part], low[part], high[part])
        first = np.flatnonzero(np.append(True, (np.diff(row) > 0) | (np.diff(panel) > 0)))
        found[row[first], panel[first]] += np.add.reduceat(moments, first, axis=0) @ gauss(self.pieces.order)[2]

    def _moments(self, row: Indices, panel: Indices, low: Floats, high: Floats) -> Floats:
        """int P(S > x - u) P_n(u) du over each piece, n the column and x the node of the row."""
        half = 0.5 * (high - low)[:, None]
        u = 0.5 * (high + low)[:, None] + half * gauss(INSIDE)[0]
        weighted = self.larger.smooth(self.pieces.nodes[row, None] - u) * (half * gauss(INSIDE)[1])
        values = legendre(self.pieces.local(u, panel[:, None]), self.pieces.order)
        return np.asarray(np.einsum("sn,psn->sp", weighted, values))

    def _cuts(self) -> tuple[Indices, Floats, Floats]:
        """Node, begin and end of each piece of [0, x], in order."""
        x = self.pieces.nodes[:, None]
        fixed = np.broadcast_to(self.pieces.ends, (len(x), len(self.pieces.ends)))
        cuts = np.clip(np.concatenate((fixed, x - self.larger.smooth.pieces.ends), axis=1), 0.0, x)
        cuts.sort(axis=1)
        low, high = cuts[:, :-1], cuts[:, 1:]
        row, place = np.nonzero(high - low > EMPTY * x)
        return row, low[row, place], high[row, place]

    def _add_masses(self, found: Floats) -> None:
        values, masses = self.larger.values, self.larger.masses
        if not len(values):
            return
        x = self.pieces.nodes
        left = x[:, None] - values
        row, which = np.nonzero(left > 0)
        self._add_integrals(found, np.arange(len(x)), x, np.full(len(x), masses.sum()))
        self._add_integrals(found, row, left[row, which], -masses[which])

    def _add_integrals(self, found: Floats, row: Indices, upto: Floats, factor: Floats) -> None:
        """Adds factor int_0^upto y to the rows."""
        p, (rows, count, _) = self.pieces.order, found.shape
        panel = self.pieces.panel_of(upto)
        key, local = row * count + panel, self.pieces.local(upto, panel)
        moments = np.zeros((p, rows * count))
        for i in range(0, len(row), BLOCK):
            part = slice(i, i + BLOCK)
            for total, each in zip(moments, primitives(local[part], p) * factor[part], strict=True):
                total += np.bincount(key[part], each, rows * count)
        here = np.bincount(key, factor, rows * count).reshape(rows, count)
        beyond = np.cumsum(here[:, ::-1], axis=1)[:, ::-1] - here
        whole = moments.T.reshape(rows, count, p) @ gauss(p)[2] + beyond[:, :, None] * gauss(p)[1]
        found += 0.5 * self.pieces.width[:, None] * whole

    def solve(self, s: Complex) -> Solution:
        """y for all s at once, panel after panel."""
        p, kernel = self.pieces.order, self._kernel
        _, weights, to_coefficients = gauss(p)
        inner = primitives(gauss(p)[0], p).T @ to_coefficients
        start = 1.0 - kernel.sum(axis=1)
        y = np.empty((len(kernel), len(s)), dtype=complex)
        at_ends = np.zeros((len(self.pieces.width) + 1, len(s)), dtype=complex)
        for i, width in enumerate(self.pieces.width):
            own = slice(i * p, (i + 1) * p)
            known = start[own, None] + s * at_ends[i]
            known += (kernel[own, : i * p] @ y[: i * p].view(float)).view(complex)
            matrices = np.eye(p) - kernel[own, own] - s[:, None, None] * (0.5 * width * inner)
            found = np.linalg.solve(matrices, known.T[:, :, None])[:, :, 0].T
            y[own] = _held(found)
            at_ends[i + 1] = at_ends[i] + 0.5 * width * (weights @ y[own])
        return Solution(s, at_ends, np.asarray(to_coefficients @ y.reshape(-1, p, len(s)), dtype=complex))

    def denominators(self, solution: Solution, x: Floats, load: float) -> Complex:
        """D(s, x), one row an x (increasing), one column an s."""
        panel = self.pieces.panel_of(x)
        inside = primitives(self.pieces.local(x, panel), self.pieces.order).T * (
            0.5 * self.pieces.width[panel, None]
        )
        out = solution.at_ends[panel]
        for i in np.unique(panel):
            rows = slice(*np.searchsorted(panel, [i, i + 1]))
            out[rows] += (inside[rows] @ solution.coefficients[i].view(float)).view(complex)
        return np.asarray(1.0 - load + solution.s * out)


def _held(y: Complex) -> Complex:
    """y with the columns that grow beyond LARGEST scaled back to it."""
    largest = np.abs(y).max(axis=0)
    return np.asarray(y * np.minimum(1.0, LARGEST / np.maximum(largest, LARGEST)))
