from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as f_law

from qmodel.errors import InputError
from qmodel.fit.anova import analyse, sum_coded
from qmodel.fit.table import Measurements

from .planted import planted

# Montgomery, Design and Analysis of Experiments, 8th edition, table 5.1: battery life in hours
BATTERY = {
    (1, 15): (130, 155, 74, 180), (1, 70): (34, 40, 80, 75), (1, 125): (20, 70, 82, 58),
    (2, 15): (150, 188, 159, 126), (2, 70): (136, 122, 106, 115), (2, 125): (25, 70, 58, 45),
    (3, 15): (138, 110, 168, 160), (3, 70): (174, 120, 150, 139), (3, 125): (96, 104, 82, 60),
}  # fmt: skip

# the same book, table 4.3: vascular graft yield, four pressures in six batches of resin
GRAFT = {
    8500: (90.3, 89.2, 98.2, 93.9, 87.4, 97.9), 8700: (92.5, 89.5, 90.6, 94.7, 87.0, 95.8),
    8900: (85.5, 90.8, 89.6, 86.2, 88.0, 93.4), 9100: (82.5, 89.5, 85.6, 87.4, 78.9, 90.7),
}  # fmt: skip


def measurements(rows, columns, factors, categorical=()):
    frame = pd.DataFrame(rows, columns=columns)
    for name in set(factors) - set(categorical):
        frame[name] = frame[name].astype(float)
    return Measurements(frame, "latency_s", tuple(factors), tuple(categorical))


@pytest.fixture
def battery():
    rows = [(material, t, float(y)) for (material, t), ys in BATTERY.items() for y in ys]
    return measurements(rows, ["material", "temperature", "latency_s"], ["material", "temperature"])


def sums_of_squares_by_hand():
    """The textbook's formulas in exact fractions: totals squared over counts, less the correction."""
    total = Fraction(sum(map(sum, BATTERY.values())))
    correction = total**2 / 36
    material = (
        sum(Fraction(sum(sum(BATTERY[m, t]) for t in (15, 70, 125))) ** 2 for m in (1, 2, 3)) / 12 - correction
    )
    heat = sum(Fraction(sum(sum(BATTERY[m, t]) for m in (1, 2, 3))) ** 2 for t in (15, 70, 125)) / 12 - correction
    cells = sum(Fraction(sum(ys)) ** 2 for ys in BATTERY.values()) / 4 - correction
    everything = sum(Fraction(y) ** 2 for ys in BATTERY.values() for y in ys) - correction
    return [float(x) for x in (material, heat, cells - material - heat, everything - cells)]


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_textbook_two_factors(battery, kind):
    table = analyse(battery, type=kind, transform="none").table
    expected = sums_of_squares_by_hand()
    assert expected == pytest.approx([10683.7222, 39118.7222, 9613.7778, 18230.75], abs=1e-3)
    rows = ["material", "temperature", "material:temperature", "Residual"]
    np.testing.assert_allclose(table.loc[rows, "sum_sq"], expected, rtol=1e-9)
    assert table.loc[rows, "df"].tolist() == [2, 2, 4, 27]
    mean_square = expected[3] / 27
    ratios = [expected[0] / 2 / mean_square, expected[1] / 2 / mean_square, expected[2] / 4 / mean_square]
    np.testing.assert_allclose(table.loc[rows[:3], "F"], ratios, rtol=1e-9)
    assert ratios == pytest.approx([7.91, 28.97, 3.56], abs=0.005)
    p = [f_law.sf(f, df, 27) for f, df in zip(ratios, (2, 2, 4), strict=True)]
    np.testing.assert_allclose(table.loc[rows[:3], "PR(>F)"], p, rtol=1e-9)
    np.testing.assert_allclose(table.loc[rows, "share"], np.array(expected) / sum(expected), rtol=1e-9)
    assert list(table.columns) == ["sum_sq", "df", "F", "PR(>F)", "share"]


def test_textbook_blocks():
    """Randomised complete blocks: pressure 178.17, batches 192.25, error 109.89; F = 8.11."""
    rows = [(pressure, f"1:{k}", y) for pressure, ys in GRAFT.items() for k, y in enumerate(ys)]
    result = analyse(measurements(rows, ["pressure", "block", "latency_s"], ["pressure"]), transform="none")
    assert result.table.loc[["pressure", "block", "Residual"], "sum_sq"].tolist() == pytest.approx(
        [178.171250, 192.252083, 109.886250], abs=1e-6
    )
    assert result.table.loc["pressure", "F"] == pytest.approx(8.107, abs=5e-4)
    assert result.table.loc["pressure", "PR(>F)"] == pytest.approx(0.0019, abs=5e-5)
    assert result.effects().index.tolist() == ["pressure"]


def residual_sum(columns, y):
    return float(np.sum((y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]) ** 2))


def test_unbalanced_types_differ_as_model_comparisons_say(battery):
    """Type I: each effect after those before; II: after all that do not contain it; III: after all others."""
    m = Measurements(battery.frame.drop(index=[0, 1, 9, 20, 35]), "latency_s", battery.factors)
    data = pd.DataFrame({"a": m.frame["material"], "b": m.frame["temperature"]})
    y = m.y
    one = np.ones((len(y), 1))
    a, b, ab = sum_coded(data, ["a"]), sum_coded(data, ["b"]), sum_coded(data, ["a", "b"])
    full = residual_sum(np.hstack([one, a, b, ab]), y)
    additive = residual_sum(np.hstack([one, a, b]), y)
    only_a, only_b = residual_sum(np.hstack([one, a]), y), residual_sum(np.hstack([one, b]), y)
    expected = {
        1: [residual_sum(one, y) - only_a, only_a - additive, additive - full],
        2: [only_b - additive, only_a - additive, additive - full],
        3: [
            residual_sum(np.hstack([one, b, ab]), y) - full,
            residual_sum(np.hstack([one, a, ab]), y) - full,
            additive - full,
        ],
    }
    for kind, sums in expected.items():
        table = analyse(m, type=kind, transform="none").table
        np.testing.assert_allclose(
            table["sum_sq"][["material", "temperature", "material:temperature"]], sums, rtol=1e-8
        )
        assert table.loc["Residual", "sum_sq"] == pytest.approx(full, rel=1e-9)
    assert abs(expected[1][0] / expected[2][0] - 1) > 0.01


def test_planted_effects_and_words():
    result = analyse(planted(1, noise=0.02))
    assert result.effects().index[:2].tolist() == ["steps", "batch_size"]
    assert result.sound and result.conclusion() == "The assumptions hold as far as they could be checked."
    assert {"steps", "batch_size", "pacing", "steps:batch_size"} <= set(result.significant())
    assert result.records()[0]["effect"] == "steps"
    assert "PR(>F)" in result.records()[0]


def test_shuffled_responses_find_nothing_at_the_nominal_rate():
    p = np.array([analyse(planted(s, shuffle=True), remedies=False).effects()["PR(>F)"] for s in range(60)])
    assert p.shape == (60, 7)
    assert 0.02 <= np.mean(p < 0.05) <= 0.085
    assert 0.40 <= np.mean(p < 0.5) <= 0.60


def test_heavy_tails_call_for_remedies():
    m = planted(2, noise=0.01, replicates=6)
    spikes = np.where(np.arange(len(m.frame)) % 17 == 0, 1.5, 1.0)
    m.frame["latency_s"] *= spikes
    result = analyse(m)
    assert not result.sound
    assert set(result.remedies) == {"weighted", "robust (HC3)", "robust (Huber)", "aligned ranks"}
    assert result.conclusion().startswith("Failed: normality")
    assert "long right tail" in result.checks[0].verdict
    for table in result.remedies.values():
        assert list(table.columns) == ["sum_sq", "df", "F", "PR(>F)", "share"]
        assert table.loc["batch_size", "PR(>F)"] < 1e-10


def test_a_multiplicative_truth_on_the_measured_scale_is_redone_on_logs():
    result = analyse(planted(3, noise=0.1), transform="none")
    assert {c.name for c in result.checks if c.passed is False} >= {"equal variance"}
    assert "log" in result.remedies
    assert result.remedies["log"].loc["pacing", "PR(>F)"] == pytest.approx(
        analyse(planted(3, noise=0.1)).table.loc["pacing", "PR(>F)"]
    )


def test_conclusions_that_change_are_named(battery):
    from dataclasses import replace

    result = analyse(battery, transform="none")
    other = result.table.copy()
    other.loc["material", "PR(>F)"] = 0.2
    failed = tuple(replace(check, passed=False) for check in result.checks)
    changed = replace(result, checks=failed, remedies={"x": other, "y": result.table})
    assert "by y it finds the same effects at the 5 % level; by x it differs on material." in changed.conclusion()
    assert "No remedy could be computed" in replace(changed, remedies={}).conclusion()


def test_no_replicates_leave_the_highest_interaction_as_residual():
    m = planted(4, replicates=1)
    result = analyse(m)
    assert "interactions of 3 factors serve as the residual: there are no replicates" in result.notes
    assert "steps:batch_size" in result.table.index and "steps:batch_size:pacing" not in result.table.index


def test_missing_cells_and_many_levels():
    m = planted(5)
    m = Measurements(
        m.frame[(m.frame.steps < 50) | (m.frame.batch_size < 16)], m.response, m.factors, m.categorical
    )
    result = analyse(m)
    assert "steps:pacing" in result.table.index and "steps:batch_size" not in result.table.index
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"tokens": np.arange(1, 401.0), "latency_s": np.arange(1, 401.0) * rng.lognormal(0, 0.1, 400)}
    )
    result = analyse(Measurements(frame, "latency_s", ("tokens",)))
    assert result.notes[0] == "400 levels of tokens are taken in 6 groups of like size"
    assert result.table.loc["tokens", "df"] == 5


def test_order_limits_interactions():
    assert "steps:batch_size" not in analyse(planted(6), order=1).table.index


def test_very_many_rows_are_sampled():
    frame = pd.concat([planted(s, replicates=160).frame for s in range(5)], ignore_index=True)
    m = Measurements(frame.drop(columns="block"), "latency_s", ("steps", "batch_size", "pacing"), ("pacing",))
    result = analyse(m)
    assert result.notes[0] == "on a random 20000 of 25600 rows"
    assert len(result.data) == 20_000


def test_aliased_factors():
    m = planted(7)
    frame = m.frame.assign(twin=m.frame["steps"] * 2)
    result = analyse(Measurements(frame, m.response, (*m.factors, "twin"), m.categorical), remedies=False)
    assert any("cannot be told from the effects before it" in note for note in result.notes)


def test_too_little_data():
    frame = pd.DataFrame({"n": [1.0, 2.0], "latency_s": [1.0, 2.0]})
    with pytest.raises(InputError, match="ANOVA: leaves no degree of freedom for the residual; measure replicates"):
        analyse(Measurements(frame, "latency_s", ("n",)))
    with pytest.raises(InputError, match="ANOVA type: 4 is unknown"):
        analyse(planted(0), type=4)
