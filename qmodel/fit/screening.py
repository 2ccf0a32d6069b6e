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
from qmodel.service.forms import design
from qmodel.service.terms import Term

EXHAUSTIVE = 8
"""With this many terms or fewer, every subset is tried; otherwise a beam search."""

BEAM = 8
LARGEST = 7
SINGULAR = 1e-12
"""Smallest eigenvalue of a cross-product matrix with unit diagonal that still determines the coefficients."""


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
        self._usable = [self._determined(cells, fold) for fold in folds]
        self._train = [(total[0] - gram, total[1] - moment) for gram, moment, _ in fold_products]
        self._test = fold_products

    def errors(self, subset: Sequence[int]) -> Screened:
        """Evaluate the terms at positions `subset` (0 is the constant)."""
        pick = np.array(subset)
        errors = np.array([self._fold_error(k, pick) for k in range(len(self._test))])
        return Screened(tuple(self.terms[k] for k in subset), errors)

    def _products(self, x: Array, mask: Mask) -> tuple[Array, Array, Array]:
        """Cross products, moments with the target (all ones) and counts, by group."""
        parts = [x[mask & (self._group == g)] for g in range(self._count)]
        grams, moments = np.stack([p.T @ p for p in parts]), np.stack([p.sum(axis=0) for p in parts])
        return grams, moments, np.array([float(len(p)) for p in parts])

    def _determined(self, cells: Cells, fold: Fold) -> list[int]:
        """Groups that can be judged in this fold: tested, and left with two levels of its factor."""
        groups = []
        for g in range(self._count):
            mine = self._group == g
            if not np.any(mine & fold.test):
                continue
            if fold.factor in cells.levels and len(np.unique(cells.levels[fold.factor][mine & ~fold.test])) < 2:
                continue
            groups.append(g)
        return groups

    def _fold_error(self, fold: int, pick: Index) -> float:
        grams, moments = self._train[fold]
        test_grams, test_moments, counts = self._test[fold]
        total = rows = 0.0
        for g in self._usable[fold]:
            b = solve_products(grams[g][np.ix_(pick, pick)], moments[g][pick])
            if b is None:
                return float("inf")
            square = b @ test_grams[g][np.ix_(pick, pick)] @ b - 2.0 * b @ test_moments[g][pick] + counts[g]
            total, rows = total + max(float(square), 0.0), rows + counts[g]
        return float(np.sqrt(total / rows)) if rows else 0.0


def solve_products(gram: Array, moment: Array) -> Array | None:
    """Non-negative least squares from cross products, or None where they are singular."""
    norms = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / np.outer(norms, norms))
    if values[0] < SINGULAR * len(norms):
        return None
    root = np.sqrt(values)
    return np.asarray(nnls(root[:, None] * vectors.T, (vectors.T @ (moment / norms)) / root)[0] / norms)


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
