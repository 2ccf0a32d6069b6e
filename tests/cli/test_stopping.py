"""Signals in mid-run, sent for real: what is finished stays, one line says how to go on, and going on works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from qmodel.cli.stopping import Stopped, resumable, rows_kept

PROGRAM = [sys.executable, "-c", "from qmodel.cli import main; main()"]
MODULE = "import time\n\ndef nap(level):\n    time.sleep(0.005)\n    return 0.001 * level\n"
PROFILE = """
name = "naps"
[target]
kind = "callable"
callable = "napping:nap"
returns_seconds = true
[factors]
level = [1, 2, 3, 4, 5, 6, 7, 8]
[design]
blocks = 2
replicates = 20
[measurement]
warmup_s = 0.0
"""
ROWS = 160
SCENARIO = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 50 }
service = "deterministic:0.004"
"""
STUDY = """
name = "naps"
title = "Naps"
profile = "profile.toml"
scenario = "levels.toml"
policies = ["fcfs"]
loads = [0.5]
baseline = "fcfs"
[fit]
phases = ["call"]
[[exit]]
name = "none"
"""
LEVELS = """
[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 50 }
factors = { level = 4 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "napping.py").write_text(MODULE)
    (tmp_path / "profile.toml").write_text(PROFILE)
    (tmp_path / "q.toml").write_text(SCENARIO)
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "levels.toml").write_text(LEVELS)
    return tmp_path


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def come_about(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def cut_short(logs: Path) -> Iterator[bool]:
    """Of each live run that is under way, whether some requests are done."""
    return (lines(cut) > 20 for cut in logs.glob("*.part") if not cut.with_suffix("").exists())


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_profile_that_is_stopped_keeps_its_rows_and_goes_on(folder: Path, number: signal.Signals) -> None:
    csv, meta = folder / "naps.csv", folder / "naps.meta.toml"
    process = started(folder, "profile", "profile.toml")
    come_about(lambda: lines(csv) > 31, process)
    workers = workers_of(process)
    process.send_signal(number)
    out, said = process.communicate(timeout=20)
    assert workers and all(gone(pid) for pid in workers)
    kept = csv.read_bytes()
    rows = kept.count(b"\n") - 1
    assert 31 <= rows < ROWS and kept.endswith(b"\n")
    assert (out, tomllib.loads(meta.read_text())["complete"]) == ("", False)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        wanted = f"naps.csv: stopped by {number.name}; {rows} rows are kept: go on with --resume"
        assert said.splitlines() == ["profile naps ...", wanted]
        assert "ended_at" in tomllib.loads(meta.read_text())["session"][-1]
        assert sorted(path.name for path in folder.glob("naps*")) == ["naps.csv", "naps.meta.toml"]
    on = started(folder, "profile", "profile.toml", "--resume")
    told, _ = on.communicate(timeout=60)
    assert on.returncode == 0
    assert f"{ROWS} rows of 8 cells in naps.csv" in told
    assert csv.read_bytes().startswith(kept)
    found = tomllib.loads(meta.read_text())
    assert found["complete"] is True
    assert [session["rows_before"] for session in found["session"]] == [0, rows]


def test_a_profile_that_is_stopped_before_its_first_row(folder: Path) -> None:
    (folder / "napping.py").write_text("import time\ntime.sleep(30)\n" + MODULE)
    process = started(folder, "profile", "profile.toml")
    come_about(lambda: bool(workers_of(process)), process)
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "naps.csv: stopped by SIGTERM; nothing was measured yet"
    assert list(folder.glob("naps*")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_is_stopped_keeps_what_is_finished_and_goes_on(folder: Path, number: signal.Signals) -> None:
    csv, state = folder / "results" / "profile.csv", folder / "results" / "state.json"
    process = started(folder, "study", "study.toml")
    come_about(lambda: lines(csv) > 31, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    kept = csv.read_bytes()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert (
            said.splitlines()[-1]
            == "results: stopped by SIGTERM; what is finished is kept: the same command goes on"
        )
    assert json.loads(state.read_text())["stages"] == {}
    again = started(folder, "study", "study.toml", "--resume")
    come_about(lambda: "fit" in json.loads(state.read_text())["stages"], again)
    again.send_signal(number)
    again.communicate(timeout=20)
    assert again.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert csv.read_bytes().startswith(kept) and lines(csv) == ROWS + 1
    assert {"profile", "fit"} <= set(json.loads(state.read_text())["stages"])


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_validation_that_is_stopped_keeps_its_runs_and_goes_on(folder: Path, number: signal.Signals) -> None:
    words = "validate q.toml --target emulated --load 0.3,0.5 --seconds 2 -o out --json".split()
    logs = folder / "out" / "live"
    process = started(folder, *words)
    come_about(lambda: any(logs.glob("*.csv")) and any(cut_short(logs)), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    done = {path: path.read_bytes() for path in logs.glob("*.csv")}
    (cut,) = logs.glob("*.csv.part")
    assert len(done) == 1
    assert (pd.read_csv(cut)["status"] == "ok").sum() >= 10
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert (
            said.splitlines()[-1] == "out: stopped by SIGTERM; what is finished is kept: the same command goes on"
        )
    on = started(folder, *words)
    told, _ = on.communicate(timeout=100)
    assert on.returncode == 0
    assert {path: path.read_bytes() for path in done} == done
    assert len(list(logs.glob("*.csv"))) == 2 and not cut.exists()
    means = [row for row in json.loads(told) if row["metric"] == "mean_response_s" and row["class"] == "all"]
    assert [row["load"] for row in means] == [0.3, 0.5]
    assert {row["measured_method"] for row in means} == {"simulation"}  # waits are no measurement


class TestInProcess:
    def test_elsewhere_than_in_the_main_thread_signals_are_left_alone(self) -> None:
        before, inside = signal.getsignal(signal.SIGTERM), []

        def work() -> None:
            with resumable(Path("x"), str):
                inside.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert inside == [before]

    def test_a_second_sigterm_is_not_caught(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with (
            pytest.raises(Stopped, match=r"x: stopped by SIGTERM; later") as caught,
            resumable(Path("x"), lambda: "later"),
        ):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5.0)
            finally:
                during = signal.getsignal(signal.SIGTERM)
        assert during == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == before
        assert caught.value.code == 143

    def test_rows_that_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "p.csv"
        assert rows_kept(path) == "nothing was measured yet"
        path.write_text("a,b\n")
        assert rows_kept(path) == "nothing was measured yet"
        path.write_text("a,b\n1,2\n3,4\n5")
        assert rows_kept(path) == "2 rows are kept: go on with --resume"
