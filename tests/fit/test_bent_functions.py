"""Breaks, tiles and rooflines that were planted are found again."""

import itertools

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements
from qmodel.fit.candidates import AffineCandidate
from qmodel.fit.cells import Cells
from qmodel.fit.families import bent_candidates
from qmodel.fit.least_squares import DEFAULT
from qmodel.fit.piecewise import PiecewiseCandidate, Products, possible_breaks, possible_tiles, split_terms
from qmodel.fit.roofline import MaxAffineCandidate
from qmodel.fit.table import Measurements
from qmodel.service.forms import Affine, MaxAffine, design
from qmodel.service.terms import Term

TOKENS = np.unique(np.concatenate([np.arange(1, 17), np.arange(16, 512, 16), np.arange(512, 4097, 96)])).astype(
    float
)


def terms(*texts):
    return tuple(Term.parse(text) for text in texts)


def cells(y, **levels):
    frame = pd.DataFrame(levels)
    return Cells.of(frame, list(levels), np.asarray(y, float))


def measured(y, **levels):
    frame = pd.DataFrame(levels).assign(latency_s=y)
    return Measurements(frame, "latency_s", tuple(levels))


def test_one_break_is_found_exactly():
    y = 1.0 + 0.001 * np.minimum(TOKENS, 128) + 0.01 * np.maximum(TOKENS - 128, 0)
    form = PiecewiseCandidate(terms("1", "tokens"), "tokens", 1, 0).fit(cells(y, tokens=TOKENS))
    assert form.labels == ("1", "min(tokens,128)", "over(tokens,128)")
    assert form.weights == pytest.approx((1.0, 0.001, 0.01), rel=1e-9)


def test_two_breaks_may_bend_either_way():
    x = TOKENS
    y = 1.0 + 0.01 * np.minimum(x, 64) + 0.05 * np.clip(x - 64, 0, 192) + 0.002 * np.maximum(x - 256, 0)
    form = PiecewiseCandidate(terms("1", "tokens"), "tokens", 2, 0).fit(cells(y, tokens=x))
    assert form.labels == ("1", "min(tokens,64)", "between(tokens,64,256)", "over(tokens,256)")
    assert form.weights == pytest.approx((1.0, 0.01, 0.05, 0.002), rel=1e-8)


@pytest.mark.parametrize("tile", [32, 128])
def test_tiles_and_a_break(tile):
    y = 2.0 + 0.004 * np.maximum(TOKENS - 256, 0) + 0.3 * np.ceil(TOKENS / tile)
    form = PiecewiseCandidate(terms("1", "tokens"), "tokens", 1, 1).fit(cells(y, tokens=TOKENS))
    found = {label: weight for label, weight in zip(form.labels, form.weights, strict=True) if weight > 1e-9}
    assert found == pytest.approx({"1": 2.0, "over(tokens,256)": 0.004, f"ceil(tokens/{tile})": 0.3}, rel=1e-6)


def test_a_break_in_a_product():
    grid = np.array(list(itertools.product(TOKENS[::6], [1.0, 2.0, 4.0])))
    x, n = grid.T
    y = 0.5 + 0.01 * n * np.minimum(x, TOKENS[24]) + 0.001 * n * np.maximum(x - TOKENS[24], 0) + 0.1 * n
    form = PiecewiseCandidate(terms("1", "n", "n:tokens"), "tokens", 1, 0).fit(cells(y, tokens=x, n=n))
    assert set(form.labels) == {"1", "n", f"min(tokens,{TOKENS[24]:g}):n", f"n:over(tokens,{TOKENS[24]:g})"}
    assert form.evaluate({"tokens": x, "n": n}) == pytest.approx(y, rel=1e-8)


def test_cross_products_of_splits_equal_those_of_the_split_terms():
    rng = np.random.default_rng(1)
    y = (1 + 0.01 * TOKENS) * rng.lognormal(0, 0.1, len(TOKENS))
    c, weights = cells(y, tokens=TOKENS), rng.uniform(0.5, 2, len(TOKENS))
    table = Products.of(terms("1", "tokens"), "tokens", c, weights, possible_breaks(TOKENS))
    breaks, tiles = (table.breaks[3], table.breaks[9]), (table.tiles[1],)
    own = np.array([[1 + 3, 1 + 9, 1 + len(table.breaks) + 1]])
    place, split = table._places(own)[0], table._split(2, 1)
    x = (
        design(split_terms(terms("1", "tokens"), "tokens", breaks, tiles), c.levels)
        * (np.sqrt(weights) / y)[:, None]
    )
    np.testing.assert_allclose(split.T @ table.gram[np.ix_(place, place)] @ split, x.T @ x, rtol=1e-9)
    np.testing.assert_allclose(table.moment[place] @ split, x.T @ np.sqrt(weights), rtol=1e-9)


def test_what_cannot_be_bent():
    few = cells([1.0, 2, 3, 4], n=[1.0, 2, 3, 4])
    assert PiecewiseCandidate(terms("1", "n"), "n", 1, 0).fit(few) is None
    assert PiecewiseCandidate(terms("1"), "n", 1, 0).fit(few) is None
    assert possible_breaks(np.array([1.0, 2, 3])) == ()
    assert len(possible_breaks(np.arange(1.0, 500))) == 32
    assert possible_tiles(2.0 ** np.arange(12)) == ()
    candidate = PiecewiseCandidate(terms("1", "n"), "n", 2, 1)
    assert (candidate.form, candidate.searched, candidate.degree) == ("2 breaks and tiles", 3, 1)
    assert candidate.label == "1 + n, 2 breaks and tiles in n"


def test_roofline_of_two_pieces():
    y = np.maximum(1.0 + 0.001 * TOKENS, 0.2 + 0.004 * TOKENS)
    form = MaxAffineCandidate(terms("1", "tokens"), 2).fit(cells(y, tokens=TOKENS))
    found = sorted(piece.weights for piece in form.pieces)
    assert found == [pytest.approx((0.2, 0.004), rel=1e-7), pytest.approx((1.0, 0.001), rel=1e-7)]


def test_roofline_in_two_factors():
    """Bandwidth: 16 + 0.01 h; compute: 0.1 p + 0.0001 p h."""
    grid = np.array(
        list(itertools.product(2.0 ** np.arange(4, 12), np.concatenate([[0], 2.0 ** np.arange(4, 14)])))
    )
    p, h = grid.T
    y = np.maximum(16 + 0.01 * h, 0.1 * p + 1e-4 * p * h)
    form = MaxAffineCandidate(terms("1", "p", "h", "h:p"), 2).fit(cells(y, p=p, h=h))
    np.testing.assert_allclose(form.evaluate({"p": p, "h": h}), y, rtol=1e-6)
    assert {piece.labels for piece in form.pieces} == {("1", "h"), ("p", "h:p")}


def test_roofline_of_three_pieces_with_noise():
    rng = np.random.default_rng(2)
    x = np.geomspace(1, 10_000, 90)
    y = np.maximum.reduce([np.full(90, 1.0), 0.5 + 0.01 * x, 0.02 * x - 15]) * rng.lognormal(0, 0.005, 90)
    candidate = MaxAffineCandidate(terms("1", "x"), 3)
    form = candidate.fit(cells(y, x=x))
    assert np.median(np.abs(form.evaluate({"x": x}) / y - 1)) < 0.01
    assert (candidate.searched, candidate.degree, candidate.label) == (2, 3, "max of 3: 1 + x")
    assert candidate.fit(cells(y[:5], x=x[:5])) is None


def test_a_straight_truth_is_not_bent():
    rng = np.random.default_rng(3)
    x = np.repeat(TOKENS[::4], 3)
    y = (1 + 0.01 * x) * rng.lognormal(0, 0.02, len(x))
    assert bent_candidates([terms("1", "tokens")], cells(y, tokens=x), ["tokens"], ["piecewise"], DEFAULT) == []
    single = 1 + 0.01 * TOKENS * rng.lognormal(0, 0.02, len(TOKENS))
    chosen = [
        fit_measurements(
            measured(1 + 0.01 * TOKENS * np.random.default_rng(s).lognormal(0, 0.02, len(TOKENS)), tokens=TOKENS),
            analysis=False,
        )
        for s in range(6)
    ]
    assert sum(isinstance(r.model.form, Affine) and r.model.form.labels == ("1", "tokens") for r in chosen) >= 4
    assert AffineCandidate(terms("1", "tokens")).fit(cells(single, tokens=TOKENS)) is not None


@pytest.fixture(scope="module")
def roof():
    rng = np.random.default_rng(4)
    x = np.repeat(np.unique(np.geomspace(8, 8192, 30).round()), 3)
    y = np.maximum(0.5, 0.1 + 0.002 * x) * rng.lognormal(0, 0.01, len(x))
    return fit_measurements(measured(y, tokens=x))


def test_a_planted_roofline_is_chosen(roof):
    grid = np.geomspace(8, 8192, 50)
    truth = np.maximum(0.5, 0.1 + 0.002 * grid)
    np.testing.assert_allclose(roof.model.predict({"tokens": grid}), truth, rtol=0.03)
    low, high = roof.model.interval({"tokens": grid})
    assert np.mean((low <= truth) & (truth <= high)) > 0.7
    assert len(roof.model.form.coefficients) <= 4
    assert set(roof.candidates["form"]) >= {"affine", "1 break", "2 breaks", "max-affine"}


def test_words_of_a_bent_function(roof):
    assert "max(" in roof.summary() or "tokens" in roof.summary()
    assert r"\max" in roof.to_latex()
    assert roof.diagnostics["coefficient_moves"] == {} or isinstance(roof.model.form, Affine)


def test_a_break_that_one_level_moves_is_not_identified():
    """A bend between 10 and 40 rests on the level 20 alone: without it, it moves."""
    x = np.array([1.0, 2, 3, 4, 6, 8, 10, 20, 40, 41, 42, 43, 44])
    y = 1.0 + 0.1 * np.maximum(x - 20, 0) + 0.003 * np.sin(9 * x)
    result = fit_measurements(measured(y, n=x), analysis=False, forms=["piecewise"])
    assert "over(n,20)" in result.model.form.labels
    assert "The break of n at 20 moves to" in " ".join(result.warnings)
    clear = np.linspace(1, 44, 44)
    sharp = fit_measurements(
        measured(1 + 0.1 * np.maximum(clear - 20, 0), n=clear), analysis=False, forms=["piecewise"]
    )
    assert "over(n,20)" in sharp.model.form.labels and "break" not in " ".join(sharp.warnings)


def test_forms_can_be_limited():
    x = np.unique(np.geomspace(8, 8192, 30).round())
    y = np.maximum(0.5, 0.1 + 0.002 * x)
    straight = fit_measurements(measured(y, tokens=x), forms=["affine"], analysis=False)
    assert set(straight.candidates["form"]) == {"affine"}
    roof = fit_measurements(measured(y, tokens=x), forms=["affine", "max-affine"], analysis=False)
    assert isinstance(roof.model.form, MaxAffine) and "1 break" not in set(roof.candidates["form"])
    with pytest.raises(InputError, match="forms: 'spline' is unknown; known: affine, max-affine, piecewise"):
        fit_measurements(measured(y, tokens=x), forms=["spline"])


def test_very_many_cells_are_sampled():
    rng = np.random.default_rng(5)
    x = np.arange(1.0, 5001.0)
    result = fit_measurements(measured((1 + 0.01 * x) * rng.lognormal(0, 0.05, len(x)), tokens=x), analysis=False)
    assert result.search.sampled == 3000
    assert any("chosen on a random 3000 of 5000 cells" in text for text in result.warnings)
    assert result.model.predict({"tokens": 1000}) == pytest.approx(11, rel=0.02)
