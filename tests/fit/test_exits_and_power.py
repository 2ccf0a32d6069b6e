"""The law of exits, mean power as a response, energy a request."""

import tomllib

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements, read_profile
from qmodel.fit.csv_text import read_text
from qmodel.fit.exits import exit_law
from qmodel.fit.power import Energy, with_power
from qmodel.service.model import ServiceModel
from qmodel.service.transform import EarlyExit

from .test_planted_truth import band, seeds


def log(path, seed, n=400, chat=(0.5, 0.3, 0.2), code=(0.5, 0.3, 0.2)):
    rng = np.random.default_rng(seed)
    kind = np.where(np.arange(n) % 2, "chat", "code")
    exits = [rng.choice([4, 8, 12], p=chat if k == "chat" else code) for k in kind]
    frame = pd.DataFrame({"class": kind, "input_tokens": rng.integers(1, 900, n), "exit": exits, "status": "ok"})
    frame.to_csv(path, index=False)
    return read_text(path)


def test_probabilities_and_transform(tmp_path):
    law = exit_law(log(tmp_path / "l.csv", 0), depth=16)
    counts = pd.read_csv(tmp_path / "l.csv")["exit"].value_counts()
    assert law.table["probability"].to_dict() == {str(k): counts[k] / 400 for k in (4, 8, 12)}
    assert law.table["fraction"].tolist() == [0.25, 0.5, 0.75]
    assert law.mean_fraction == pytest.approx(sum(counts[k] / 400 * k / 16 for k in (4, 8, 12)))
    entry = tomllib.loads(law.to_toml())["transform"][0]
    made = EarlyExit(fractions=tuple(entry["fractions"]), probabilities=tuple(entry["probabilities"]))
    assert made.probabilities == pytest.approx(law.table["probability"].tolist())
    assert "On average" in law.summary() and max(map(len, law.summary().splitlines())) <= 80


@pytest.mark.parametrize("n", seeds(40, 500))
def test_intervals_hold_for_all_exits_together(n, tmp_path):
    """Goodman's intervals are simultaneous: all three hold in at least 95 %."""
    hits = 0
    for seed in range(n):
        t = exit_law(log(tmp_path / "l.csv", seed)).table
        hits += all(t["low"].to_numpy() <= (0.5, 0.3, 0.2)) and all(t["high"].to_numpy() >= (0.5, 0.3, 0.2))
    assert hits >= band(n, 0.95)[0]


def test_dependence_is_found_and_not_invented(tmp_path):
    found = exit_law(log(tmp_path / "l.csv", 1, code=(0.2, 0.3, 0.5)))
    assert found.dependence["class"] < 1e-4 and "Exits depend on class" in found.summary()
    p = [exit_law(log(tmp_path / "l.csv", s)).dependence["class"] for s in range(30)]
    assert sum(x < 0.05 for x in p) <= band(30, 0.05)[1]
    assert "No dependence on class and input_tokens was found" in " ".join(
        exit_law(log(tmp_path / "l.csv", 4)).summary().split()
    )


def test_a_single_exit(tmp_path):
    (tmp_path / "l.csv").write_text("exit\n6\n6\n\n6\n")
    law = exit_law(read_text(tmp_path / "l.csv"))
    assert law.table["low"].iloc[0] == pytest.approx(0.05 ** (1 / 3)) and law.mean_fraction == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer\n3\n", "column exit: is missing"),
        ("exit,x\n,1\n", "holds no exit"),
        ("exit\nlast\n", "'last' is no layer"),
        ("exit\n-1\n", "'-1' is no layer"),
    ],
)
def test_bad_logs(text, message, tmp_path):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        exit_law(read_text(tmp_path / "l.csv"))
    (tmp_path / "ok.csv").write_text("exit\n4\n8\n")
    with pytest.raises(InputError, match="depth not below"):
        exit_law(read_text(tmp_path / "ok.csv"), depth=6)


def energies(path):
    rng = np.random.default_rng(0)
    batch = np.repeat([1.0, 2, 4, 8, 16, 32], 5)
    latency = (0.01 + 0.001 * batch) * rng.lognormal(0, 0.01, len(batch))
    energy = latency * (100 + 5 * batch) * rng.lognormal(0, 0.01, len(batch))
    pd.DataFrame({"batch_size": batch, "latency_s": latency, "energy_j": energy}).to_csv(path, index=False)
    return path


def test_power_is_a_response(tmp_path):
    table = with_power(read_text(energies(tmp_path / "e.csv")))
    model = fit_measurements(read_profile([table], response="power_w"), analysis=False).model
    assert model.response == "power_w" and model.form.labels == ("1", "batch_size")
    assert model.form.coefficients == pytest.approx([100, 5], rel=0.05)
    assert with_power(table) is table
    assert "Mean power" in fit_measurements(read_profile([table], response="power_w")).summary()


def test_energy_and_power_agree(tmp_path):
    path = energies(tmp_path / "e.csv")
    joules, seconds = (
        fit_measurements(read_profile(path, response=r, factors=["batch_size"]), analysis=False).model
        for r in ("energy_j", "latency_s")
    )
    both = Energy(joules, seconds)
    assert both.power({"batch_size": 8}) == pytest.approx(140, rel=0.03)
    assert both.per_request({"batch_size": [8, 16]}) == pytest.approx([0.018 * 140 / 8, 0.026 * 180 / 16], rel=0.03)
    with pytest.raises(InputError, match="latency_s is not energy_j"):
        Energy(seconds, seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_s\n1\n", "energy_j: is missing: power is energy over time"),
        ("latency_s,energy_j\n1,\n", "holds no measurement"),
    ],
)
def test_no_power(text, message, tmp_path):
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        with_power(read_text(tmp_path / "e.csv"))


def test_energy_of_given_models():
    both = Energy(ServiceModel.affine({"1": 2.0}, response="energy_j"), ServiceModel.affine({"1": 0.5}))
    assert both.power({}) == 4.0 and both.per_request({}) == 2.0
