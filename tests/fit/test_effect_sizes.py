"""Effect sizes with intervals: the noncentral law inverted, and coverage of planted effects."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ncf

from qmodel.fit.anova import analyse
from qmodel.fit.effect_sizes import effect_sizes, noncentrality, partial_eta_interval
from qmodel.fit.table import Measurements

from .test_planted_truth import band, seeds


@pytest.mark.parametrize("f", [0.3, 1.5, 5.0, 40.0, 3000.0])
@pytest.mark.parametrize(("df", "freedom"), [(1, 8), (3, 60), (12, 400)])
def test_interval_inverts_the_noncentral_law(f, df, freedom):
    for p in (0.025, 0.975):
        found = noncentrality(f, df, freedom, p)
        reached = ncf.cdf(f, df, freedom, found)
        assert reached == pytest.approx(p, abs=1e-6) if found > 0 else reached <= p


def test_significance_and_interval_agree():
    """One-sided at 2.5 %: the interval leaves zero exactly where p < 0.025."""
    from scipy.stats import f as f_law

    for f in np.linspace(0.5, 8, 40):
        assert (partial_eta_interval(float(f), 2, 30)[0] > 0) == (f_law.sf(f, 2, 30) < 0.025)


def test_large_effects_do_not_break():
    for f in (1e5, 1e7, 1e9):
        low, high = partial_eta_interval(f, 3, 60)
        assert 0.99 < low < 3 * f / (3 * f + 60) < high <= 1
    assert partial_eta_interval(float("inf"), 3, 60) == (1.0, 1.0)
    assert all(np.isnan(x) for x in partial_eta_interval(float("nan"), 3, 60))


def test_formulas_by_hand():
    table = pd.DataFrame(
        {"sum_sq": [30.0, 10.0], "df": [2.0, 20.0], "F": [30.0, np.nan], "PR(>F)": [0.0, np.nan]},
        index=["a", "Residual"],
    )
    row = effect_sizes(table).loc["a"]
    assert row["partial_eta_sq"] == pytest.approx(0.75)
    assert row["omega_sq"] == pytest.approx(2 * 29 / (2 * 29 + 23))


def groups(seed, effects, replicates, noise=0.1):
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(len(effects)), replicates)
    y = np.exp(np.array(effects)[level] + rng.normal(0, noise, len(level)))
    return Measurements(pd.DataFrame({"a": level.astype(float), "latency_s": y}), "latency_s", ("a",))


@pytest.mark.parametrize("n", seeds(30, 500))
@pytest.mark.parametrize("effects", [(0.0, 0.05, 0.1), (0.0, 0.0, 0.3), (0.0, 0.0, 0.0)])
def test_intervals_cover_the_planted_effect(n, effects):
    replicates, noise = 8, 0.1
    nc = replicates * np.sum((np.array(effects) - np.mean(effects)) ** 2) / noise**2
    truth = nc / (nc + 3 * replicates)
    hits = 0
    for seed in range(n):
        row = analyse(groups(seed, effects, replicates), remedies=False).effect_sizes().loc["a"]
        hits += bool(row["low"] - 1e-12 <= truth <= row["high"])
    rate = 0.95 if nc > 0 else 0.975
    assert band(n, rate)[0] <= hits <= band(n, rate)[1]
