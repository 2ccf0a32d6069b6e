"""`--vary`, `--jobs`, `--engine`, `-o`, `--resume`, `--precision`, `--horizon`, `--paired` as typed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from qmodel.cli.counting import Counting

INLINE = ("simulate", "--arrivals", "poisson:0.8", "--service", "exponential:1")
QUICK = ("--requests", "4000")


def test_a_grid_over_any_field(qmodel, files: Path) -> None:
    words = ("predict", "two.toml", "--vary", "system.servers=1,2", "--vary", "policy.preset=fcfs,np-priority",
             "--method", "theory")  # fmt: skip
    results = json.loads(qmodel(*words, "--json").out)["results"]
    assert [(r["settings"]["system.servers"], r["policy"]) for r in results] == [
        (1, "fcfs"), (1, "np-priority"), (2, "fcfs"), (2, "np-priority")
    ]  # fmt: skip
    table = qmodel(*words).out
    assert table.splitlines()[2].split()[:2] == ["servers", "policy"]
    qmodel(*words, "--csv", "grid.csv")
    assert set(pd.read_csv("grid.csv")["system.servers"]) == {1, 2}


def test_fields_of_one_name_go_by_their_path(qmodel, files: Path) -> None:
    fields = ("--vary", "class.first.weight=1.0", "--vary", "class.second.weight=1.5")
    table = qmodel("predict", "two.toml", *fields, "--method", "theory").out
    assert "class.first.weight" in table and "1.5" in table


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--vary", "system.servers"), "is no PATH=VALUE"),
        (("--vary", "=1"), "is no PATH=VALUE"),
        (("--vary", "system.servers=1", "--vary", "system.servers=2"), "is there twice"),
        (("--vary", "system.server=1"), "did you mean 'servers'?"),
        (("--vary", "system.servers=1,2", "--plot", "a.png"), "--plot"),
        (("--jobs", "0"), "--jobs"),
        (("--engine", "spark"), "--engine"),
        (("--resume",), "name it with -o"),
        (("--paired",), "give two policies or more"),
        (("--precision", "-1"), "precision"),
        (("--horizon", "0"), "horizon"),
        (("--horizon", "10", "--precision", "0.1"), "leave out the precision"),
    ],
)
def test_bad_words_are_refused_in_one_line(refused, files: Path, words: tuple[str, ...], line: str) -> None:
    assert line in refused("simulate", "one.toml", *QUICK, *words)


def test_theory_has_no_horizon(refused) -> None:
    assert "steady state" in refused("predict", *INLINE[1:], "--method", "theory", "--horizon", "10")


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_engine_is_one_line(refused, monkeypatch: pytest.MonkeyPatch, engine: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install 'qmodel[{engine}]'" in refused(*INLINE, *QUICK, "--engine", engine)


def test_a_folder_keeps_points_and_goes_on(qmodel, refused, files: Path) -> None:
    words = ("simulate", "one.toml", "--policy", "fcfs,srpt", *QUICK, "--json", "-o", "kept")
    first = qmodel(*words)
    assert first.code == 0 and len(list(Path("kept/points").glob("*.json"))) == 2
    assert "--resume" in refused(*words)
    assert qmodel(*words, "--resume").out == first.out


def test_precision_is_reached(qmodel) -> None:
    (result,) = json.loads(qmodel(*INLINE, *QUICK, "--precision", "0.05", "--json").out)["results"]
    low, high = result["classes"][0]["ci95"]["mean_response_s"]
    assert (high - low) / 2 <= 0.05 * result["classes"][0]["mean_response_s"]
    assert result["run"]["precision"] == 0.05 and result["run"]["requests"] > 4000


def test_an_overload_over_a_horizon_is_answered_and_called_unstable(qmodel) -> None:
    done = qmodel("predict", "--arrivals", "poisson:2", "--service", "exponential:1", "--horizon", "100", "--json")
    (result,) = json.loads(done.out)["results"]
    assert result["method"] == "simulation" and result["run"]["horizon_s"] == 100 and not result["stable"]
    assert result["classes"][0]["mean_response_s"] > 10


def test_paired_policies(qmodel) -> None:
    words = (*INLINE, "--policy", "fcfs,srpt,ps", "--paired", "--requests", "40000")
    results = json.loads(qmodel(*words, "--json").out)["results"]
    assert "improvement" not in results[0]["run"]
    gain = results[1]["run"]["improvement"]
    assert gain["baseline"] == "fcfs" and gain["classes"][0]["mean_response_s"]["low"] > 45
    table = qmodel(*words).out
    assert "how much lower response times are" in table
    (row,) = [line for line in table.splitlines() if line.startswith("srpt    fcfs")]
    assert row.count(" to ") == 4


def test_paired_classes_and_rates(qmodel, files: Path) -> None:
    words = ("two.toml", "--policy", "fcfs,np-priority", "--rate", "0.5,0.7", "--paired", *QUICK)
    table = qmodel("simulate", *words).out.partition("how much lower")[2]
    assert "rate/s" in table and "second" in table and "too short" in table


def test_paired_settings_of_one_policy(qmodel, files: Path) -> None:
    words = ("simulate", "one.toml", "--vary", "system.servers=1,2", "--paired", *QUICK, "--json")
    results = json.loads(qmodel(*words).out)["results"]
    assert results[1]["run"]["improvement"]["classes"][0]["mean_response_s"]["low"] > 20


def test_an_unstable_policy_is_not_compared(qmodel, files: Path) -> None:
    done = qmodel(
        "simulate", "one.toml", "--rate", "0.5,1.5", "--policy", "fcfs,srpt", "--paired", *QUICK, "--json"
    )
    results = json.loads(done.out)["results"]
    assert ["improvement" in result.get("run", {}) for result in results] == [False, True, False, False]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmodel.cli.counting.SILENT_S", -1.0)
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    counting = Counting()
    counting(1, 3)
    counting(3, 3)
    assert "1 of 3 points, about" in screen.getvalue() and "\n" not in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_progress_into_a_file_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    counting = Counting()
    counting(1, 3)
    assert file.getvalue() == ""
    counting.told -= 60
    counting(2, 3)
    assert file.getvalue().startswith("2 of 3 points, about ")
