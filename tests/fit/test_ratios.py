import numpy as np
import pandas as pd
import pytest

from qmodel.fit.cells import Cells
from qmodel.fit.ratios import estimate


def make(rows, noise=0.0, seed=0, replicates=1):
    frame = pd.DataFrame(rows * replicates, columns=["n", "pacing", "y"])
    y = frame["y"].to_numpy() * np.random.default_rng(seed).lognormal(0, noise, len(frame))
    return Cells.of(frame, ["n", "pacing"], y)


def test_exact_ratios_in_an_unbalanced_design():
    """The base function is left open: 7, 1 and 30 for n = 1, 2, 3; the third level was measured at n = 3 alone."""
    rows = [(1.0, "a", 7.0), (1.0, "b", 6.3), (2.0, "a", 1.0), (3.0, "b", 27.0), (3.0, "c", 60.0)]
    scaling = estimate(make(rows), "pacing", "a")
    assert scaling.ratios == pytest.approx({"a": 1.0, "b": 0.9, "c": 2.0}, rel=1e-12)
    assert scaling.p_constant is None
    np.testing.assert_allclose(scaling.of(make(rows)), [1, 0.9, 1, 0.9, 2], rtol=1e-12)


def test_unmatched_levels_have_no_ratio():
    assert estimate(make([(1.0, "a", 7.0), (2.0, "b", 6.0)]), "pacing", "a") is None


def test_no_other_factor():
    frame = pd.DataFrame({"pacing": ["a", "b"]})
    scaling = estimate(Cells.of(frame, ["pacing"], np.array([2.0, 3.0])), "pacing", "a")
    assert scaling.ratios == pytest.approx({"a": 1.0, "b": 1.5})


def test_constancy_holds_at_its_level():
    rows = [(float(n), p, n * r) for n in range(1, 7) for p, r in (("a", 1.0), ("b", 0.97))]
    p = [estimate(make(rows, 0.01, seed, 4), "pacing", "a").p_constant for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.10


def test_a_ratio_that_varies_is_found():
    rows = [
        (float(n), p, n * (r + 0.02 * n * (p == "b"))) for n in range(1, 7) for p, r in (("a", 1.0), ("b", 0.97))
    ]
    scaling = estimate(make(rows, 0.01, 0, 4), "pacing", "a")
    assert scaling.p_constant < 1e-4
    assert scaling.span[0] < 0.98 and scaling.span[1] > 1.02
