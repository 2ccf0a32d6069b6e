from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements
from qmodel.fit.figures import FIGURES, fit_against_data, fit_figures, interaction, main_effects, residual_qq
from qmodel.fit.table import Measurements

from .planted import planted


@pytest.fixture(scope="module")
def result():
    return fit_measurements(planted(0, batch_size=(1, 2, 4, 8, 16, 32), noise=0.01))


def curve(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_all_draw_and_save(result, tmp_path):
    before = dict(mpl.rcParams)
    for name, figure in fit_figures(result).items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert dict(mpl.rcParams) == before


def test_fit_against_data(result):
    top, bottom = fit_against_data(result).axes
    assert (top.get_ylabel(), bottom.get_xlabel()) == ("latency (ms)", "batch size")
    assert "pacing = idle-gaps" in top.get_title()
    assert [t.get_text() for t in top.get_legend().get_texts()] == ["5", "10", "20", "50"]
    assert top.get_yscale() == "log" and bottom.get_xscale() == "log"
    assert [t.get_text() for t in bottom.get_xticklabels()] == ["1", "2", "4", "8", "16", "32"]
    x, y = top.lines[0].get_data()
    np.testing.assert_allclose(y, 1e3 * result.model.predict({"steps": 5, "batch_size": x}), rtol=1e-12)
    means = top.lines[2].get_ydata()
    here = (result.cells.levels["steps"] == 5) & (result.cells.levels["pacing"] == "idle-gaps")
    np.testing.assert_allclose(means, 1e3 * result.cells.mean[here], rtol=1e-12)
    error = bottom.lines[-1].get_ydata()
    np.testing.assert_allclose(
        error, 100 * (result.model.predict(result.cells.levels) / result.cells.mean - 1), rtol=1e-9
    )


def test_chosen_axes(result):
    top, bottom = fit_against_data(result, factor="steps", by="pacing").axes
    assert bottom.get_xlabel() == "steps" and top.get_legend().get_title().get_text() == "pacing"
    assert "batch_size = 4" in top.get_title()
    assert bottom.get_xscale() == "log"
    with pytest.raises(InputError, match="'stpes' is not a factor; did you mean 'steps'"):
        fit_against_data(result, factor="stpes")


def test_qq(result):
    axes = residual_qq(result).axes[0]
    sample = curve(axes, "residuals").get_ydata()
    assert len(sample) == len(result.measurements.frame)
    assert np.all(np.diff(sample) >= 0)
    assert np.mean(sample) == pytest.approx(0, abs=1e-12) and np.std(sample, ddof=1) == pytest.approx(1)
    x = curve(axes, "residuals").get_xdata()
    assert x[0] == pytest.approx(-x[-1])
    assert np.corrcoef(x, sample)[0, 1] > 0.98


def test_qq_without_analysis_of_variance(result):
    for m in (planted(1), planted(1, replicates=1, pacing=("idle-gaps",))):
        sample = curve(residual_qq(fit_measurements(m, analysis=False)).axes[0], "residuals").get_ydata()
        assert len(sample) == len(m.frame)


def test_main_effects(result):
    axes = main_effects(result).axes
    assert [a.get_xlabel() for a in axes] == ["steps", "batch size", "pacing"]
    middle = axes[0].lines[0].get_ydata()
    expected = [
        np.exp(np.mean(np.log(result.cells.mean[result.cells.levels["steps"] == s]))) for s in (5, 10, 20, 50)
    ]
    np.testing.assert_allclose(middle, 1e3 * np.array(expected), rtol=1e-12)
    assert axes[0].get_ylabel() == "latency (ms)"
    assert [t.get_text() for t in axes[2].get_xticklabels()] == ["back-to-back", "idle-gaps"]


def test_interaction(result):
    axes = interaction(result).axes[0]
    assert {axes.get_xlabel(), axes.get_legend().get_title().get_text()} == {"batch size", "steps"}
    axes = interaction(result, ("pacing", "steps")).axes[0]
    here = (result.cells.levels["pacing"] == "back-to-back") & (result.cells.levels["steps"] == 5)
    expected = 1e3 * np.exp(np.mean(np.log(result.cells.mean[here])))
    assert axes.lines[0].get_ydata()[0] == pytest.approx(expected, rel=1e-12)
    assert set(fit_figures(result)) == set(FIGURES) - {"roofline"}
    without = fit_measurements(planted(2), analysis=False)
    assert interaction(without).axes[0].get_xlabel() == "steps"


def test_many_levels_and_one_factor():
    rng = np.random.default_rng(0)
    tokens = np.arange(1, 301.0)
    frame = pd.DataFrame({"tokens": tokens, "latency_s": (1 + 0.01 * tokens) * rng.lognormal(0, 0.02, 300)})
    result = fit_measurements(Measurements(frame, "latency_s", ("tokens",)))
    top, bottom = fit_against_data(result).axes
    assert top.get_legend() is None and bottom.get_xlabel() == "tokens"
    assert top.get_ylabel() == "latency (s)"
    assert len(main_effects(result).axes[0].lines[0].get_xdata()) == 12
    with pytest.raises(InputError, match="interaction: needs two factors"):
        interaction(result)
    assert set(fit_figures(result)) == {"fit", "qq", "main-effects"}


def test_named_levels_only():
    frame = pd.DataFrame({"mode": ["a", "b"] * 6, "latency_s": np.linspace(1.0, 1.1, 12)})
    result = fit_measurements(Measurements(frame, "latency_s", ("mode",), ("mode",)))
    with pytest.raises(InputError, match="needs a numeric factor for its axis"):
        fit_against_data(result)
    assert main_effects(result).axes[0].get_xlabel() == "mode"


def test_micro_seconds():
    m = planted(3)
    result = fit_measurements(replace(m, frame=m.frame.assign(latency_s=m.y * 1e-3)), analysis=False)
    assert fit_against_data(result).axes[0].get_ylabel() == "latency (µs)"
