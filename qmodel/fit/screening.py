"""Cross-validation of very many affine candidates at once, from cross products computed once.

The error of a left-out fold is a quadratic form in the coefficients, and the cross products of what remains are
the total less the fold's, so one candidate costs a few small non-negative least squares and no pass over the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from qmodel.fit.candidates import CONSTANT, degree
from qmodel.fit.cells import Array, Cells, Index, Mask
from qmodel.fit.folds import Fold
from qmodel.fit.least_squares import CLEAR, SINGULAR_PRODUCTS
from qmodel.service.forms import design
from qmodel.service.terms import Term

EXHAUSTIVE = 8
"""With this many terms or fewer, every subset is tried; otherwise a beam search."""

BEAM = 8
LARGEST = 7


@dataclass(frozen=True)
class Screened:
    """A subset of terms (the constant is the first) with its root mean square relative error in each fold."""

    terms: tuple[Term, ...]
    fold_errors: Array

    @property
    def score(self) -> float:
        """Mean over folds; infinite where a fold leaves the terms undetermined."""
        return float(np.mean(self.fold_errors))


class Screen:
    """Cross products of all terms, by fold and by group of cells that are fitted apart."""

    def __init__(
        self, terms: Sequence[Term], cells: Cells, folds: Sequence[Fold], groups: Index | None = None
    ) -> None:
        self.terms = (CONSTANT, *terms)
        self._group = np.zeros(len(cells), int) if groups is None else groups
        self._count = int(self._group.max()) + 1
        x = design(self.terms, cells.levels) / cells.mean[:, None]
        scaled = x / np.linalg.norm(x, axis=0)
        fold_products = [self._products(scaled, fold.test) for fold in folds]
        total = self._products(scaled, np.ones(len(cells), bool))
        self._fold, self._judged = self._pairs(cells, folds)
        at = self._fold, self._judged
        self._test = [
            np.array([products[k] for products in fold_products]).reshape(len(folds), *whole.shape)[at]
            for k, whole in enumerate(total)
        ]
        self._train = [whole[self._judged] - test for whole, test in zip(total, self._test, strict=True)]
        self._folds = len(folds)

    def errors(self, subset: Sequence[int]) -> Screened:
        """Evaluate the terms at positions `subset` (0 is the constant): all folds and groups at once."""
        pick = np.array(subset)
        square = (slice(None), pick[:, None], pick)
        b = solve_each(self._train[0][square], self._train[1][:, pick])
        grams, moments, counts = self._test
        left = np.einsum("ki,kij,kj->k", b, grams[square], b) - 2.0 * np.sum(b * moments[:, pick], axis=1) + counts
        left = np.where(np.isnan(left), np.inf, np.maximum(left, 0.0))
        total, rows = (np.bincount(self._fold, weights=w, minlength=self._folds) for w in (left, counts))
        return Screened(tuple(self.terms[k] for k in subset), np.sqrt(total / np.maximum(rows, 1.0)))

    def _products(self, x: Array, mask: Mask) -> tuple[Array, Array, Array]:
        """Cross products, moments with the target (all ones) and counts, by group."""
        parts = [x[mask & (self._group == g)] for g in range(self._count)]
        grams, moments = np.stack([p.T @ p for p in parts]), np.stack([p.sum(axis=0) for p in parts])
        return grams, moments, np.array([float(len(p)) for p in parts])

    def _pairs(self, cells: Cells, folds: Sequence[Fold]) -> tuple[Index, Index]:
        """Fold and group of all that is judged: groups tested, and left with two levels of the fold's factor."""
        found = [(k, g) for k, fold in enumerate(folds) for g in self._determined(cells, fold)]
        fold, group = np.array(found, np.intp).reshape(len(found), 2).T
        return fold, group

    def _determined(self, cells: Cells, fold: Fold) -> list[int]:
        groups = []
        for g in range(self._count):
            mine = self._group == g
            if not np.any(mine & fold.test):
                continue
            if fold.factor in cells.levels and len(np.unique(cells.levels[fold.factor][mine & ~fold.test])) < 2:
                continue
            groups.append(g)
        return groups


def solve_each(grams: Array, moments: Array) -> Array:
    """Non-negative least squares of each problem from its cross products; NaN where they are singular."""
    norms = np.sqrt(np.maximum(np.einsum("kii->ki", grams), 1e-300))
    values, vectors = np.linalg.eigh(grams / (norms[:, :, None] * norms[:, None, :]))
    singular = values[:, 0] < SINGULAR_PRODUCTS * grams.shape[1]
    along = np.einsum("kij,ki->kj", vectors, moments / norms) / np.maximum(values, 1e-300)
    b = np.einsum("kij,kj->ki", vectors, along)
    unclear = np.any(b <= CLEAR * np.max(np.abs(b), axis=1, keepdims=True), axis=1)
    for k in np.flatnonzero(~singular & unclear):
        root = np.sqrt(values[k])
        b[k] = nnls(root[:, None] * vectors[k].T, along[k] * root)[0]
    b[singular] = np.nan
    return np.asarray(b / norms)


def screen(
    terms: Sequence[Term], cells: Cells, folds: Sequence[Fold], groups: Index | None = None
) -> list[Screened]:
    """Candidates from `terms`, best first: every subset if they are few, else those a beam search meets."""
    table = Screen(terms, cells, folds, groups)
    found = _all_subsets(table) if len(terms) <= EXHAUSTIVE else _beam(table)
    found = [candidate for candidate in found if np.isfinite(candidate.score)]
    return sorted(found, key=lambda c: (c.score, len(c.terms), sum(map(degree, c.terms))))


def _all_subsets(table: Screen) -> list[Screened]:
    others = range(1, len(table.terms))
    return [table.errors((0, *s)) for size in range(len(table.terms)) for s in itertools.combinations(others, size)]


def _beam(table: Screen) -> list[Screened]:
    """Grow the best few subsets term by term; every subset met is a candidate."""
    met: dict[tuple[int, ...], Screened] = {(0,): table.errors((0,))}
    front: list[tuple[int, ...]] = [(0,)]
    for _ in range(LARGEST - 1):
        grown = {tuple(sorted((*s, k))) for s in front for k in range(1, len(table.terms)) if k not in s}
        fresh = {s: table.errors(s) for s in sorted(grown - met.keys())}
        met |= fresh
        front = sorted(fresh, key=lambda s: met[s].score)[:BEAM]
        if not front or not np.isfinite(met[front[0]].score):
            break
    return list(met.values())
