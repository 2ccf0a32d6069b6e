import numpy as np
import pandas as pd
import pytest
from scipy.stats import tukey_hsd

from qmodel.errors import InputError
from qmodel.fit.anova import analyse
from qmodel.fit.posthoc import tukey
from qmodel.fit.table import Measurements

from .planted import planted


def one_way(sizes, seed=0):
    rng = np.random.default_rng(seed)
    groups = [rng.normal(10 + 0.4 * k, 1.0, n) for k, n in enumerate(sizes)]
    rows = [(f"g{k}", y) for k, group in enumerate(groups) for y in group]
    frame = pd.DataFrame(rows, columns=["mode", "latency_s"])
    return groups, Measurements(frame, "latency_s", ("mode",), ("mode",))


@pytest.mark.parametrize("sizes", [(12, 12, 12, 12), (5, 9, 20)])
def test_one_factor_is_tukey_and_kramer(sizes):
    """Against scipy's own, with equal and with unequal numbers."""
    groups, m = one_way(sizes)
    table = tukey(analyse(m, transform="none"), "mode")
    peer = tukey_hsd(*groups)
    interval = peer.confidence_interval(0.95)
    for _, row in table.iterrows():
        i, j = int(row["group1"][1:]), int(row["group2"][1:])
        assert row["meandiff"] == pytest.approx(-peer.statistic[i, j], rel=1e-9)
        assert row["p-adj"] == pytest.approx(peer.pvalue[i, j], rel=1e-5, abs=1e-9)
        assert row["lower"] == pytest.approx(-interval.high[i, j], rel=1e-6)
        assert row["upper"] == pytest.approx(-interval.low[i, j], rel=1e-6)
    assert list(table.columns) == ["group1", "group2", "meandiff", "p-adj", "lower", "upper", "reject"]


def test_other_factors_leave_the_yardstick():
    """Pacing differs by 3 %, far less than steps do: only the whole model's residual can see it."""
    table = tukey(analyse(planted(0)), "pacing")
    assert len(table) == 1 and bool(table.loc[0, "reject"])
    assert table.loc[0, "ratio"] == pytest.approx(1 / 0.97, abs=0.01)
    assert table.loc[0, "p-adj"] == pytest.approx(analyse(planted(0)).table.loc["pacing", "PR(>F)"], rel=1e-6)


def test_balanced_means_are_plain_means():
    m = planted(1)
    table = tukey(analyse(m), "steps")
    logs = np.log(m.frame["latency_s"]).groupby(m.frame["steps"]).mean()
    first = table.iloc[0]
    assert (first["group1"], first["group2"]) == ("5", "10")
    assert first["meandiff"] == pytest.approx(logs[10.0] - logs[5.0], rel=1e-9)
    assert len(table) == 6


@pytest.mark.slow
def test_all_pairs_together_keep_the_level():
    """Four equal groups: some pair is called different in 5 of 100 samples."""
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(150):
        frame = pd.DataFrame({"mode": np.repeat(list("abcd"), 8), "latency_s": rng.normal(10, 1, 32)})
        m = Measurements(frame, "latency_s", ("mode",), ("mode",))
        found += bool(tukey(analyse(m, transform="none", remedies=False), "mode")["reject"].any())
    assert 1 <= found <= 17


def test_groups_of_levels_have_their_range():
    rng = np.random.default_rng(4)
    n = np.repeat(np.arange(1.0, 61.0), 3)
    frame = pd.DataFrame({"tokens": n, "latency_s": (1 + n) * rng.lognormal(0, 0.05, len(n))})
    table = tukey(analyse(Measurements(frame, "latency_s", ("tokens",))), "tokens")
    assert (table.loc[0, "group1"], table.loc[0, "group2"]) == ("1 to 10", "11 to 20")
    assert len(table) == 15


def test_unknown_factor():
    with pytest.raises(InputError, match="Tukey: 'stpes' is not a factor of the analysis; did you mean 'steps'"):
        tukey(analyse(planted(0)), "stpes")
