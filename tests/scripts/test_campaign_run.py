"""A stage's run: rows one by one, resumed after a kill, ended by the budget, out of memory as a row."""

import csv
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from campaign.clock import Clock  # noqa: E402
from campaign.session import Settings, measure  # noqa: E402

from qmodel.errors import InputError  # noqa: E402
from tests.scripts import pretend  # noqa: E402
from tests.scripts.conftest import ROOT, campaign  # noqa: E402


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def meta_of(path):
    return tomllib.loads(path.with_suffix("").with_suffix(".meta.toml").read_text())


def run(stage, out, budget_s=60.0, **settings):
    return measure(stage, Settings(out, device="cpu", **settings), Clock(budget_s))


class Countdown(Clock):
    """A clock that only moves when it is read: a visit's worth at each reading."""

    def __init__(self, readings):
        super().__init__(1e6)
        self.readings = readings

    @property
    def left_s(self):
        self.readings -= 1
        return 1e6 if self.readings >= 0 else 0.0


def test_every_visit_leaves_its_rows_in_order(tmp_path):
    outcome = run(pretend.stage(), tmp_path)
    rows = rows_of(tmp_path / "sleep.csv")
    assert (outcome.cells, outcome.complete, outcome.visits_left, outcome.rows) == (6, 6, 0, 24)
    assert outcome.ended_by == "completion"
    assert [int(row["run_order"]) for row in rows] == list(range(1, 25))
    cells = Counter((row["batch_size"], row["kind"]) for row in rows)
    assert set(cells.values()) == {4}
    for cell in cells:
        replicates = [row["replicate"] for row in rows if (row["batch_size"], row["kind"]) == cell]
        assert replicates == ["1", "2", "3", "4"]
    blocks = [int(row["block"]) for row in rows]
    assert blocks == sorted(blocks)
    assert {row["batch_size"] for row in rows if int(row["block"]) <= 2} == {"1", "3"}
    for row in rows:
        assert (row["status"], row["pacing"], row["energy_j"]) == ("ok", "back-to-back", "")
        assert float(row["latency_s"]) == float(row["wall_s"]) >= 1e-3 * int(row["batch_size"])


def test_metadata_say_what_was_done(tmp_path):
    run(pretend.stage(), tmp_path)
    meta = meta_of(tmp_path / "sleep.csv")
    rows = rows_of(tmp_path / "sleep.csv")
    assert meta["schema"] == "qmodel.profile_meta/1"
    assert meta["complete"] is True
    assert {row["run_id"] for row in rows} == {meta["run_id"]}
    assert {row["device"] for row in rows} == {meta["target"]["device"]}
    assert meta["plan"]["replicates_per_cell"] == 4
    assert meta["machine"]["python"]
    assert [state.get("before_block") for state in meta["block_state"]] == [1, 2, 3, 4, None]
    (session,) = meta["session"]
    assert (session["rows_before"], session["ended_by"], session["visits_left"]) == (0, "completion", 0)
    assert session["ceilings"]["operations_per_s"] > 0


@pytest.mark.parametrize("readings", [1, 5, 7, 11])
def test_the_budget_ends_the_run_between_visits_and_a_balanced_design_stands(tmp_path, readings):
    stage = pretend.stage()
    outcome = measure(stage, Settings(tmp_path, device="cpu"), Countdown(readings))
    rows = rows_of(tmp_path / "sleep.csv")
    assert len(rows) == 2 * readings
    assert (outcome.ended_by, outcome.visits_left) == ("budget", 12 - readings)
    assert meta_of(tmp_path / "sleep.csv")["complete"] is False
    visits = Counter((row["batch_size"], row["kind"]) for row in rows)
    coarse = [count for (batch, _), count in visits.items() if batch != "2"]
    if readings >= 4:
        assert len(coarse) == 4
        assert max(coarse) - min(coarse) <= 2
    assert f"{12 - readings} visits left" in outcome.line
    again = run(stage, tmp_path, resume=True)
    assert (again.complete, again.rows, again.ended_by) == (6, 24, "completion")
    assert [int(row["run_order"]) for row in rows_of(tmp_path / "sleep.csv")] == list(range(1, 25))
    assert len(meta_of(tmp_path / "sleep.csv")["session"]) == 2


def test_long_visits_that_do_not_fit_are_left_and_shorter_ones_still_made(tmp_path):
    stage = pretend.stage(batches=(1, 2, 200), rounds=2, repetitions=1)
    run(stage, tmp_path)
    rows = rows_of(tmp_path / "sleep.csv")
    kept = [row for row in rows if int(row["block"]) == 1]
    path = tmp_path / "again" / "sleep.csv"
    path.parent.mkdir()
    path.write_bytes(b"\n".join((tmp_path / "sleep.csv").read_bytes().splitlines()[: len(kept) + 1]) + b"\n")
    meta = path.with_name("sleep.meta.toml")
    meta.write_text((tmp_path / "sleep.meta.toml").read_text().replace("complete = true", "complete = false"))

    class Short(Clock):
        left_s = 0.15

    outcome = measure(stage, Settings(path.parent, device="cpu", resume=True), Short(1e6))
    later = rows_of(path)[len(kept) :]
    assert {row["batch_size"] for row in later} == {"1", "2"}
    assert outcome.visits_left == 2


def test_a_call_that_outlasts_every_forecast_ends_with_the_budget(tmp_path):
    done = subprocess.run([sys.executable, "-c", CHILD.format(call_s=300.0, budget_s=5.0, root=ROOT, out=tmp_path)],
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the budget is over in the middle of a call" in done.stderr
    assert meta_of(tmp_path / "sleep.csv")["complete"] is False


CHILD = """
import sys
sys.path[:0] = ["{root}/scripts", "{root}"]
from campaign.clock import Clock
from campaign.session import Settings, measure
from pathlib import Path
import torch
from tests.scripts import pretend
settings = Settings(Path("{out}"), device="cpu", resume=True)
outcome = measure(pretend.stage(call_s={call_s}), settings, Clock({budget_s}))
print(outcome.rows)
"""


def test_resumes_after_kill_9_without_losing_a_row(tmp_path):
    code = CHILD.format(call_s=0.03, budget_s=60, root=ROOT, out=tmp_path)
    process = subprocess.Popen([sys.executable, "-c", code])
    path, end = tmp_path / "sleep.csv", time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= 6) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = rows_of(path)
    assert 5 <= len(before) < 24
    with path.open("a") as file:
        file.write("sleep-torn,sleeper,")  # what a torn write would leave
    outcome = run(pretend.stage(), tmp_path, resume=True)
    after = rows_of(path)
    assert after[: len(before)] == before
    assert (outcome.rows, outcome.complete, len(after)) == (24, 6, 24)
    assert [int(row["run_order"]) for row in after] == list(range(1, 25))
    assert set(Counter((row["batch_size"], row["kind"], row["block"]) for row in after).values()) == {2}


def test_sigterm_leaves_metadata_of_what_is_there(tmp_path):
    arguments = [sys.executable, str(ROOT / "scripts" / "gpu_campaign.py"), "all", "--scale", "smoke"]
    process = subprocess.Popen([*arguments, "--device", "cpu", "--out", str(tmp_path)], stderr=subprocess.DEVNULL)
    path, end = tmp_path / "prefill-1b.csv", time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= 5) and time.monotonic() < end:
        time.sleep(0.002)
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    latest = max(tmp_path.glob("*.meta.toml"), key=os.path.getmtime)
    assert tomllib.loads(latest.read_text())["session"][-1]["ended_by"] in ("interruption", "completion")


def test_goes_on_with_rows_that_lie_elsewhere_and_leaves_those_alone(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    measure(pretend.stage(), Settings(first, device="cpu"), Countdown(5))
    before = (first / "sleep.csv").read_bytes()
    outcome = run(pretend.stage(), second, source=first)
    assert (outcome.rows, outcome.complete) == (24, 6)
    assert (first / "sleep.csv").read_bytes() == before
    assert (second / "sleep.csv").read_bytes().startswith(before)
    assert run(pretend.stage(), second, resume=True) is None  # complete: the model is not even built


def test_a_source_without_this_stage_means_a_fresh_start(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(pretend.stage(), tmp_path / "out", source=empty).rows == 24


def test_out_of_memory_is_a_row_and_closes_larger_cells(tmp_path):
    def begin(cell):
        if cell.levels["batch_size"] == 3 and cell.levels["kind"] == "a":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    outcome = run(pretend.stage(batches=(1, 2, 3, 4), on_begin=begin), tmp_path)
    rows = rows_of(tmp_path / "sleep.csv")
    lacking = {(row["batch_size"], row["kind"]) for row in rows if row["status"] == "out_of_memory"}
    assert {("3", "a")} <= lacking <= {("3", "a"), ("4", "a")}
    assert all(row["latency_s"] == "" for row in rows if row["status"] != "ok")
    assert Counter(row["status"] for row in rows)["out_of_memory"] == len(lacking)
    assert (outcome.out_of_memory, outcome.complete, outcome.failed) == (len(lacking), 8 - len(lacking), 0)
    assert run(pretend.stage(batches=(1, 2, 3, 4), on_begin=begin), tmp_path, resume=True) is None


def test_larger_cells_are_closed_untried_once_a_smaller_one_ran_out(tmp_path):
    tried = []

    def begin(cell):
        tried.append((cell.levels["batch_size"], cell.levels["kind"]))
        raise MemoryError

    outcome = run(pretend.stage(batches=(1, 2, 3, 4, 5), on_begin=begin), tmp_path)
    assert outcome.out_of_memory == 10
    assert len(rows_of(tmp_path / "sleep.csv")) == 10
    assert len(set(tried)) == len(tried) < 10


def test_cells_larger_than_the_memory_are_never_tried(tmp_path):
    tried = set()
    stage = pretend.stage(capacity=2500.0, on_begin=lambda cell: tried.add(cell.levels["batch_size"]))
    outcome = run(stage, tmp_path)
    assert tried == {1, 2}
    rows = [row for row in rows_of(tmp_path / "sleep.csv") if row["status"] == "out_of_memory"]
    assert [(row["batch_size"], row["replicate"]) for row in rows] == [("3", "1"), ("3", "1")]
    assert (outcome.out_of_memory, outcome.complete, outcome.visits_left) == (2, 4, 0)


def test_a_cell_that_fails_is_a_row_and_many_in_a_row_end_the_stage(tmp_path):
    def once(cell):
        if cell.levels == {"batch_size": 2, "kind": "b"}:
            raise ValueError("no such\nkernel")

    outcome = run(pretend.stage(on_begin=once), tmp_path / "one")
    (row,) = (row for row in rows_of(tmp_path / "one" / "sleep.csv") if row["status"] != "ok")
    assert row["status"] == "failed: ValueError: no such kernel"
    assert (outcome.failed, outcome.complete) == (1, 5)

    def always(cell):
        raise ValueError("device lost")

    with pytest.raises(InputError, match=r"5 cells failed one after the other.*device lost.*--resume"):
        run(pretend.stage(on_begin=always), tmp_path / "all")
    assert len(rows_of(tmp_path / "all" / "sleep.csv")) == 5
    assert meta_of(tmp_path / "all" / "sleep.csv")["session"][0]["ended_by"] == "interruption"


def test_refuses_what_is_not_its_own(tmp_path):
    run(pretend.stage(), tmp_path)
    with pytest.raises(InputError, match="is there already; add --resume"):
        run(pretend.stage(), tmp_path)
    meta = tmp_path / "sleep.meta.toml"
    text = meta.read_text().replace("complete = true", "complete = false")
    meta.write_text(text)
    with pytest.raises(InputError, match="another design or scale"):
        run(pretend.stage(rounds=3), tmp_path, resume=True)
    meta.write_text(text.replace(meta_of(tmp_path / "sleep.csv")["target"]["device"], "NVIDIA H200"))
    with pytest.raises(InputError, match="another device"):
        run(pretend.stage(), tmp_path, resume=True)
    meta.unlink()
    with pytest.raises(InputError, match="without a readable"):
        run(pretend.stage(), tmp_path, resume=True)


def test_rows_of_a_foreign_cell_are_refused(tmp_path):
    measure(pretend.stage(), Settings(tmp_path, device="cpu"), Countdown(3))
    path = tmp_path / "sleep.csv"
    path.write_text(path.read_text().replace(",a,", ",z,"))
    with pytest.raises(InputError, match=r"sleep.csv, row \d+: is of no cell of this stage"):
        run(pretend.stage(), tmp_path, resume=True)


def test_a_full_disk_says_so_and_exits_with_2(tmp_path, monkeypatch):
    from campaign import main

    from qmodel.measure.rows import RowFile

    def full(self, row):
        raise OSError(28, "No space left on device", str(self.path))

    monkeypatch.setattr(RowFile, "append", full)
    assert main.one_stage(pretend.stage(), Settings(tmp_path, device="cpu"), Clock(60)) == 2


def test_a_stage_that_breaks_does_not_keep_the_next_from_its_turn(tmp_path, monkeypatch, capsys):
    from campaign import main

    broken = pretend.stage(name="broken")
    object.__setattr__(broken, "bench", lambda engine: 1 / 0)
    monkeypatch.setattr(main, "smoke_stages", lambda: [broken, pretend.stage()])
    monkeypatch.setattr(main, "smoke_live", lambda: pretend.stage(name="live"))
    code = main.main(time.monotonic(), ["all", "--scale", "smoke", "--device", "cpu", "--out", str(tmp_path)])
    assert code == 1
    out, err = capsys.readouterr()
    assert "broken" in out
    assert "ZeroDivisionError" in err
    assert len(rows_of(tmp_path / "sleep.csv")) == len(rows_of(tmp_path / "live.csv")) == 24


def test_stages_share_the_budget(tmp_path, capsys):
    from campaign import main

    clock = Clock(1e-9)
    assert main.one_stage(pretend.stage(), Settings(tmp_path, device="cpu"), clock) == 0
    assert "not begun" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode-9b", "--out", "x"], "stage 'decode-9b': is unknown; did you mean 'decode-"),
        (["decode-8b"], "--out: is missing"),
        (["summarise"], "--from: is missing"),
        (["decode-8b", "--out", "x", "--budget-s", "0"], "--budget-s: 0 is no time"),
        (["decode-8b", "--out", "x", "--budget-s", "nan"], "--budget-s: nan is no time"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message, capsys):
    from campaign import main

    assert main.main(time.monotonic(), arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = campaign("decode-8b", "--device", "cuda", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "device: there is no 'cuda' here; use auto or cpu"


def test_without_a_gpu_the_whole_campaign_is_not_begun(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = campaign("decode-8b", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("--device: torch sees no GPU here; look at the driver")
    assert not (tmp_path / "out").exists()


def test_lists_what_there_is_with_expected_seconds():
    done = campaign("list")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    names = "prefill-1b decode-1b prefill-8b decode-8b exit-precision diffusion live".split()
    assert list(lines) == ["stage", *names]
    seconds = {name: float(lines[name][2 if name == "live" else 4]) for name in names}
    assert all(60 < value < 540 for value in seconds.values()), seconds
