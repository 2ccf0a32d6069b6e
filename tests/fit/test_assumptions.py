import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qmodel.fit.assumptions import check_residuals, equal_variance, independence, lag_test, normality

RNG = np.random.default_rng(11)


def frame(residual, cells, fitted=None, order=None):
    data = pd.DataFrame({"f0": cells, "residual": residual, "fitted": cells if fitted is None else fitted})
    return data if order is None else data.assign(run_order=order)


def test_normality():
    good = normality(RNG.normal(size=300))
    assert good.passed and good.p == pytest.approx(
        float(stats.shapiro(np.random.default_rng(11).normal(size=300))[1])
    )
    right = normality(RNG.exponential(size=300), "log scale")
    assert (
        right.passed is False
        and "not normal on the log scale" in right.verdict
        and "long right tail" in right.verdict
    )
    assert "long left tail" in normality(-RNG.exponential(size=300)).verdict
    assert "heavy tails" in normality(np.outer([-1, 1], RNG.standard_t(3, size=900)).ravel()).verdict
    assert "light tails" in normality(RNG.uniform(size=2000)).verdict
    assert normality(RNG.normal(size=9000)).passed
    assert normality(np.zeros(50)).passed is None


def test_equal_variance():
    cells = np.repeat([0, 1, 2], 40)
    even = equal_variance(frame(RNG.normal(size=120), cells), ["f0"])
    assert even.passed and "sign that variance differs" in even.verdict
    uneven = equal_variance(frame(RNG.normal(size=120) * (1 + 4 * cells), cells), ["f0"])
    assert uneven.passed is False and "Variance differs" in uneven.verdict
    x = np.arange(1, 101.0)
    fan = equal_variance(frame(RNG.normal(size=100) * x, x, x), ["f0"])
    assert fan.test == "Breusch-Pagan" and fan.passed is False
    assert equal_variance(frame(np.zeros(4), [0, 1, 2, 3]), ["f0"]).passed is None


def test_independence():
    order = RNG.permutation(400).astype(float)
    assert independence(RNG.normal(size=400), order).passed
    assert "drifts up" in independence(order / 100 + RNG.normal(size=400), order).verdict
    assert "drifts down" in independence(-order / 100 + RNG.normal(size=400), order).verdict
    wave = np.cumsum(RNG.normal(size=400))
    wave = wave - np.polyval(np.polyfit(np.arange(400), wave, 3), np.arange(400))
    check = independence(wave[np.argsort(np.argsort(order))], order)
    assert check.passed is False and "correlated (Durbin-Watson 0." in check.verdict
    assert independence(np.ones(50), None).passed is None
    assert independence(np.ones(50), np.arange(50.0)).passed is None


def test_lag_test_has_its_level():
    p = np.array([lag_test(np.random.default_rng(s).normal(size=80)) for s in range(1000)])
    assert 0.03 <= np.mean(p < 0.05) <= 0.07


def test_all_three():
    data = frame(RNG.normal(size=120), np.repeat([0, 1, 2], 40), order=RNG.permutation(120))
    assert [check.name for check in check_residuals(data, ["f0"])] == [
        "normality",
        "equal variance",
        "independence",
    ]
