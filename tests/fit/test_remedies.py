"""Remedies where an assumption fails: Box-Cox finds the scale, Huber and ranks withstand outliers."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import boxcox_llf

from qmodel.fit.anova import analyse
from qmodel.fit.remedies import box_cox, box_cox_transformed
from qmodel.fit.table import Measurements


def on_scale(exponent, seed=0, noise=0.02):
    """Effects that add up, and noise that is normal, on the scale y^exponent."""
    rng = np.random.default_rng(seed)
    a, b = (np.repeat(np.tile([0.0, 1, 2], 3), 12), np.repeat([0.0, 1, 2], 36))
    z = 2 + 0.5 * a + 0.3 * b + rng.normal(0, noise, len(a))
    y = np.exp(z) if exponent == 0 else z ** (1 / exponent)
    return Measurements(pd.DataFrame({"a": a, "b": b, "latency_s": y}), "latency_s", ("a", "b"))


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0])
def test_box_cox_finds_the_scale(exponent):
    anova = analyse(on_scale(exponent), order=1, remedies=False)
    found = box_cox(anova.data, anova.effect_codes, np.exp(anova.data["y"].to_numpy()), 0.0)
    assert found == pytest.approx(exponent, abs=0.15)


def test_box_cox_is_silent_where_logs_serve():
    anova = analyse(on_scale(0.0), order=1, remedies=False)
    assert box_cox(anova.data, anova.effect_codes, np.exp(anova.data["y"].to_numpy()), 0.0) is None


def test_box_cox_is_scipys_without_effects():
    """With the constant alone, the profile likelihood is scipy's."""
    y = np.random.default_rng(0).gamma(3, 1, 200)
    data = pd.DataFrame({"y": y})
    found = box_cox(data, [], y, 1.0)
    grid = np.linspace(-1, 1.5, 2501)
    assert found == pytest.approx(grid[np.argmax([boxcox_llf(x, y) for x in grid])], abs=2e-3)
    assert box_cox(data.assign(y=y - 1), [], y - 1, 1.0) is None


def test_transformed_scale():
    y = np.array([1.0, 2.0, 4.0])
    near = box_cox_transformed(y, 1e-6)
    np.testing.assert_allclose(near, box_cox_transformed(y, 0.0), rtol=1e-4, atol=1e-5)


def test_outliers_hide_an_effect_that_robust_methods_see():
    rng = np.random.default_rng(1)
    a = np.repeat([0.0, 1.0], 60)
    y = np.exp(0.02 * a + rng.normal(0, 0.02, 120))
    y[::15] *= rng.choice([0.3, 3.0], len(y[::15]))
    anova = analyse(Measurements(pd.DataFrame({"a": a, "latency_s": y}), "latency_s", ("a",)))
    p = anova.p_values().loc["a"]
    assert p["as analysed (log)"] > 0.05 > p["robust (Huber)"]
    assert p["aligned ranks"] < 0.05
    assert "differs on a" in anova.conclusion()


def test_both_results_stand_in_the_summary():
    from qmodel.fit import fit_measurements

    m = on_scale(0.0, noise=0.1)
    y = m.y.copy()
    y[::17] *= 2
    text = fit_measurements(
        Measurements(m.frame.assign(latency_s=y), "latency_s", m.factors), terms=["1", "a", "b"]
    ).summary()
    assert "PR(>F) as analysed and by each remedy" in text and "Huber" in text
    assert max(map(len, text.splitlines())) <= 80
