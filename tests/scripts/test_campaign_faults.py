"""Faults of a campaign, done for real: a full disk, memory that ends, clocks that jump, signals in live runs."""

import csv
import itertools
import signal
import subprocess
import sys
import time
import tomllib

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from campaign.clock import Clock  # noqa: E402
from campaign.session import Settings, measure  # noqa: E402

from tests.scripts import pretend  # noqa: E402
from tests.scripts.conftest import ROOT, SCRIPT, campaign  # noqa: E402

MANY = {"rounds": 20, "repetitions": 5}
FULL_DISK = f"""
import resource, signal, sys
sys.path[:0] = ["{ROOT}/scripts", "{ROOT}"]
from pathlib import Path
from campaign import main
from campaign.clock import Clock
from campaign.session import Settings
from tests.scripts import pretend
import torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
stage = pretend.stage(rounds={MANY["rounds"]}, repetitions={MANY["repetitions"]})
sys.exit(main.one_stage(stage, Settings(Path(sys.argv[1]), device="cpu"), Clock(100)))
"""


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def whole_rows(path):
    """Rows but for what a write that failed half-way may have left at the end."""
    text = path.read_text()
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def test_a_disk_that_fills_keeps_the_rows_and_the_stage_goes_on(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2, done.stderr
    assert "File too large; make room and go on with --resume" in done.stderr
    before = whole_rows(tmp_path / "sleep.csv")
    assert 100 < len(before) < 600
    outcome = measure(pretend.stage(**MANY), Settings(tmp_path, device="cpu", resume=True), Clock(100.0))
    assert (outcome.rows, outcome.complete) == (600, 6)
    assert rows_of(tmp_path / "sleep.csv")[: len(before)] == before


def test_memory_that_really_ends_is_a_row(tmp_path):
    def begin(cell):
        if cell.levels["batch_size"] == 3:
            torch.empty(1 << 60, dtype=torch.uint8)

    outcome = measure(pretend.stage(on_begin=begin), Settings(tmp_path, device="cpu"), Clock(60.0))
    lacking = {row["batch_size"] for row in rows_of(tmp_path / "sleep.csv") if row["status"] == "out_of_memory"}
    assert lacking == {"3"}
    assert (outcome.out_of_memory, outcome.complete, outcome.failed) == (2, 4, 0)


def test_wall_clocks_that_jump_do_not_matter(tmp_path, monkeypatch):
    """A day forth and back at every reading: durations and the budget are monotonic."""
    day, now = itertools.cycle((86_400.0, -86_400.0)), time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(day))
    outcome = measure(pretend.stage(), Settings(tmp_path, device="cpu"), Clock(60.0))
    assert (outcome.complete, outcome.ended_by) == (6, "completion")
    assert all(1e-3 <= float(row["latency_s"]) < 60 for row in rows_of(tmp_path / "sleep.csv"))


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_live_runs_go_on_after_a_signal(tmp_path, number):
    arguments = ["live", "--scale", "smoke", "--device", "cpu", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stderr=subprocess.DEVNULL)
    path, end = tmp_path / "live.csv", time.monotonic() + 90
    while not complete_runs(path) and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(timeout=30) == (-number if number == signal.SIGKILL else 128 + number)
    wanted, complete = wanted_runs(path), complete_runs(path)
    assert 1 <= len(complete) < len(wanted)
    done = campaign(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    after = by_run(rows_of(path))
    assert {run: len(rows) for run, rows in after.items()} == wanted
    assert all(after[run] == rows for run, rows in complete.items())
    assert tomllib.loads((tmp_path / "live.meta.toml").read_text())["complete"] is True


def wanted_runs(path):
    """Requests of each run, as planned before the first."""
    planned = tomllib.loads(path.with_name("live.meta.toml").read_text())["prediction"]
    return {(p["policy"], str(p["load"]), str(p["seed"])): p["requests"] for p in planned}


def complete_runs(path):
    """Rows of each run that is whole so far."""
    if not path.exists():
        return {}
    wanted = wanted_runs(path)
    return {run: rows for run, rows in by_run(whole_rows(path)).items() if len(rows) == wanted[run]}


def by_run(rows):
    found = {}
    for row in rows:
        found.setdefault((row["policy"], row["load"], row["seed"]), []).append(row)
    return found
