"""One outcome whatever the number of jobs; finished points survive a kill; refusals come through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qmodel as qm
from qmodel.errors import InputError
from qmodel.predict import Asking, predict
from qmodel.scenario import Scenario
from qmodel.sweep import running, sweep
from qmodel.sweep.store import Store, key
from qmodel.workload import Exponential, Lognormal, Poisson, RequestClass

TWO = Scenario(
    classes=[
        RequestClass("chat", Poisson(0.4), Exponential(1.0), priority=1),
        RequestClass("batch", Poisson(0.2), Lognormal(mean=1.0, scv=4.0)),
    ]
)
RUNS = Asking("simulation", percentiles=(95.0,), requests=5_000, seed=3)
GRID = {"vary": {"system.servers": [1, 2]}, "policies": ["fcfs", "srpt"], "rates": [0.3, 0.6]}


def test_a_sweep_is_what_the_points_alone_are() -> None:
    answer = sweep(TWO, **GRID, asking=RUNS)
    assert len(answer.results) == 8 and answer.scenario == TWO.fingerprint
    alone = predict(TWO.at_rate(0.6).with_policy(qm.policies.SRPT()), asking=RUNS).results[0]
    swept = next(
        r for r in answer.results if (r.settings, r.rate, r.policy) == ({"system.servers": 1}, 0.6, "srpt")
    )
    assert swept.to_dict() | {"settings": {}} == alone.to_dict() | {"settings": {}}


def test_jobs_change_no_bit() -> None:
    assert sweep(TWO, **GRID, asking=RUNS, jobs=2).to_json() == sweep(TWO, **GRID, asking=RUNS).to_json()


def test_the_table_has_a_column_for_each_varied_field() -> None:
    frame = qm.sweep(TWO, vary={"system.servers": [1, 2]}, asking=Asking("theory", percentiles=())).to_frame()
    assert list(frame.columns[:2]) == ["system.servers", "policy"]
    means = frame[(frame["class"] == "all") & (frame.metric == "mean_service_s")]
    assert means["system.servers"].tolist() == [1, 2]


def test_the_same_point_twice_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(running, "answer_one", lambda *words: asked.append(words) or predict(TWO).results[0])
    answer = sweep(TWO, rates=[0.3, 0.3])
    assert len(asked) == 1 and len(answer.results) == 2


def test_progress_ends_at_all() -> None:
    told: list[tuple[int, int]] = []
    sweep(TWO, **GRID, asking=RUNS, progress=lambda *step: told.append(step))
    assert told == [(i, 8) for i in range(1, 9)]


class TestFolder:
    def test_finished_points_are_not_answered_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = sweep(TWO, **GRID, asking=RUNS, folder=tmp_path)
        points = sorted((tmp_path / "points").glob("*.json"))
        assert len(points) == 8
        assert json.loads((tmp_path / "answer.json").read_text())["results"][0]["policy"] == "fcfs"
        assert (tmp_path / "answer.csv").read_text().startswith("system.servers,policy,rate")
        points[0].unlink()
        asked: list[object] = []
        whole = running.answer_one
        monkeypatch.setattr(running, "answer_one", lambda *words: asked.append(words) or whole(*words))
        told: list[tuple[int, int]] = []
        again = sweep(TWO, **GRID, asking=RUNS, folder=tmp_path, resume=True, progress=lambda *s: told.append(s))
        assert again.to_json() == first.to_json()
        assert len(asked) == 1 and told == [(7, 8), (8, 8)]

    def test_a_folder_in_use_needs_a_word(self, tmp_path: Path) -> None:
        sweep(TWO, asking=RUNS, folder=tmp_path)
        with pytest.raises(InputError, match="--resume"):
            sweep(TWO, asking=RUNS, folder=tmp_path)

    def test_other_seeds_and_scenarios_are_other_points(self) -> None:
        points = [
            *(running.grid(TWO, rates=[0.3, 0.6])),
            *(running.grid(TWO, {"system.servers": [2]}, rates=[0.3])),
        ]
        keys = {key(point, asking) for point in points for asking in (RUNS, Asking("simulation", seed=9))}
        assert len(keys) == 6

    @pytest.mark.parametrize("text", ["{", "{}", '{"schema": "qmodel.point/9", "result": RESULT}', "[]"])
    def test_a_file_that_is_no_point_is_named(self, tmp_path: Path, text: str) -> None:
        result = json.dumps(sweep(TWO, asking=RUNS).results[0].to_dict())
        (tmp_path / "points").mkdir()
        (tmp_path / "points" / "k.json").write_text(text.replace("RESULT", result))
        with pytest.raises(InputError, match=r"k\.json"):
            Store(tmp_path, resume=True).read("k")

    def test_without_a_folder_nothing_is_kept(self) -> None:
        store = Store(None)
        store.write("k", {})
        assert store.read("k") is None

    def test_what_was_finished_before_a_refusal_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="not analysable"):
            sweep(TWO, policies=["fcfs", "edf"], asking=Asking("theory", percentiles=()), folder=tmp_path)
        assert len(list((tmp_path / "points").glob("*.json"))) == 1

    def test_a_killed_sweep_goes_on(self, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text(
            '[[class]]\nname = "a"\narrivals = { process = "poisson", rate = 0.5 }\n'
            'service = { distribution = "exponential", mean = 1.0 }\n'
        )
        grid = ["--rate", "0.2,0.3,0.4,0.5,0.6,0.7", "--policy", "fcfs,ps", "--requests", "200000"]
        words = [sys.executable, "-m", "qmodel", "simulate", "s.toml", *grid, "--json"]
        running_sweep = subprocess.Popen([*words, "-o", "kept"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        kept = tmp_path / "kept" / "points"
        deadline = time.monotonic() + 300
        while len(list(kept.glob("[!.]*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(running_sweep.pid, signal.SIGKILL)
        running_sweep.wait()
        before = {path.name: path.stat().st_mtime_ns for path in kept.glob("[!.]*.json")}
        assert len(before) >= 2
        again = subprocess.run([*words, "-o", "kept", "--resume"], cwd=tmp_path, capture_output=True, timeout=300)
        whole = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=300)
        assert again.returncode == whole.returncode == 0, again.stderr
        assert again.stdout == whole.stdout
        assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
