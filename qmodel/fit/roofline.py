"""Candidates that are the largest of two or three affine pieces: a roofline of latency, memory and compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qmodel.fit.candidates import degree
from qmodel.fit.cells import Array, Cells, Index
from qmodel.fit.least_squares import DEFAULT, Fitting, fit_coefficients, identifiable, solve
from qmodel.fit.piecewise import Products, split_terms
from qmodel.service.forms import Affine, MaxAffine, design
from qmodel.service.terms import Term

ITERATIONS = 25
NEGLIGIBLE = 1e-9
"""A term that nowhere brings more than this share of the time is rounding error."""

CUTS = {2: ((0.2,), (0.4,), (0.6,), (0.8,)), 3: ((0.2, 0.5), (0.3, 0.7), (0.5, 0.8))}
"""Shares of the cells at which starting partitions are cut, by number of pieces."""


@dataclass(frozen=True)
class MaxAffineCandidate:
    """The largest of `pieces` sums of the same terms, each non-negative.

    With `tiles`, tile counts of `factor` join the terms. Fitted by turns (Magnani & Boyd 2009): every piece to
    the cells where it is largest, then the cells dealt out again, from several starting partitions; the best of
    the ends is taken.
    """

    terms: tuple[Term, ...]
    pieces: int
    factor: str = ""
    tiles: int = 0

    @property
    def form(self) -> str:
        """`max-affine`, with tiles or without."""
        return "max-affine and tiles" if self.tiles else "max-affine"

    @property
    def label(self) -> str:
        """`max of 2: 1 + tokens`."""
        tiles = f", tiles in {self.factor}" if self.tiles else ""
        return f"max of {self.pieces}: {' + '.join(map(str, self.terms))}{tiles}"

    @property
    def searched(self) -> int:
        """One border between neighbouring pieces, and the tile sizes."""
        return self.pieces - 1 + self.tiles

    @property
    def degree(self) -> float:
        """Sum of the terms' powers."""
        return float(self.pieces * sum(map(degree, self.terms)))

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> MaxAffine | None:
        """None where fewer cells than coefficients are there, or the terms are not determined."""
        terms = self._terms(cells, weights)
        x = design(terms, cells.levels)
        if len(cells) < x.shape[1] * self.pieces or not identifiable(x, 1.0 / cells.mean):
            return None
        w = np.ones(len(cells)) if weights is None else weights
        best, least = None, np.inf
        for start in self._starts(cells):
            found = _by_turns(x, cells.mean, w, start, self.pieces, how)
            loss = float(np.sum(w * (np.max(x @ found.T, axis=1) / cells.mean - 1.0) ** 2))
            if loss < least:
                best, least = found, loss
        if best is None:
            return None
        final = _polished(x, cells.mean, w, best, how)
        final = final[np.unique(np.argmax(x @ final.T, axis=1))]  # a piece that is nowhere the largest says nothing
        share = np.max(x / cells.mean[:, None], axis=0)
        return _form(terms, np.where(final * share > NEGLIGIBLE, final, 0.0) if how.nonnegative else final)

    def _terms(self, cells: Cells, weights: Array | None) -> tuple[Term, ...]:
        """The terms with the tile counts that serve a single piece best."""
        table = Products.of(self.terms, self.factor, cells, weights) if self.tiles else None
        if table is None or len(table.tiles) < self.tiles:
            return self.terms
        return split_terms(self.terms, self.factor, *table.best_tiles(self.tiles, ()))

    def _starts(self, cells: Cells) -> Iterator[Index]:
        """Partitions into ranges of each factor and, where there are several, of the time itself."""
        factors = dict.fromkeys(name for term in self.terms for name in term.factors)
        time = [cells.mean] if len(factors) > 1 else []
        for values in (*time, *(np.asarray(cells.levels[name], float) for name in factors)):
            rank = np.argsort(np.argsort(values, kind="stable")) / len(cells)
            for cuts in CUTS[self.pieces]:
                yield np.searchsorted(cuts, rank)


def _by_turns(x: Array, y: Array, w: Array, part: Index, pieces: int, how: Fitting) -> Array:
    """Coefficients of each piece, shape (pieces, terms)."""
    root = np.sqrt(w)
    a, ones = x * (root / y)[:, None], np.ones(len(y))
    b = np.zeros((pieces, x.shape[1]))
    for _ in range(ITERATIONS):
        for k in range(pieces):
            mine = part == k
            if mine.sum() >= 2:
                b[k] = solve(a[mine], root[mine], ones[mine], how.nonnegative)
        again = np.argmax(x @ b.T, axis=1)
        if np.array_equal(again, part):
            break
        part = again
    return b


def _polished(x: Array, y: Array, w: Array, b: Array, how: Fitting) -> Array:
    """Each piece once more on its own cells with the loss that was asked for; kept if no cell changes hands."""
    part = np.argmax(x @ b.T, axis=1)
    polished = b.copy()
    for k in range(len(b)):
        mine = part == k
        if mine.sum() >= 2:
            polished[k] = fit_coefficients(x[mine], y[mine], w[mine], how)
    return polished if np.array_equal(np.argmax(x @ polished.T, axis=1), part) else b


def _form(terms: Sequence[Term], b: Array) -> MaxAffine:
    """Pieces without their zero terms; a piece of zeros alone is left out."""
    pieces = []
    for row in b:
        kept = [(t, float(c)) for t, c in zip(terms, row, strict=True) if c != 0]
        if kept:
            pieces.append(Affine(tuple(t for t, _ in kept), tuple(c for _, c in kept)))
    return MaxAffine(tuple(dict.fromkeys(pieces)))
