"""An imported trace as a scenario: what it says, and that it can be asked at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmodel.cli import run
from qmodel.scenario_file import read_scenario
from qmodel.service.model import ServiceModel
from qmodel.simulation import simulate
from qmodel.workload import Copula, Pairs, Poisson, Trace

N = 1500


def trace(folder: Path, gaps: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> Path:
    """An Azure trace of these gaps (s) and lengths."""
    stamps = pd.Timestamp("2023-11-16 18:00:00") + pd.to_timedelta(np.cumsum(gaps), unit="s")
    lengths = {"ContextTokens": np.ceil(inputs).astype(int), "GeneratedTokens": np.ceil(outputs).astype(int)}
    pd.DataFrame({"TIMESTAMP": stamps} | lengths).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def written(folder: Path, file: Path, *options: str) -> str:
    """The scenario that the command writes."""
    assert run(["import", str(file), "--as-scenario", str(folder / "s.toml"), *options]) == 0
    return (folder / "s.toml").read_text()


def lognormals(rho: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    pair = np.random.default_rng(4).multivariate_normal([0, 0], [[1, rho], [rho, 1]], N)
    return np.exp(6.0 + 0.8 * pair[:, 0]), np.exp(4.0 + 0.5 * pair[:, 1])


def test_poisson_arrivals_and_lengths_that_depend(tmp_path: Path) -> None:
    gaps = np.random.default_rng(1).exponential(0.5, N)
    text = written(tmp_path, trace(tmp_path, gaps, *lognormals(0.6)))
    scenario = read_scenario(tmp_path / "s.toml")
    one = scenario.classes[0]
    assert isinstance(one.arrivals, Poisson) and one.arrivals.rate == pytest.approx(2.0, rel=0.1)
    assert isinstance(one.joint, Copula) and one.joint.correlation == pytest.approx(0.58, abs=0.05)
    assert "An example, to be replaced by your own" in text
    answer = simulate(scenario, requests=2000, seed=1)
    assert answer.stable and answer["all"].mean_response_s > 0


def test_what_no_process_fits_is_replayed(tmp_path: Path) -> None:
    gaps = np.random.default_rng(1).exponential(0.02, N)
    gaps[::300] = 500.0
    heavy = 0.2 * np.random.default_rng(2).pareto(0.8, N) + 1.0
    text = written(tmp_path, trace(tmp_path, gaps, np.minimum(heavy * 50, 9000), lognormals()[1]))
    scenario = read_scenario(tmp_path / "s.toml")
    assert isinstance(scenario.classes[0].arrivals, Trace) and "# arrivals" in text
    assert 'input_tokens = "empirical:s.csv:input_tokens"' in text


def test_pairs_where_a_law_is_missing(tmp_path: Path) -> None:
    inputs, _ = lognormals()
    steep = np.where(inputs > np.median(inputs), 900.0, 9.0) + np.arange(N) % 7
    gaps = np.random.default_rng(1).exponential(0.5, N)
    written(tmp_path, trace(tmp_path, gaps, inputs, steep), "-o", str(tmp_path / "tidy.csv"))
    scenario = read_scenario(tmp_path / "s.toml")
    assert isinstance(scenario.classes[0].joint, Pairs) and len(scenario.classes[0].joint.inputs) == N
    assert not (tmp_path / "s.csv").exists()


def test_many_servers_where_one_is_not_enough(tmp_path: Path) -> None:
    gaps = np.random.default_rng(1).exponential(0.05, N)
    text = written(tmp_path, trace(tmp_path, gaps, *lognormals()))
    assert 'routing = "jsq"' in text and read_scenario(tmp_path / "s.toml").system.servers > 1


@pytest.mark.parametrize(("factor", "batching"), [("output_tokens", "none"), ("batch_size", "continuous")])
def test_a_model_of_ones_own(tmp_path: Path, factor: str, batching: str) -> None:
    model = ServiceModel.affine({"1": 0.01, factor: 0.001}, domain={factor: (1, 5000)})
    (tmp_path / "models").mkdir()
    model.save(tmp_path / "models" / "m.json")
    gaps = np.random.default_rng(1).exponential(0.5, N)
    text = written(tmp_path, trace(tmp_path, gaps, *lognormals()), "--service", str(tmp_path / "models" / "m.json"))
    assert 'service = "models/m.json"' in text and "iteration_time" not in text
    assert read_scenario(tmp_path / "s.toml").system.batching == batching


def test_lengths_without_times_come_at_a_rate_that_can_be_served(tmp_path: Path) -> None:
    inputs, outputs = lognormals()
    frame = pd.DataFrame({"num_prefill_tokens": np.ceil(inputs), "num_decode_tokens": np.ceil(outputs)}).astype(int)
    frame["num_total_tokens"] = frame.sum(axis=1)
    frame["pd_ratio"] = frame["num_prefill_tokens"] / frame["num_decode_tokens"]
    frame.to_csv(tmp_path / "lengths.csv", index=False)
    assert "The file tells no arrival times" in written(tmp_path, tmp_path / "lengths.csv")
    assert simulate(read_scenario(tmp_path / "s.toml"), requests=1000, seed=1).stable


def test_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = trace(tmp_path, np.ones(9), np.ones(9), np.ones(9))
    assert run(["import", str(file), "--as-scenario", str(tmp_path / "s.toml")]) == 2
    assert "too few requests with input and output tokens" in capsys.readouterr().err
    assert run(["import", str(file), "--service", "m.json"]) == 2
    assert "is for --as-scenario" in capsys.readouterr().err
