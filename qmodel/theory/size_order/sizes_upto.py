"""Sizes up to a time t as quadrature nodes, dense enough for exp(-theta x) along a contour of inversion.

Panels end at quantiles of each component of the law, at its atoms, and at `pieces` equal parts of t, so that
E[g(S); S < x] is known at every node x for any g that turns no faster than exp(-i pi x k / t), k up to
about 4 `pieces`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.theory.numerics.panels import Panels
from qmodel.theory.numerics.sizes import components
from qmodel.theory.numerics.transforms import arrays_of as arrays_of
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Columns = NDArray[Any]

LOWER, UPPER = (1e-5, 1e-3, 0.03, 0.2, 0.5), (0.2, 0.05, 5e-3, 1e-4, 1e-6, 1e-9, 1e-12)
"""Panels end where smaller, and larger, sizes of a component have these probabilities."""
WIDEST = 1e300
APART = 1e-9
"""Ends of panels nearer to the last one than this, relatively, are left out."""
MOST_ATOMS = 256
"""More values than this below t are put in cells of equal probability, each with its mean size."""


def marks_of(laws: Iterable[Distribution]) -> frozenset[float]:
    """Where panels end for these laws: quantiles, and ends of support, of each component.

    Components of much the same width share their panels: of the quantiles, so many are left that no panel is
    wider, in log x, than the narrowest that one of the components has there.
    """
    parts = {part for law in laws for part in components(law) if not part.atoms()}
    kinds = [np.array(found) for part in parts if (found := _quantiles(part))]
    hard = {end for part in parts for end in part.support()}
    return frozenset(_thinned(kinds, hard)) if kinds else frozenset()


@lru_cache(maxsize=1024)
def _quantiles(law: Distribution) -> tuple[float, ...]:
    """Of a law without atoms, with the ends of its support, increasing."""
    found = {*law.quantile(np.array(LOWER)).tolist(), *law.support(), *law.upper_quantile(np.array(UPPER)).tolist()}
    return tuple(sorted(mark for mark in found if 0 < mark < math.inf))


def _thinned(kinds: Sequence[Floats], hard: Collection[float]) -> list[float]:
    """Of all marks those that leave no panel wider than any kind has there, and the hard ones."""
    marks = np.unique(np.concatenate(kinds))
    logs = np.log(marks)
    widest = np.full(len(marks) - 1, math.inf)
    for kind in kinds:
        own = np.log(kind)
        width = np.concatenate(([math.inf], np.diff(own), [math.inf]))
        widest = np.minimum(widest, width[np.searchsorted(own, 0.5 * (logs[1:] + logs[:-1]))])
    kept, begin, width_here = [0], logs[0], math.inf
    for i, width_next in enumerate(widest.tolist()):
        if logs[i + 1] - begin > min(width_here, width_next) * (1.0 + APART):
            kept.append(i)
            begin, width_here = logs[i], math.inf
        width_here = min(width_here, width_next)
        if marks[i + 1] in hard:
            kept.append(i + 1)
            begin, width_here = logs[i + 1], math.inf
    return [float(mark) for mark in marks[sorted({*kept, len(marks) - 1})]]


@dataclass(frozen=True)
class SizesUpto:
    """Nodes and atoms up to `reach`: `x` holds the nodes, increasing, then the atoms, increasing."""

    law: Distribution
    panels: Panels | None
    atoms: Floats
    masses: Floats
    ends: Floats
    """Largest value of the cell that each atom stands for."""
    spread: NDArray[np.bool_]
    """Whether an atom stands for several values: half of them count as smaller."""

    @classmethod
    def of(
        cls,
        law: Distribution,
        marks: Iterable[float],
        atoms: tuple[Floats, Floats],
        reach: float,
        even: tuple[float, float],
        order: int = 10,
    ) -> SizesUpto:
        """Panels that end at the marks and atoms below `reach`, and there; `even`: longest one, and up to where."""
        values, masses = atoms
        discrete = masses.sum() > 1.0 - 1e-12
        seen = int(np.searchsorted(values, reach * (1 + 1e-12), side="right"))
        cells = _in_cells(values[:seen], masses[:seen], marks)
        values = cells[0]
        if discrete:
            return cls(law, None, *cells)
        inner = {mark for mark in (*marks, *values.tolist()) if mark < reach * (1 - APART)}
        ends = _split(np.array(sorted({0.0, *inner, min(reach, even[1]), reach})), *even)
        return cls(law, Panels.through(set(ends.tolist()), WIDEST, order), *cells)

    @cached_property
    def nodes(self) -> Floats:
        """Gauss nodes of all panels."""
        return np.empty(0) if self.panels is None else self.panels.nodes

    @cached_property
    def x(self) -> Floats:
        """Nodes, then atoms."""
        return np.concatenate((self.nodes, self.atoms))

    @cached_property
    def density(self) -> Floats:
        """Density of the law at the nodes."""
        return np.asarray(self.law.pdf(self.nodes))

    def weights(self, law: Distribution) -> Floats:
        """Weights w with E[g(S); S <= reach] = sum w g(x) for S of this law, a part of `self.law`."""
        width = np.empty(0) if self.panels is None else self.panels.weights
        mass = self.masses if law is self.law else _masses_in(self.ends, law)
        density = self.density if law is self.law else law.pdf(self.nodes)
        return np.concatenate((density * width, mass))

    def cumulative(self, values: Columns) -> tuple[Columns, Columns]:
        """E[g(S); S < x] and E[g(S); S <= x] at each x, from g(x), one function a column."""
        smooth, at_atoms = self.integral(values[: len(self.nodes)] * self.density[:, None])
        if not len(self.atoms):
            return smooth, smooth
        steps = np.cumsum(self.masses[:, None] * values[len(self.nodes) :], axis=0)
        steps = np.concatenate((np.zeros_like(values[:1]), steps))
        here = smooth + steps[np.searchsorted(self.atoms, self.nodes)]
        half = np.where(self.spread[:, None], 0.5 * (steps[1:] - steps[:-1]), 0.0)
        below, upto = at_atoms + steps[:-1] + half, at_atoms + steps[1:] - half
        return np.concatenate((here, below)), np.concatenate((here, upto))

    @cached_property
    def larger(self) -> Floats:
        """P(S > x) at each x."""
        out = np.asarray(self.law.sf(self.x))
        if self.spread.any():
            atoms = self.law.sf(self.ends) + 0.5 * self.masses
            out[len(self.nodes) :] = np.where(self.spread, atoms, out[len(self.nodes) :])
        return out

    def integral(self, values: Columns) -> tuple[Columns, Columns]:
        """Integrals over x from 0 to each node and to each atom, of functions given at the nodes."""
        if self.panels is None:
            return values, np.zeros((len(self.atoms), values.shape[-1]))
        at_nodes, at_edges = self.panels.columns(values)
        at_edges = np.concatenate((np.zeros_like(at_edges[:1]), at_edges))
        places = np.searchsorted(self.panels.edges * (1 - 2.0 * APART), self.atoms, side="right")
        return at_nodes, at_edges[places]

    def along(self, values: Columns) -> Columns:
        """Integrals over x from 0 to each x, of what is given at each x-."""
        if self.panels is None:
            before = np.concatenate((values[:1], values[:-1]))
            spread = np.append(False, self.spread[:-1])[:, None]
            middle = 0.5 * (values + np.where(spread, before, values))
            return np.cumsum(np.diff(self.atoms, prepend=0.0)[:, None] * middle, axis=0)
        return np.concatenate(self.integral(values[: len(self.nodes)]))


def _split(ends: Floats, longest: float, upto: float) -> Floats:
    """These ends, `upto` among them, and more where panels below it would be longer than `longest`."""
    width = np.diff(ends)
    pieces = np.where(ends[:-1] < upto, np.maximum(np.ceil(width / longest - 1e-9), 1.0), 1.0).astype(int)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    part = (np.arange(len(first)) - first + 1) / np.repeat(pieces, pieces)
    return np.asarray(np.repeat(ends[:-1], pieces) + part * np.repeat(width, pieces))


def _in_cells(
    values: Floats, masses: Floats, marks: Iterable[float] = ()
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Mean, mass and largest value of each cell, and whether it holds several values.

    Up to MOST_ATOMS values are cells by themselves; more make cells of equal mass that end at `marks`, and the
    largest values stay alone.
    """
    if len(values) <= MOST_ATOMS:
        return values, masses, values, np.zeros(len(values), dtype=bool)
    cells = (np.cumsum(masses) / masses.sum() * MOST_ATOMS).astype(int)
    cells += np.searchsorted(np.sort(np.fromiter(marks, float)), values)
    alone = np.arange(len(values)) >= len(values) - MOST_ATOMS // 8
    starts = np.flatnonzero(np.append(True, (np.diff(cells) > 0) | alone[1:]))
    mass = np.add.reduceat(masses, starts)
    means = np.add.reduceat(masses * values, starts) / mass
    ends = np.append(starts[1:], len(values))
    return means, mass, values[ends - 1], ends - starts > 1


def _masses_in(ends: Floats, law: Distribution) -> Floats:
    """Mass of the law in each cell."""
    values, masses = arrays_of(law)
    cells = np.searchsorted(ends * (1 + 1e-12), values)
    return np.asarray(np.bincount(cells, masses, minlength=len(ends) + 1)[: len(ends)], dtype=float)


@lru_cache(maxsize=16)
def cells_of(law: Distribution) -> tuple[Floats, Floats]:
    """Mean sizes and masses of at most about MOST_ATOMS cells of a law of values."""
    return _in_cells(*arrays_of(law))[:2]
