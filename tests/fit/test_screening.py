import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from qmodel.fit.candidates import AffineCandidate, basis, by_group, degree
from qmodel.fit.cells import Cells
from qmodel.fit.folds import level_folds
from qmodel.fit.least_squares import solve
from qmodel.fit.screening import EXHAUSTIVE, screen, solve_each
from qmodel.service.forms import design
from qmodel.service.terms import Atom, Term


@pytest.fixture
def cells():
    rng = np.random.default_rng(3)
    pairs = list(itertools.product((5.0, 10.0, 20.0, 50.0), (1.0, 2.0, 8.0, 16.0)))
    frame = pd.DataFrame(pairs, columns=["steps", "batch_size"])
    y = (0.002 + 0.0003 * frame.steps + 0.0002 * frame.steps * frame.batch_size) * rng.lognormal(
        0, 0.05, len(frame)
    )
    return Cells.of(frame, ["batch_size", "steps"], y.to_numpy())


def test_basis(cells):
    assert [str(t) for t in basis(cells, ["batch_size", "steps"])] == [
        *("batch_size", "steps", "batch_size:steps", "batch_size^2", "steps^2"),
        *("batch_size:steps^2", "batch_size^2:steps"),
    ]
    assert [str(t) for t in basis(cells, ["batch_size", "steps"], order=1)] == [
        *("batch_size", "steps", "batch_size^2", "steps^2"),
    ]
    few = cells.take(cells.levels["steps"] < 50)
    assert "steps^2" not in {str(t) for t in basis(few, ["batch_size", "steps"])}


def test_degree_and_groups():
    assert degree(Term.parse("a^2:b:c[x]")) == 4
    groups = [(Atom("g", "is", "x"),), (Atom("g", "is", "y"),)]
    assert [str(t) for t in by_group([Term(), Term.parse("n")], groups)] == ["g[x]", "g[x]:n", "g[y]", "g[y]:n"]


def test_errors_from_cross_products_equal_refits(cells):
    """Every candidate's fold errors, against fitting without the fold and predicting it."""
    folds = level_folds(cells, ["batch_size", "steps"])
    screened = screen(basis(cells, ["batch_size", "steps"]), cells, folds)
    assert len(screened) == 2**7
    for candidate in screened[::9]:
        x = design(candidate.terms, cells.levels) / cells.mean[:, None]
        for fold, error in zip(folds, candidate.fold_errors, strict=True):
            b = solve(x[~fold.test], np.ones((~fold.test).sum()), np.ones((~fold.test).sum()))
            assert error == pytest.approx(np.sqrt(np.mean((x[fold.test] @ b - 1) ** 2)), rel=1e-6)
    assert [c.score for c in screened] == sorted(c.score for c in screened)


def test_groups_are_fitted_apart(cells):
    """Two devices, one twice as slow with another constant: fitted apart the errors are those of each alone."""
    group = np.repeat([0, 1], len(cells))
    both = Cells(
        {name: np.tile(v, 2) for name, v in cells.levels.items()},
        np.concatenate([cells.mean, 2 * cells.mean]),
        np.tile(cells.count, 2),
        cells.noise,
        cells.row_cell,
        np.tile(cells.mean_variance, 2),
        cells.mean_freedom,
    )
    names = ["batch_size", "steps"]
    one = screen(basis(cells, names), cells, level_folds(cells, names))
    two = screen(basis(both, names), both, level_folds(both, names), group)
    np.testing.assert_allclose([c.score for c in two], [c.score for c in one], rtol=1e-9)


def test_beam_search_finds_what_is_there():
    rng = np.random.default_rng(5)
    levels = (1.0, 2.0, 4.0, 8.0)
    frame = pd.DataFrame(list(itertools.product(levels, levels, levels)), columns=["a", "b", "c"])
    y = (1.0 + 0.5 * frame.a * frame.b + 0.25 * frame.c**2 * frame.a).to_numpy() * rng.lognormal(
        0, 0.001, len(frame)
    )
    cells = Cells.of(frame, ["a", "b", "c"], y)
    terms = basis(cells, ["a", "b", "c"])
    assert len(terms) > EXHAUSTIVE
    best = screen(terms, cells, level_folds(cells, ["a", "b", "c"]))[0]
    assert {"1", "a:b", "a:c^2"} <= {str(t) for t in best.terms}
    assert best.score < 0.002


def test_aliased_terms_are_no_candidates():
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": [2.0, 4, 6, 8, 10]})
    cells = Cells.of(frame, ["a", "b"], np.array([1.0, 2, 3, 4, 5]))
    screened = screen([Term.parse("a"), Term.parse("b")], cells, level_folds(cells, ["a", "b"]))
    assert [len(c.terms) for c in screened] == [2, 2, 1]


def test_candidate_without_information(cells):
    candidate = AffineCandidate((Term(), Term.parse("steps"), Term.parse("steps^2")))
    assert candidate.fit(cells.take(cells.levels["steps"] == 5)) is None
    assert candidate.label == "1 + steps + steps^2" and candidate.searched == 0 and candidate.degree == 3


def test_many_problems_at_once_are_solved_as_one_by_one():
    """Signs that bind, signs that do not, and a problem that is singular."""
    rng = np.random.default_rng(4)
    x = rng.random((30, 40, 3)) ** 3
    x[7, :, 2] = 2.0 * x[7, :, 0]
    y = x @ np.array([0.5, 1.0, 0.2]) - rng.random((30, 40))
    grams, moments = np.einsum("kri,krj->kij", x, x), np.einsum("kri,kr->ki", x, y)
    found = solve_each(grams, moments)
    assert np.isnan(found[7]).all()
    bound = 0
    for k in (k for k in range(30) if k != 7):
        expected = nnls(x[k], y[k])[0]
        bound += np.any(expected == 0.0)
        np.testing.assert_allclose(found[k], expected, rtol=1e-8, atol=1e-12)
    assert 0 < bound < 29
