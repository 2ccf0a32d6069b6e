"""Candidates that bend and step along one factor: one or two breaks, tiles, or both.

GPU kernels are flat up to some size, then grow, in steps of their tiles. Every term that holds the factor, such as
`tokens:layers`, is split at the breaks (`min(tokens,128):layers`, `over(tokens,128):layers`) and joined by its tile
count (`ceil(tokens/128):layers`). All coefficients stay non-negative, so the time never falls with the factor.

All splits are linear combinations of x and over(x, t), so one table of cross products serves every break.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from qmodel.fit.candidates import AffineCandidate, degree
from qmodel.fit.cells import Array, Cells, Index
from qmodel.fit.least_squares import DEFAULT, SINGULAR_PRODUCTS, Fitting, solve_products
from qmodel.service.forms import Affine, design
from qmodel.service.terms import Atom, Term

TILES = (8, 16, 32, 64, 128, 256, 512)
MOST_BREAKS_TRIED = 32
ROUNDED = 1e-9
"""A pivot of a matrix with unit diagonal below this has lost too many digits."""

ROUNDS = 2
"""How often breaks and tiles are chosen anew, the others held."""


@dataclass(frozen=True)
class PiecewiseCandidate:
    """`terms` with `factor` split at `breaks` (0, 1 or 2) estimated breaks and `tiles` (0, 1 or 2) tile sizes.

    A break may lie at any measured level with two levels on either side. Breaks and tiles are chosen anew in every
    fit, so that their own uncertainty shows when levels are left out.
    """

    terms: tuple[Term, ...]
    factor: str
    breaks: int
    tiles: int

    @property
    def form(self) -> str:
        """`1 break`, `tiles`, `2 breaks and tiles`."""
        parts = [f"{self.breaks} break{'s' if self.breaks > 1 else ''}"] if self.breaks else []
        return " and ".join([*parts, *(["tiles"] if self.tiles else [])])

    @property
    def label(self) -> str:
        """The terms, and the factor that bends."""
        return f"{' + '.join(map(str, self.terms))}, {self.form} in {self.factor}"

    @property
    def searched(self) -> int:
        """Breaks and tile sizes count as parameters."""
        return self.breaks + self.tiles

    @property
    def degree(self) -> float:
        """Sum of the terms' powers."""
        return float(sum(map(degree, self.terms)))

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> Affine | None:
        """Breaks and tiles by least relative squares, one after the other; None where they are not determined."""
        x = np.asarray(cells.levels[self.factor], float)
        table = Products.of(self.terms, self.factor, cells, weights, possible_breaks(x))
        if table is None or len(table.breaks) < self.breaks or len(table.tiles) < self.tiles:
            return None
        best: _Shape = ((), ())
        for _ in range(ROUNDS if self.breaks and self.tiles else 1):
            best = table.best_breaks(self.breaks, best[1])
            best = table.best_tiles(self.tiles, best[0])
        finer = levels_near(x, best[0], table.breaks)
        if len(finer) > self.breaks:
            table = Products.of(self.terms, self.factor, cells, weights, finer)
            best = table.best_breaks(self.breaks, best[1]) if table else best
        return AffineCandidate(split_terms(self.terms, self.factor, *best)).fit(cells, weights, how)


_Shape = tuple[tuple[float, ...], tuple[float, ...]]
"""Breaks and tiles."""


def split_terms(
    terms: Sequence[Term], factor: str, breaks: Sequence[float], tiles: Sequence[float]
) -> tuple[Term, ...]:
    """The terms with `factor` split at `breaks` and joined by tile counts.

    >>> [str(t) for t in split_terms([Term.parse("x:n")], "x", [4, 9], [2])]
    ['min(x,4):n', 'between(x,4,9):n', 'n:over(x,9)', 'ceil(x/2):n']
    """
    split = []
    for term in terms:
        others = [atom for atom in term.atoms if atom != Atom(factor)]
        if len(others) == len(term.atoms):
            split.append(term)
            continue
        atoms = [*_segments(factor, breaks), *(Atom(factor, "ceil", float(tile)) for tile in tiles)]
        split += [Term(tuple(sorted((*others, atom), key=str))) for atom in atoms]
    return tuple(dict.fromkeys(split))


def _segments(factor: str, breaks: Sequence[float]) -> list[Atom]:
    if not breaks:
        return [Atom(factor)]
    inner = [Atom(factor, "between", (float(a), float(b))) for a, b in itertools.pairwise(breaks)]
    return [Atom(factor, "min", float(breaks[0])), *inner, Atom(factor, "over", float(breaks[-1]))]


@dataclass(frozen=True)
class Products:
    """Cross products of all columns that any split needs.

    Columns: terms without the factor, then for each cofactor z of a term with it z*x, z*over(x, t) for each
    possible break t, and z*ceil(x/T) for each possible tile T.
    """

    gram: Array
    moment: Array
    plain: int
    cofactors: int
    breaks: tuple[float, ...]
    tiles: tuple[float, ...]

    @classmethod
    def of(
        cls,
        terms: Sequence[Term],
        factor: str,
        cells: Cells,
        weights: Array | None,
        breaks: tuple[float, ...] = (),
    ) -> Products | None:
        """With these possible breaks; None where no term holds the factor itself."""
        plain = [t for t in terms if Atom(factor) not in t.atoms]
        cofactors = [Term(tuple(a for a in t.atoms if a != Atom(factor))) for t in terms if Atom(factor) in t.atoms]
        if not cofactors:
            return None
        x = np.asarray(cells.levels[factor], float)
        tiles = possible_tiles(x)
        parts = [x, *(np.maximum(x - t, 0.0) for t in breaks), *(np.ceil(x / tile) for tile in tiles)]
        z = design(cofactors, cells.levels)
        columns = [design(plain, cells.levels)] if plain else []
        columns += [z[:, [k]] * np.column_stack(parts) for k in range(len(cofactors))]
        root = np.sqrt(weights) if weights is not None else np.ones(len(cells))
        a = np.hstack(columns) * (root / cells.mean)[:, None]
        return cls(a.T @ a, a.T @ root, len(plain), len(cofactors), breaks, tiles)

    def best_breaks(self, count: int, tiles: tuple[float, ...]) -> _Shape:
        """The breaks with least loss, all combinations considered."""
        picks = combinations(len(self.breaks), count)
        at = self._best(np.hstack([1 + picks, self._tile_places(tiles, len(picks))]), count)
        return tuple(self.breaks[k] for k in picks[at]), tiles

    def best_tiles(self, count: int, breaks: tuple[float, ...]) -> _Shape:
        """The tile sizes with least loss, all combinations considered."""
        picks = combinations(len(self.tiles), count)
        own = np.array([[1 + self.breaks.index(t) for t in breaks]] * len(picks), np.intp).reshape(len(picks), -1)
        at = self._best(np.hstack([own, 1 + len(self.breaks) + picks]), len(breaks))
        return breaks, tuple(self.tiles[k] for k in picks[at])

    def _tile_places(self, tiles: tuple[float, ...], rows: int) -> Index:
        first = 1 + len(self.breaks)
        return np.array([[first + self.tiles.index(t) for t in tiles]] * rows, np.intp).reshape(rows, -1)

    def _best(self, own: Index, breaks: int) -> int:
        """Number of the best of shapes, each a row of places of its breaks and tiles among a cofactor's columns.

        Exact search: without the signs a loss can only be smaller, so it bounds what is worth solving.
        """
        if len(own) == 1:
            return 0
        grams, moments = self._reduced(own, breaks)
        bounds = _unconstrained(grams, moments)
        best, least = 0, np.inf
        for k in np.argsort(bounds, kind="stable"):
            if bounds[k] >= least:
                break
            b = solve_products(grams[k], moments[k])
            loss = np.inf if b is None else float(b @ grams[k] @ b - 2.0 * b @ moments[k])
            if loss < least:
                best, least = int(k), loss
        return best

    def _reduced(self, own: Index, breaks: int) -> tuple[Array, Array]:
        """Cross products and moments of each shape's split terms, scaled to a unit diagonal."""
        places = self._places(own)
        split = self._split(breaks, own.shape[1] - breaks)
        grams = split.T @ self.gram[places[:, :, None], places[:, None, :]] @ split
        moments = self.moment[places] @ split
        norms = np.sqrt(np.maximum(np.einsum("kii->ki", grams), 1e-300))
        return grams / (norms[:, :, None] * norms[:, None, :]), moments / norms

    def _places(self, own: Index) -> Index:
        """Columns of the table that each shape takes: plain ones, then x, over(x, t) and tiles by cofactor."""
        width = 1 + len(self.breaks) + len(self.tiles)
        whole = np.hstack([np.zeros((len(own), 1), np.intp), own])
        parts = [whole + (self.plain + k * width) for k in range(self.cofactors)]
        plain = np.broadcast_to(np.arange(self.plain), (len(own), self.plain))
        return np.hstack([plain, *parts])

    def _split(self, breaks: int, tiles: int) -> Array:
        """Split columns as combinations of those taken: a segment is over(x, t) less over(x, next t)."""
        one = np.eye(1 + breaks + tiles)
        one[np.arange(1, breaks + 1), np.arange(breaks)] = -1.0
        whole = np.eye(self.plain + self.cofactors * len(one))
        for k in range(self.cofactors):
            mine = slice(self.plain + k * len(one), self.plain + (k + 1) * len(one))
            whole[mine, mine] = one
        return whole


@cache
def combinations(size: int, count: int) -> Index:
    """Every choice of `count` numbers below `size`, one a row.

    >>> combinations(3, 2).tolist(), combinations(3, 0).shape
    ([[0, 1], [0, 2], [1, 2]], (1, 0))
    """
    found = list(itertools.combinations(range(size), count))
    return np.array(found, np.intp).reshape(len(found), count)


def _unconstrained(grams: Array, moments: Array) -> Array:
    """Least loss of each problem without signs: -m' G^-1 m; infinite where G is singular."""
    try:
        lower = np.linalg.cholesky(grams)
        if np.min(np.einsum("kii->ki", lower)) ** 2 > ROUNDED:
            return np.asarray(-np.sum(np.linalg.solve(lower, moments[:, :, None])[:, :, 0] ** 2, axis=1))
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(grams)
    singular = values[:, 0] < SINGULAR_PRODUCTS * grams.shape[1]
    along = np.einsum("kij,ki->kj", vectors, moments)
    loss = -np.sum(along**2 / np.maximum(values, 1e-300), axis=1)
    return np.asarray(np.where(singular, np.inf, loss))


def possible_breaks(x: Array) -> tuple[float, ...]:
    """Levels with two others on either side; of many, some evenly spread over them.

    >>> possible_breaks(np.array([1.0, 2, 4, 8, 16, 32]))
    (4.0, 8.0)
    """
    levels = np.unique(x)[2:-2]
    levels = levels[levels > 0]
    if len(levels) > MOST_BREAKS_TRIED:
        levels = levels[np.unique(np.linspace(0, len(levels) - 1, MOST_BREAKS_TRIED).round().astype(int))]
    return tuple(levels.tolist())


def levels_near(x: Array, chosen: Sequence[float], tried: Sequence[float]) -> tuple[float, ...]:
    """Levels between the neighbours of each chosen break among those tried: where a finer search may look.

    >>> levels_near(np.arange(1.0, 20.0), [9.0], [3.0, 6.0, 9.0, 12.0])
    (7.0, 8.0, 9.0, 10.0, 11.0)
    """
    edges = (-np.inf, *tried, np.inf)
    inner = np.unique(x)[2:-2]
    near = set()
    for value in chosen:
        k = edges.index(value)
        span = inner[(inner > edges[k - 1]) & (inner < edges[k + 1])]
        near |= set(span[np.argsort(np.abs(span - value))[:MOST_BREAKS_TRIED]].tolist())
    return tuple(sorted(near))


def possible_tiles(x: Array) -> tuple[float, ...]:
    """Tile sizes that show: a fifth or more of the levels beyond one tile, three at least, are no multiple of it.

    >>> possible_tiles(2.0 ** np.arange(12)), possible_tiles(np.arange(8.0, 200.0, 8.0))
    ((), (16.0, 32.0, 64.0, 128.0))
    """
    levels = np.unique(x)
    between = {t: levels[levels > t] % t != 0 for t in TILES}
    return tuple(float(t) for t, off in between.items() if off.sum() >= 3 and off.mean() >= 0.2)
