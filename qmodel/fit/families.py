"""Which bent functions are worth trying, given the best straight ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qmodel.fit.candidates import AffineCandidate, Candidate
from qmodel.fit.cells import Cells
from qmodel.fit.least_squares import Fitting
from qmodel.fit.piecewise import PiecewiseCandidate, possible_tiles
from qmodel.fit.roofline import MaxAffineCandidate
from qmodel.fit.uncertainty import lack_of_fit
from qmodel.service.terms import Atom, Term

LEVELS_TO_BEND = 6
"""A factor with fewer levels cannot show where it bends."""

WORTHWHILE = 0.95
"""A bend must take at least a twentieth off the error in sample before it is judged by left-out levels."""

MOST_OF_A_KIND = 2
"""How many functions of a kind, those with the least error in sample, are judged by left-out levels."""

BENDS = ((1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (2, 2))
"""Numbers of breaks and tiles that are tried."""


def bent_candidates(
    bases: Sequence[tuple[Term, ...]],
    cells: Cells,
    numeric: Sequence[str],
    forms: Sequence[str],
    how: Fitting,
    curves: Sequence[Candidate] = (),
) -> list[Candidate]:
    """Piecewise, tiled and max-affine versions of `bases`, and `curves`, that fit visibly better than `bases`.

    None where the first of `bases` already fits to within the replicates' noise.
    """
    if not bases or _fits(bases[0], cells, how):
        return []
    least = WORTHWHILE * min(spread(AffineCandidate(terms), cells, how) for terms in bases)
    bent = [*_all_bent(bases, cells, numeric, forms), *(c for c in curves if c.form != "table")]
    measured = sorted((spread(c, cells, how), k) for k, c in enumerate(bent))
    taken: dict[str, list[Candidate]] = {}
    for error, k in measured:
        if error < least and len(taken.setdefault(bent[k].form, [])) < MOST_OF_A_KIND:
            taken[bent[k].form].append(bent[k])
    return [c for kind in taken.values() for c in kind]


def spread(candidate: Candidate, cells: Cells, how: Fitting) -> float:
    """Root mean square relative error in sample, its parameters allowed for; infinite where it cannot be fitted."""
    form = candidate.fit(cells, None, how)
    if form is None:
        return float("inf")
    error = form.evaluate(cells.levels) / cells.mean - 1.0
    left = len(cells) - np.count_nonzero(form.coefficients) - candidate.searched
    return float(np.sqrt(np.sum(error**2 * np.ones(len(cells))) / left)) if left > 0 else float("inf")


def _all_bent(
    bases: Sequence[tuple[Term, ...]], cells: Cells, numeric: Sequence[str], forms: Sequence[str]
) -> list[Candidate]:
    straight = list(dict.fromkeys(_without_powers(terms) for terms in bases))
    found: list[Candidate] = []
    for name in numeric:
        if len(np.unique(cells.levels[name])) < LEVELS_TO_BEND:
            continue
        tiled = possible_tiles(np.asarray(cells.levels[name], float))
        for terms in straight:
            if "piecewise" in forms and any(Atom(name) in term.atoms for term in terms):
                bends = [(b, t) for b, t in BENDS if len(tiled) >= t]
                found += [PiecewiseCandidate(terms, name, breaks, tiles) for breaks, tiles in bends]
            if "max-affine" in forms and tiled:
                found += [MaxAffineCandidate(terms, 2, name, tiles) for tiles in (1, 2) if len(tiled) >= tiles]
    if "max-affine" in forms:
        roofs = dict.fromkeys([*straight, *(terms for terms in bases if len(terms) <= 6)])
        found += [MaxAffineCandidate(terms, pieces) for terms in roofs for pieces in (2, 3) if len(terms) > 1]
    return found


def _fits(terms: tuple[Term, ...], cells: Cells, how: Fitting) -> bool:
    """Whether a straight function leaves nothing but replicate noise."""
    form = AffineCandidate(terms).fit(cells, None, how)
    if form is None:
        return False
    test = lack_of_fit(form.evaluate(cells.levels) * np.ones(len(cells)), cells, len(terms))
    return test is not None and test.p >= 0.05


def _without_powers(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Squares replaced by the factor itself: breaks do their work."""
    plain = (Term(tuple(Atom(a.factor) if a.kind == "power" else a for a in term.atoms)) for term in terms)
    return tuple(dict.fromkeys(plain))
