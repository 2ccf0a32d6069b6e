"""`qmodel plan` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qmodel.cli import run
from qmodel.cli.plan import counts, varied
from qmodel.errors import InputError
from tests.planning.conftest import written_engine, written_traces

SCENARIO = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 1.4 }
service = { distribution = "exponential", mean = 1.0 }
[[transform]]
kind = "model-swap"
above_queue = 4
service_factor = 0.5
quality = 0.9
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    one = tmp_path / "chat.toml"
    one.write_text(SCENARIO, encoding="utf-8")
    return one


def test_the_table_fits_80_columns(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    asked = ["plan", str(file), "--slo", "response_p95_s=4", "--servers", "1..4", "--requests", "20000"]
    assert run([*asked, "--policies", "fcfs,np-priority", "--vary", "transform.0.above_queue=1,2,4,8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "fewest servers with p95_response_s <= 4" in text
    assert "winner: " in text and "runner-up: " in text and "95 % intervals" in text
    assert "32 candidates" in text


def test_json_on_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(file), "--slo", "response_s=3", "--requests", "20000", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["met"] and data["objective"] == "rate"
    assert data["winner"]["confirmed"]["verdict"] in ("holds", "within noise")


def test_a_plan_of_kinds_written_whole(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "big.toml").write_text("price = 2.5\nbuffer = 50\n")
    (tmp_path / "small.toml").write_text("price = 1.0\nbuffer = 40\n")
    kinds = [f"--kind={name}={tmp_path / name}.toml" for name in ("big", "small")]
    asked = ["plan", str(file), "--slo", "response_s=4", "--servers", "1,2", "--requests", "20000", *kinds]
    out = tmp_path / "plan.json"
    assert run([*asked, "--out", str(out), "--set", "transform=[]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "least price with" in lines[0]
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["winner"]["settings"] == {"kind": "small"} and written["winner"]["price"] == 2.0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("plan")] == ["plan.json"]


def test_exit_code_3_with_the_nearest_miss(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(file), "--slo", "response_p95_s=0.1", "--servers", "1,2"]) == 3
    out = capsys.readouterr().out
    assert "nothing meets them" in out and "nearest miss: fcfs, 2 servers" in out
    assert run(["plan", str(file), "--slo", "response_s=1", "--rate", "99", "--servers", "1,2"]) == 3
    assert "no candidate is stable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--slo"),
        (["--slo", "ttft_p99=1"], "ttft_p99_s"),
        (["--slo", "response_s=2", "--servers", "4..1"], "out of range"),
        (["--slo", "response_s=2", "--servers", "two"], "no whole number"),
        (["--slo", "response_s=2", "--vary", "system.serverz=1,2"], "did you mean 'servers'"),
        (["--slo", "response_s=2", "--vary", "oops"], "PATH=V1,V2"),
        (["--slo", "response_s=2", "--policies", "fifo"], "policy 'fifo'"),
        (["--slo", "response_s=2", "--rate", "-1"], "--rate"),
        (["--slo", "response_s=2", "--requests", "5"], "--requests"),
        (["--slo", "response_s=2", "--seed", "-5"], "--seed"),
        (["--slo", "response_s=2", "--trace", "nowhere.csv"], "nowhere.csv"),
        (["--slo", "response_s=2", "--knob", "system.servers=1..4"], "--tune"),
        (["--slo", "response_s=2", "--tune", "bandit", "--knob", "system.servers=1..4"], "--train"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    file: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(["plan", str(file), *options]) == 2
    told = capsys.readouterr()
    assert not told.out and len(told.err.splitlines()) == 1 and words in told.err


def test_whole_numbers_and_values() -> None:
    assert counts("1..3,8", "--servers") == [1, 2, 3, 8] and counts(None, "--servers") == []
    assert varied(["a.b=1,x", "c=[[1], [2]]"]) == {"a.b": [1, "x"], "c": [[1], [2]]}
    with pytest.raises(InputError):
        counts("0", "--servers")


def test_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine_file = written_engine(tmp_path)
    train, judge = map(str, written_traces(tmp_path))
    asked = ["plan", str(engine_file), "--slo", "tpot_p95_s=0.05", "--tune", "bayesian", "--train", train]
    asked += ["--judge", judge, "--knob", "system.max_batch=1..32", "--budget", "4", "--window-s", "10"]
    assert run(asked) == 0
    out = capsys.readouterr().out
    assert "best static" in out and "default: max_batch 8" in out
    assert max(map(len, out.splitlines())) <= 80
    assert run([*asked, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "qmodel.tuning/1" and len(data["controllers"]) == 3
    assert run([*asked, "--set", "class.chat.slo.response_s=1", "--slo", "tpot_p95_s=0.0001"]) == 3


def test_a_trace_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", str(written_engine(tmp_path)), "--slo", "ttft_p95_s=2", "--servers", "1,2"]
    assert run([*asked, "--trace", str(written_traces(tmp_path)[0])]) == 0
    assert "400 requests" in capsys.readouterr().out
