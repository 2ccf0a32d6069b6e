"""Candidate service-time functions: which terms may be tried, and how each is fitted to cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qmodel.fit.cells import Array, Cells
from qmodel.fit.least_squares import DEFAULT, Fitting, fit_coefficients, identifiable
from qmodel.fit.treatments import Groups
from qmodel.service.forms import Affine, Form, design
from qmodel.service.terms import Atom, Term

CONSTANT = Term()


class Candidate(Protocol):
    """One function that could be chosen."""

    @property
    def form(self) -> str:
        """Name of its form, as users read it: affine, hinge, max-affine ..."""

    @property
    def label(self) -> str:
        """Its terms."""

    @property
    def searched(self) -> int:
        """Parameters found by search rather than by least squares, such as breaks."""

    @property
    def degree(self) -> float:
        """Total power of its terms: of two candidates of one size, the simpler."""

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> Form | None:
        """Fitted to `cells`, or None where they do not determine it."""


@dataclass(frozen=True)
class AffineCandidate:
    """A sum of given terms, the constant included."""

    terms: tuple[Term, ...]
    form: str = "affine"

    @property
    def label(self) -> str:
        """`1 + steps + batch_size:steps`."""
        return " + ".join(str(term) for term in self.terms)

    @property
    def searched(self) -> int:
        """None."""
        return 0

    @property
    def degree(self) -> float:
        """Sum of the terms' powers."""
        return float(sum(map(degree, self.terms)))

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> Affine | None:
        """Non-negative least squares with relative loss."""
        x = design(self.terms, cells.levels)
        if not identifiable(x, 1.0 / cells.mean):
            return None
        b = fit_coefficients(x, cells.mean, weights, how)
        return Affine(self.terms, tuple(float(c) for c in b))


@dataclass(frozen=True)
class GroupedCandidate:
    """The same terms fitted apart in each group of cells, such as each device.

    A group whose cells do not determine the terms is left out, and predicted as 0, which means "no prediction".
    """

    terms: tuple[Term, ...]
    groups: Groups
    form: str = "affine by group"

    @property
    def label(self) -> str:
        """`(1 + steps) by device`."""
        names = dict.fromkeys(atom.factor for atom in self.groups.atoms[0])
        return f"({' + '.join(map(str, self.terms))}) by {', '.join(names)}"

    @property
    def searched(self) -> int:
        """None."""
        return 0

    @property
    def degree(self) -> float:
        """Sum of the terms' powers."""
        return float(sum(map(degree, self.terms)))

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> Affine | None:
        """Each group on its own; None where none can be fitted."""
        parts = []
        for atoms in self.groups.atoms:
            mine = np.all([atom(cells.levels) > 0 for atom in atoms], axis=0)
            if not mine.any():
                continue
            part = AffineCandidate(self.terms).fit(
                cells.take(mine), None if weights is None else weights[mine], how
            )
            if part is not None:
                parts.append((by_group(self.terms, [atoms]), part.weights))
        if not parts:
            return None
        return Affine(sum((terms for terms, _ in parts), ()), sum((w for _, w in parts), ()))


def basis(cells: Cells, numeric: Sequence[str], order: int = 3) -> list[Term]:
    """Products of up to `order` factors; one of them may be squared if it has four levels or more.

    Ordered from simple to involved; the constant is not in it. Terms that the cells cannot tell from earlier
    ones (a factor that moves with another, a square of a factor with too few levels) are still in it.
    """
    terms = []
    for names in subsets(numeric, min(order, 3 if len(numeric) <= 4 else 2)):
        plain = tuple(Atom(name) for name in names)
        terms.append(_term(plain))
        for name in names:
            if len(np.unique(cells.levels[name])) >= 4:
                squared = tuple(Atom(n, "power", 2) if n == name else Atom(n) for n in names)
                terms.append(_term(squared))
    return sorted(terms, key=lambda term: (degree(term), str(term)))


def subsets(names: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """Non-empty subsets of at most `order` names, small ones first.

    >>> subsets(["a", "b"], 2)
    [('a',), ('b',), ('a', 'b')]
    """
    return [s for size in range(1, order + 1) for s in itertools.combinations(names, size)]


def degree(term: Term) -> int:
    """Total power of a term, 1 for each atom that is no power.

    >>> degree(Term.parse("a^2:b")), degree(Term())
    (3, 0)
    """
    return sum(int(str(atom.argument)) if atom.kind == "power" else 1 for atom in term.atoms)


def by_group(terms: Sequence[Term], groups: Sequence[tuple[Atom, ...]]) -> tuple[Term, ...]:
    """Each term once for each group: `steps` becomes `device[A]:steps`, `device[B]:steps` and so on."""
    return tuple(_term((*term.atoms, *group)) for group in groups for term in terms)


def _term(atoms: Sequence[Atom]) -> Term:
    return Term(tuple(sorted(atoms, key=str)))
