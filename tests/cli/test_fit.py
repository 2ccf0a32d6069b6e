"""`qmodel fit`: from measurements to a model that predicts, with everything asked for on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmodel.cli.wanted_levels import wanted_levels
from qmodel.fit import fit_measurements, read_profile
from qmodel.scenario_file import read_scenario
from qmodel.service.model import ServiceModel

SCENARIO = """
[system]
service = "{model}"

[[class]]
name = "pictures"
arrivals = {{ process = "poisson", rate = 5 }}
factors = {{ steps = {{ distribution = "uniform", low = 10, high = 40 }}, batch_size = 1 }}
"""

BATCHED = """
[system]
batching = "dynamic"
max_batch = 6
iteration_time = { base = 0.01, per_sequence = 0.001 }

[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 2 }
input_tokens = { distribution = "lognormal", mean = 300, scv = 1.0 }
output_tokens = { distribution = "geometric", mean = 50 }
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A designed profile with two phases."""
    rng = np.random.default_rng(0)
    rows = [
        {"target": "t", "device": "h100", "phase": p, "steps": s, "batch_size": b, "block": k, "status": "ok"}
        for k in range(2)
        for p in ("denoise", "decode")
        for s in (5, 10, 20, 40)
        for b in (1, 2, 4, 8)
        for _ in range(2)
    ]
    frame = pd.DataFrame(rows)
    y = 0.002 + 0.0003 * frame["steps"] + 0.0002 * frame["steps"] * frame["batch_size"]
    frame["latency_s"] = y * np.where(frame["phase"] == "decode", 2, 1) * rng.lognormal(0, 0.02, len(frame))
    frame["energy_j"] = frame["latency_s"] * 300
    frame["run_order"] = rng.permutation(len(frame))
    path = tmp_path / "p.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_model_predicts_at_once(qmodel, profile, tmp_path):
    done = qmodel("fit", profile, "--phase", "denoise", "-o", tmp_path / "m.json")
    assert done.code == 0 and "latency = " in done.out and "wrote" in done.err
    assert max(map(len, done.out.splitlines())) <= 80
    (tmp_path / "s.toml").write_text(SCENARIO.format(model="m.json"))
    answer = qmodel("predict", tmp_path / "s.toml", "--json")
    mean = json.loads(answer.out)["results"][0]["classes"][0]["mean_service_s"]
    assert mean == pytest.approx(0.002 + 0.0005 * 25, rel=0.02)


@pytest.mark.parametrize("forms", ["table", "power-law", "max-affine", "affine,piecewise"])
def test_every_form_predicts_at_once(qmodel, profile, tmp_path, forms):
    done = qmodel("fit", profile, "--phase", "denoise", "--forms", forms, "-o", tmp_path / "m.json")
    assert done.code == 0
    (tmp_path / "s.toml").write_text(SCENARIO.format(model="m.json"))
    mean = json.loads(qmodel("predict", tmp_path / "s.toml", "--json").out)["results"][0]["classes"][0]
    assert mean["mean_service_s"] == pytest.approx(0.002 + 0.0005 * 25, rel=0.1)


def test_a_table_is_not_asked_beyond_its_edges(qmodel, refused, profile, tmp_path):
    qmodel("fit", profile, "--phase", "denoise", "--forms", "table", "-o", tmp_path / "m.json")
    (tmp_path / "s.toml").write_text(SCENARIO.format(model="m.json").replace("high = 40", "high = 80"))
    assert "does not extrapolate" in refused("predict", tmp_path / "s.toml")


def test_each_phase_has_a_model(qmodel, profile, tmp_path):
    done = qmodel(
        "fit", profile, "-o", tmp_path / "m.json", "--markdown", tmp_path / "m.md", "--figures", tmp_path / "f"
    )
    assert done.code == 0
    models = {p: ServiceModel.load(tmp_path / f"m.{p}.json") for p in ("denoise", "decode")}
    at = {"steps": 20, "batch_size": 4}
    assert models["decode"].predict(at) == pytest.approx(2 * models["denoise"].predict(at), rel=0.03)
    assert models["decode"].phase == "decode"
    assert (tmp_path / "m.decode.md").read_text().startswith("## Service time of t (decode) on h100")
    assert (tmp_path / "f" / "denoise" / "qq.png").exists()


def test_documents(qmodel, profile, tmp_path):
    words = ("fit", profile, "--where", "phase=denoise")
    assert qmodel(*words, "--latex", "-").out.startswith(r"\subsection*{Service time of t")
    assert qmodel(*words, "--markdown", "-").out.startswith("## Service time")
    done = qmodel(*words, "--latex", tmp_path / "m.tex")
    assert r"\toprule" in (tmp_path / "m.tex").read_text() and "In words" in done.out


def test_terms_loss_and_types(qmodel, profile):
    words = ("fit", profile, "--phase", "denoise", "--terms", "1,min(steps,10),over(steps,10):batch_size")
    done = qmodel(*words, "--loss", "huber", "--anova-type", "3", "--transform", "none")
    assert "over(steps,10)" in done.out and "type 3, response" in done.out
    plain = qmodel("fit", profile, "--phase", "denoise", "--terms", "1,steps", "--loss", "ols", "--signed")
    assert plain.code == 0 and "batch_size:steps" not in plain.out.split("Coefficients")[1].split("Relative")[0]
    named = qmodel(
        "fit", profile, "--phase", "denoise", "--categorical", "batch_size", "--reference", "batch_size=4"
    )
    assert named.code == 0 and "batch_size" in named.out


def test_device_and_work(qmodel, refused, profile):
    words = ("fit", profile, "--phase", "denoise", "--terms", "1,steps,batch_size:steps")
    done = qmodel(*words, "--device", "h100", "--bytes", "steps=800M", "--flops", "batch_size:steps=100G")
    assert "never below max(" in done.out and "of the sheet's bandwidth" in done.out
    assert refused(*words, "--bytes", "steps=1G").startswith("--device: is missing")
    assert "'x1' is not in the data sheets" in refused(*words, "--device", "x1")


def test_designs(qmodel, profile, tmp_path):
    done = qmodel("fit", profile, "--phase", "denoise", "--design", "--cells", "3", "--precision", "0.01")
    assert "Next measurements" in done.out and "repetitions tell a cell's mean to within 1.0 %" in " ".join(
        done.out.split()
    )
    qmodel("fit", profile, "--phase", "denoise", "-o", tmp_path / "m.json")
    text = SCENARIO.format(model="m.json").replace("high = 40", "high = 80")
    (tmp_path / "s.toml").write_text(text)
    done = qmodel("fit", profile, "--phase", "denoise", "--design", tmp_path / "s.toml")
    words = " ".join(done.out.split())
    assert "wanted levels" in words and "measure there first" in words
    assert "steps is wanted at 10 to" in words


def test_wanted_levels_follow_the_scenario(tmp_path):
    rng = np.random.default_rng(0)
    grid = [(b, c, o) for b in (1.0, 4, 16) for c in (16.0, 256, 1024) for o in (1.0, 2.0, 3.0) for _ in range(2)]
    frame = pd.DataFrame(grid, columns=["batch_size", "context_tokens", "other"])
    y = 0.01 + 1e-3 * frame.batch_size + 1e-6 * frame.batch_size * frame.context_tokens + 1e-3 * frame.other
    frame["latency_s"] = y * rng.lognormal(0, 0.01, len(frame))
    frame.to_csv(tmp_path / "p.csv", index=False)
    result = fit_measurements(read_profile(tmp_path / "p.csv"), analysis=False)
    (tmp_path / "s.toml").write_text(BATCHED)
    levels = wanted_levels(read_scenario(tmp_path / "s.toml", {}), result)
    assert set(np.unique(levels["batch_size"])) == {1, 2, 4, 6}
    assert set(np.unique(levels["other"])) == {1, 2, 3}
    assert np.mean(levels["context_tokens"]) == pytest.approx(300 + 25, rel=0.2)


def test_power_and_exits(qmodel, refused, profile, tmp_path):
    done = qmodel("fit", profile, "--phase", "denoise", "--response", "power_w")
    assert "Mean power" in done.out and "300 W" in done.out
    (tmp_path / "l.csv").write_text("exit\n" + "4\n8\n8\n" * 20)
    done = qmodel("fit", tmp_path / "l.csv", "--response", "exit", "-o", tmp_path / "x.toml")
    assert "33 %" in done.out and 'kind = "early-exit"' in (tmp_path / "x.toml").read_text()
    assert "2 files are given" in refused("fit", profile, tmp_path / "l.csv", "--response", "exit")


def test_composition(qmodel, profile, tmp_path):
    for phase in ("denoise", "decode"):
        qmodel("fit", profile, "--phase", phase, "-o", tmp_path / f"{phase}.json")
    parts = [f'[[component]]\nname = "{p}"\nmodel = "{p}.json"\n' for p in ("denoise", "decode")]
    (tmp_path / "c.toml").write_text("\n".join(parts))
    done = qmodel("fit", tmp_path / "c.toml", "-o", tmp_path / "m.json")
    assert done.out.startswith("latency = denoise[")
    at = {"steps": 20, "batch_size": 4}
    assert ServiceModel.load(tmp_path / "m.json").predict(at) == pytest.approx(
        3 * (0.002 + 0.006 + 0.016), rel=0.02
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--loss", "l1"), "--loss: 'l1' is unknown"),
        (("--transform", "sqrt"), "--transform: 'sqrt' is unknown"),
        (("--anova-type", "4"), "ANOVA type: 4 is unknown"),
        (("--forms", "spline"), "forms: 'spline' is unknown"),
        (("--terms", "exp(steps)"), '"exp(steps)" is not a term'),
        (("x.toml",), "does not know what to do with these files"),
    ],
)
def test_bad_words(refused, profile, words, message):
    assert message in refused("fit", profile, "--phase", "denoise", *words)
