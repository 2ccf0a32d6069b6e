import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from qmodel.fit import fit_measurements
from qmodel.fit.cells import Cells
from qmodel.fit.visits import visit_means, visits, with_visits

from .planted import planted


def found(m):
    return visits(m.frame, Cells.of(m.frame, m.factors, m.y), m.y)


def test_against_a_two_way_analysis():
    """In a balanced design F is that of the cell by block interaction of the relative deviations."""
    m = planted(3, blocks=3, visit_sd=0.02, steps=(5, 20), pacing=("idle-gaps",))
    cells = Cells.of(m.frame, m.factors, m.y)
    data = pd.DataFrame({"d": m.y / cells.mean[cells.row_cell], "c": cells.row_cell, "b": m.frame["block"]})
    table = anova_lm(ols("d ~ C(c) * C(b)", data).fit())
    assert visits(m.frame, cells, m.y).p == pytest.approx(table.loc["C(c):C(b)", "PR(>F)"], rel=1e-6)
    assert visits(m.frame, cells, m.y).degrees_of_freedom == table.loc["C(c):C(b)", "df"]


def test_level():
    p = np.array([found(planted(s, blocks=3, noise=0.02)).p for s in range(300)])
    assert 0.02 <= np.mean(p < 0.05) <= 0.09


def test_nothing_to_compare():
    assert found(planted(0)) is None
    assert found(planted(0, blocks=3, replicates=1)) is None
    assert found(planted(0, blocks=3, noise=0.0)) is None
    m = planted(0)
    assert visits(m.frame.drop(columns="block"), Cells.of(m.frame, m.factors, m.y), m.y) is None


def test_cells_take_the_variance_of_visits():
    m = planted(1, blocks=4, visit_sd=0.05, noise=0.01)
    cells = Cells.of(m.frame, m.factors, m.y)
    stays = visits(m.frame, cells, m.y)
    wider = with_visits(cells, m.frame, stays)
    np.testing.assert_allclose(wider.mean_variance, stays.deviation**2 / 4)
    assert wider.mean_freedom == 31 * 3
    assert with_visits(cells, m.frame, None) is cells


def test_visit_means_and_words():
    m = planted(2, blocks=3, visit_sd=0.03, noise=0.005)
    means = visit_means(m)
    assert len(means.frame) == 96 and len(m.frame) == 288
    row = means.frame.iloc[0]
    same = (
        m.frame[["steps", "batch_size", "pacing", "block"]] == row[["steps", "batch_size", "pacing", "block"]]
    ).all(axis=1)
    assert row["latency_s"] == pytest.approx(m.frame.loc[same, "latency_s"].mean(), rel=1e-12)
    assert row["run_order"] == pytest.approx(m.frame.loc[same, "run_order"].mean())
    result = fit_measurements(m)
    assert result.anova.notes[0] == "on the means of 96 visits, since repetitions within a visit are alike"
    assert result.anova.table["df"].sum() == 95
    assert any("visits, not repetitions, count as replicates" in text for text in result.warnings)
