import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import qmodel.fit
from qmodel.errors import InputError
from qmodel.fit import fit_measurements, read_profile
from qmodel.fit.table import Measurements
from qmodel.service.model import ServiceModel
from qmodel.service.model_file import to_json

from .planted import planted


@pytest.fixture(scope="module")
def result():
    m = replace(planted(0, batch_size=(1, 2, 4, 8, 16), blocks=2), out_of_memory=({"batch_size": 64.0},))
    return fit_measurements(replace(m, fixed={"threads": 1.0}, sources=("profile.csv",), skipped={"failed": 2}))


def test_the_model(result, tmp_path):
    model = result.model
    assert model.factors == ("steps", "batch_size")
    assert (model.phase, model.response, model.reference) == ("denoise", "latency_s", {"pacing": "idle-gaps"})
    idle = model.predict({"steps": 10, "batch_size": 4})
    assert idle == pytest.approx(0.002 + 0.003 + 0.008, rel=0.02)
    assert model.predict({"steps": 10, "batch_size": 4, "pacing": "back-to-back"}) / idle == pytest.approx(
        0.97, abs=0.01
    )
    assert model.outside_domain({"steps": 5, "batch_size": 64, "threads": 2}) == [
        "batch_size = 64 is outside the measured range 1 to 16",
        "threads = 2 was never measured, only 1",
        "out of memory when measured at batch_size = 64",
    ]
    assert model.statistics["rows"] == 240 and model.statistics["cells"] == 40
    assert model.provenance["device"] == "cpu" and model.provenance["fixed"] == {"threads": 1.0}
    assert model.anova[0].keys() >= {"effect", "sum_sq", "df", "F", "PR(>F)", "share"}
    model.save(tmp_path / "m.json")
    assert to_json(ServiceModel.load(tmp_path / "m.json")) == json.loads((tmp_path / "m.json").read_text())


def test_texts(result):
    summary = result.summary()
    words = " ".join(summary.split())
    assert max(map(len, summary.splitlines())) <= 80
    assert summary.splitlines()[0] == "Service time of digits (denoise) on cpu"
    for part in (
        "latency = ",
        "x 0.97",
        "Coefficients",
        "left-out levels between others",
        "one repetition against",
    ):
        assert part in summary
    for part in ("PR(>F)", "Lack of fit against replicates: F(", "Assumptions", "In words"):
        assert part in words
    markdown = result.to_markdown()
    assert "| term | value | 95 % interval | of the time |" in markdown and "### In words" in markdown
    latex = result.to_latex()
    assert r"\toprule" in latex and r"batch\_size" in latex and r"\begin{equation*}" in latex
    paragraph = result.paragraph()
    assert "driven by steps (" in paragraph and "do not use it beyond" in paragraph
    assert "nothing is known about threads, which did not vary" in paragraph
    assert len(paragraph.splitlines()) == 1


def test_candidates(result):
    table = result.candidates
    assert table["chosen"].sum() == 1
    assert table["cv_rms"].is_monotonic_increasing
    assert {"form", "terms", "parameters", "cv_median", "cv_p95", "edge_max"} <= set(table.columns)
    assert "1 + steps + batch_size:steps x pacing" in set(table["terms"])


def test_term_shares(result):
    shares = result.diagnostics["term_shares"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=shares.get) == "batch_size:steps"


def test_reference_and_categories():
    m = planted(1)
    model = fit_measurements(m, reference={"pacing": "back-to-back"}, analysis=False).model
    assert model.reference == {"pacing": "back-to-back"}
    assert model.ratios["pacing"]["idle-gaps"] == pytest.approx(1 / 0.97, abs=0.01)
    frame = m.frame.assign(latency_s=m.y * np.where(m.frame["steps"] == 20, 3.0, 1.0))
    model = fit_measurements(replace(m, frame=frame), categorical=["steps"], analysis=False).model
    assert model.predict({"steps": 20, "batch_size": 8}) == pytest.approx(3 * (0.002 + 0.006 + 0.032), rel=0.05)
    with pytest.raises(InputError, match="'30' was never measured"):
        model.predict({"steps": 30, "batch_size": 8})


def by_device(kind, *, noise=0.01, sizes=(1.0, 2.0, 4.0, 8.0)):
    """Two devices and two precisions: either all times scale, or each device has its own function."""
    rng = np.random.default_rng(4)
    rows = [(d, p, n) for d in ("A", "B", "C") for p in ("half", "single") for n in sizes for _ in range(3)]
    frame = pd.DataFrame(rows, columns=["device", "precision", "n"])
    speed = frame["device"].map({"A": 1.0, "B": 0.6, "C": 0.3}).to_numpy()
    factor = np.where(frame["precision"] == "half", 1.0, 2.2)
    if kind == "scales":
        y = speed * factor * (0.5 + 1.5 * frame["n"])
    elif kind == "apart":
        start = frame["device"].map({"A": 0.1, "B": 2.0, "C": 0.7}).to_numpy()
        y = factor * (start + speed * frame["n"])
    else:
        y = 0.5 + 1.5 * frame["n"]
    frame["latency_s"] = y * rng.lognormal(0, noise, len(frame))
    return Measurements(frame, "latency_s", ("device", "precision", "n"), ("device", "precision"))


def test_named_levels_that_scale():
    model = fit_measurements(by_device("scales"), analysis=False).model
    assert model.form.labels == ("1", "n")
    assert model.ratios["device"] == pytest.approx({"A": 1.0, "B": 0.6, "C": 0.3}, rel=0.02)
    assert model.ratios["precision"] == pytest.approx({"half": 1.0, "single": 2.2}, rel=0.02)


def test_named_levels_that_change_the_function():
    result = fit_measurements(by_device("apart"), analysis=False)
    model = result.model
    assert set(model.ratios) == {"precision"}
    found = {name: value for name, (value, _) in model.labelled_coefficients().items()}
    assert found["device[B]"] == pytest.approx(2.0, rel=0.05) and found["device[C]:n"] == pytest.approx(
        0.3, rel=0.05
    )
    assert model.predict({"device": "B", "precision": "single", "n": 3}) == pytest.approx(2.2 * 3.8, rel=0.03)
    assert "(1 + n) by device x precision" in set(result.candidates["terms"])


def test_named_levels_that_do_nothing():
    model = fit_measurements(by_device("nothing", noise=0.05), analysis=False).model
    assert not model.ratios and model.form.labels == ("1", "n")


def test_a_group_with_two_levels_is_fitted_but_not_judged():
    m = by_device("apart")
    m = replace(m, frame=m.frame[(m.frame["device"] != "C") | (m.frame["n"] < 4)])
    model = fit_measurements(m, analysis=False).model
    assert model.predict({"device": "C", "precision": "half", "n": 2}) == pytest.approx(1.3, rel=0.05)


def test_unmatched_pacing_is_fitted_apart():
    m = planted(5)
    keep = (m.frame["steps"] < 15) == (m.frame["pacing"] == "idle-gaps")
    m = replace(m, frame=m.frame[keep])
    result = fit_measurements(m, analysis=False)
    assert "by pacing" in result.candidates["terms"][0]
    with pytest.raises(InputError, match="do not determine"):
        fit_measurements(m, terms=["1", "steps"], analysis=False)


def test_explicit_terms():
    result = fit_measurements(planted(6), terms=["1", "steps", "steps:batch_size", "over(batch_size,4):steps"])
    assert "over(batch_size,4):steps" in result.search.form.labels
    assert any("not determined without batch_size = 1:" in text for text in result.warnings)
    m = by_device("apart")
    model = fit_measurements(m, terms=["device[A]", "device[B]", "device[C]", "n"], analysis=False).model
    assert set(model.form.labels) == {"device[A]", "device[B]", "device[C]", "n"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": []}, "terms: are empty"),
        ({"terms": ["1", "stpes"]}, "terms: 'stpes' is not a factor; did you mean 'steps'?"),
        ({"terms": ["exp(steps)"]}, 'terms: "exp(steps)" is not a term'),
        ({"terms": ["pacing"]}, "terms: pacing: pacing has named levels; write precision[bf16] or steps"),
        ({"terms": ["steps[5]"]}, "terms: steps[5]: steps is a number"),
        (
            {"terms": ["1", "steps^2", "steps", "steps^3", "steps^4"]},
            "do not determine a function when any level is left out",
        ),
        ({"categorical": ["threads"]}, "categorical: 'threads' is not a factor"),
        ({"reference": {"steps": 5}}, "reference: 'steps' is not a factor with named levels"),
        ({"reference": {"pacing": "idle"}}, "reference: pacing was never 'idle'; did you mean 'idle-gaps'?"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError) as caught:
        fit_measurements(planted(0), analysis=False, **options)
    assert message in str(caught.value)


def test_other_losses():
    m = planted(7)
    frame = m.frame.copy()
    frame.loc[frame.index[::37], "latency_s"] *= 4
    m = replace(m, frame=frame)
    terms = ["1", "steps", "batch_size:steps"]
    huber = fit_measurements(m, terms=terms, loss="huber", analysis=False).model
    plain = fit_measurements(m, terms=terms, loss="absolute", nonnegative=False, analysis=False).model
    truth = 0.002 + 0.003 + 0.008
    levels = {"steps": 10, "batch_size": 4}
    assert abs(huber.predict(levels) / truth - 1) < 0.02 < abs(plain.predict(levels) / truth - 1)


def test_little_data():
    frame = pd.DataFrame({"n": [1.0, 1.0, 2.0, 2.0], "latency_s": [1.0, 1.1, 2.0, 2.2]})
    result = fit_measurements(Measurements(frame, "latency_s", ("n",)))
    assert result.model.predict({"n": [1, 2]}) == pytest.approx([1.05, 2.1], rel=1e-9)
    assert any("two levels" in text for text in result.warnings)
    assert any("Too few cells to leave one out" in text for text in result.warnings)
    assert "Nothing was repeated" not in " ".join(result.warnings)


def test_two_levels_of_two_factors():
    """A 2^2 design with replicates: single cells are left out, and the planted interaction is found."""
    result = fit_measurements(planted(12, steps=(5, 20), batch_size=(1, 16), pacing=("idle-gaps",), noise=0.005))
    assert set(result.model.form.labels) == {"1", "steps", "batch_size:steps"}
    assert any("single cells were left out" in text for text in result.warnings)


def test_single_shots():
    m = planted(8, replicates=1, pacing=("idle-gaps",))
    m = Measurements(m.frame.drop(columns=["block", "run_order"]), "latency_s", ("steps", "batch_size"))
    result = fit_measurements(m)
    assert "Nothing was repeated: noise cannot be told from lack of fit." in result.warnings
    assert result.model.residual.source == "residuals"
    assert 1e-4 < result.model.residual_scv < 1e-3
    assert "Lack of fit cannot be tested without replicates." in " ".join(result.summary().split())


def test_only_named_levels():
    frame = pd.DataFrame({"mode": ["a", "b"] * 6, "latency_s": np.linspace(1.0, 1.1, 12)})
    model = fit_measurements(Measurements(frame, "latency_s", ("mode",), ("mode",)), analysis=False).model
    assert model.predict({"mode": "a"}) == pytest.approx(1.05, abs=0.05)


def test_warnings_of_an_expert():
    rng = np.random.default_rng(9)
    n = np.repeat([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0], 40)
    y = 0.01 * n * rng.lognormal(0, 0.01, len(n))
    y[n == 8] *= 1.4
    y[::53] *= 3.0
    block = np.where(np.arange(len(n)) % 2, "1:a", "1:b")
    y *= np.where(block == "1:a", 1.05, 0.95)
    frame = pd.DataFrame({"n": n, "twin": n * 3, "block": block, "latency_s": y})
    result = fit_measurements(Measurements(frame, "latency_s", ("n", "twin")))
    text = " ".join(result.warnings)
    for part in (
        "n and twin move together",
        "make over half of the noise",
        "Blocks differ by",
        "misses the cell n = 8",
    ):
        assert part in text


def test_a_ratio_that_is_not_constant_is_warned_of():
    m = planted(10, noise=0.005)
    y = m.y * np.where((m.frame["pacing"] == "idle-gaps") & (m.frame["steps"] == 50), 1.06, 1.0)
    result = fit_measurements(replace(m, frame=m.frame.assign(latency_s=y)), analysis=False)
    assert any("ratio of pacing is not the same everywhere" in text for text in result.warnings)


def test_from_file_to_prediction(tmp_path):
    frame = planted(11).frame.assign(target="digits", status="ok", phase="denoise")
    frame.to_csv(tmp_path / "p.csv", index=False)
    result = fit_measurements(read_profile(tmp_path / "p.csv"))
    result.model.save(tmp_path / "model.json")
    assert ServiceModel.load(tmp_path / "model.json").predict({"steps": 10, "batch_size": 4}) == pytest.approx(
        0.013, rel=0.02
    )


def test_lazy_names():
    assert qmodel.fit.FitResult.__name__ == "FitResult" and qmodel.fit.Measurements is Measurements
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        qmodel.fit.nothing  # noqa: B018
