"""Whole profiles of real worker processes: rows, resuming after a kill, and every way in which a cell can fail."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from qmodel.errors import InputError
from qmodel.measure import ProfileSpec, run_profile
from qmodel.measure.meta import meta_path
from qmodel.measure.rows import Row, read_rows

HERE = Path(__file__).parent


def spec(function: str, factors: dict[str, list], *, target: dict | None = None, **tables: Any) -> ProfileSpec:
    measurement = {"warmup_s": 0.0, "min_replicates": 6, "max_replicates": 9, "setup_timeout_s": 20.0}
    content = {
        "name": "t",
        "target": {"kind": "callable", "callable": f"work:{function}", **(target or {})},
        "factors": factors,
        "design": {"blocks": 2, **tables.get("design", {})},
        "measurement": {**measurement, **tables.get("measurement", {})},
    }
    return ProfileSpec.of(content, folder=HERE)


def known(factors: dict[str, list], function: str = "exact", **tables: Any) -> ProfileSpec:
    return spec(function, factors, target={"returns_seconds": True}, **tables)


def meta(csv: Path) -> dict[str, Any]:
    return tomllib.loads(meta_path(csv).read_text())


def test_a_whole_profile(tmp_path: Path) -> None:
    csv = tmp_path / "sub" / "p.csv"
    told: list[tuple[int, int, str, float | None]] = []
    made = known({"seconds": [0.5, 1.5], "width": [1, 2, 4]}, design={"pacing": ["back-to-back", "idle-gaps"]})
    summary = run_profile(made, csv, progress=lambda *told_now: told.append(told_now))
    rows = read_rows(csv)
    assert (
        list(rows[0])
        == (
            "run_id target device phase seconds width pacing replicate run_order block latency_s energy_j "
            "peak_memory_bytes status started_at"
        ).split()
    )
    assert len(rows) == summary.rows == 12 * 6  # 4 in block 1, half of the most; 6 give the interval
    assert all(float(r["latency_s"]) == float(r["seconds"]) * int(r["width"]) for r in rows)
    assert [int(r["run_order"]) for r in rows] == list(range(1, len(rows) + 1))
    assert {r["target"] for r in rows} == {"work:exact"}
    assert {r["status"] for r in rows} == {"ok"}
    assert [r["block"] for r in rows] == sorted(r["block"] for r in rows)
    for cell in {(r["seconds"], r["width"], r["pacing"]) for r in rows}:
        own = [r for r in rows if (r["seconds"], r["width"], r["pacing"]) == cell]
        assert [int(r["replicate"]) for r in own] == list(range(1, len(own) + 1))
        assert {r["block"] for r in own} == {"1", "2"}
    assert all(cell.valid for cell in summary.cells)
    assert summary.pacing is not None and summary.pacing.ratio == pytest.approx(1.0)
    assert told[0][2] == "starting callable"
    assert told[-1] == (24, 24, "done", 0.0)
    assert told[1][1:3] == (24, told[1][2]) and "block 1 of 2" in told[1][2]
    assert told[1][3] is not None and told[1][3] > 0


def test_metadata_tell_what_was_done(tmp_path: Path) -> None:
    csv = tmp_path / "p.csv"
    made = known({"seconds": [0.5, 1.5], "width": [1, 2]})
    run_profile(made, csv)
    found = meta(csv)
    assert found["complete"] is True
    assert found["spec"]["factors"] == {"seconds": [0.5, 1.5], "width": [1, 2]}
    assert found["plan"]["cells"] == 4
    assert (found["plan"]["blocks"], found["plan"]["seed"]) == (2, 1)
    assert found["target"]["versions"] == {"work": "1.2"}
    assert found["threads"] == found["machine"]["threads"] == 1
    assert found["machine"]["timer"]["resolution_s"] < 1e-3
    assert (found["prefix_cache"], found["kv_capacity_tokens"]) == ("none", "not applicable")
    assert found["warm_up"].startswith("each cell in each block: at least one call")
    (session,) = found["session"]
    assert session["rows_before"] == 0
    assert session["ended_at"] >= session["begun_at"]
    assert {r["run_id"] for r in read_rows(csv)} == {found["run_id"]}


def test_order_is_that_of_the_seed(tmp_path: Path) -> None:
    def order(seed: int, name: str) -> list[tuple[str, str]]:
        made = known({"width": [1, 2, 3, 4, 5], "seconds": [1.0]}, design={"seed": seed, "blocks": 1})
        run_profile(made, tmp_path / name)
        return list(dict.fromkeys((r["width"], r["block"]) for r in read_rows(tmp_path / name)))

    assert order(1, "a.csv") == order(1, "b.csv") != order(2, "c.csv")


def test_fixed_replicates(tmp_path: Path) -> None:
    made = known({"seconds": [0.1, 0.2], "width": [1, 2]}, design={"kind": "2kr", "replicates": 5})
    summary = run_profile(made, tmp_path / "p.csv")
    assert [cell.n for cell in summary.cells] == [5] * 4


def test_threads_are_set_before_the_target_is_imported(tmp_path: Path) -> None:
    made = known({"level": [1, 2]}, "threads", measurement={"threads": 3})
    assert {float(r["latency_s"]) for r in read_rows(run_profile(made, tmp_path / "p.csv").csv)} == {3.0}


def test_wall_clock_of_a_sleep(tmp_path: Path) -> None:
    summary = run_profile(
        spec("nap", {"seconds": [0.003, 0.006]}, measurement={"max_replicates": 6}), tmp_path / "p.csv"
    )
    short, long = (cell.median_s or 0.0 for cell in summary.cells)
    assert short >= 0.003
    assert long >= 0.006


def test_idle_gaps_lie_between_repetitions(tmp_path: Path) -> None:
    design = {"pacing": ["idle-gaps"], "idle_gap_s": 0.02, "blocks": 1, "replicates": 20}
    run_profile(known({"seconds": [1.0]}, design=design), tmp_path / "p.csv")
    stamps = [time.mktime(time.strptime(r["started_at"][:19], "%Y-%m-%dT%H:%M:%S")) + float(r["started_at"][19:-1])
              for r in read_rows(tmp_path / "p.csv")]  # fmt: skip
    assert stamps[-1] - stamps[0] > 19 * 0.02 / 3  # the mean of 19 exponential gaps is below a third with p < 1e-5


def test_planted_drift_is_found(tmp_path: Path) -> None:
    made = known({"level": [1, 2, 3, 4, 5, 6]}, "trending", design={"blocks": 4, "replicates": 8})
    summary = run_profile(made, tmp_path / "p.csv")
    assert summary.drift is not None
    assert summary.drift.significant
    assert summary.drift.change > 0.1


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("raise", "failed: ValueError: no layer 2"),
        ("memory", "out_of_memory"),
        ("kill", "failed: killed by SIGKILL"),
        ("exit", "failed: exit 7: last words"),
        ("hang", "failed: no answer within 0.3 s"),
    ],
)
def test_a_cell_that_fails_is_a_row_and_the_rest_goes_on(tmp_path: Path, how: str, status: str) -> None:
    made = known({"level": [1, 2, 3], "how": [how]}, "fail_at", measurement={"trial_timeout_s": 0.3})
    began = time.monotonic()
    summary = run_profile(made, tmp_path / "p.csv")
    assert time.monotonic() - began < 30
    rows = read_rows(tmp_path / "p.csv")
    bad = [r for r in rows if r["level"] == "2"]
    assert [(r["status"], r["latency_s"], r["replicate"]) for r in bad] == [(status, "", "1")]
    assert [cell.n for cell in summary.cells] == [6, 0, 6]
    assert [cell.status for cell in summary.failed] == [status]
    assert [int(r["run_order"]) for r in rows] == list(range(1, len(rows) + 1))
    assert any(status[:20] in line for line in summary.lines())
    assert meta(tmp_path / "p.csv")["complete"] is True


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("raise", "every cell failed (ValueError: no layer 2)"),
        ("memory", "every cell failed (out of memory)"),
        ("hang", "the first 3 cells hung (no answer within 0.2 s)"),
    ],
)
def test_nothing_measured_is_bad_input_and_leaves_nothing(tmp_path: Path, how: str, fault: str) -> None:
    factors, function = {"level": [2], "how": [how]}, "fail_at"
    if how == "hang":
        factors, function = {"level": [1, 2, 3, 4]}, "hang_always"
    made = known(factors, function, measurement={"trial_timeout_s": 0.2})
    with pytest.raises(InputError) as caught:
        run_profile(made, tmp_path / "p.csv")
    assert str(caught.value) == f"profile spec, target 'callable': {fault}; mend the target"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("factors", "target", "message"),
    [
        ({"second": [1.0, 2.0]}, {}, "factor second: is unknown to work:exact; did you mean 'seconds'?"),
        ({"width": [1, 2]}, {}, "callable 'work:exact': missing a required argument: 'seconds'"),
        ({"seconds": [1.0]}, {"callable": "work:exat"}, "'work:exat': has no function exat; did you mean 'exact'?"),
        ({"seconds": [1.0]}, {"callable": "no_such:f"}, "callable 'no_such:f': module no_such is not found"),
        ({"seconds": [1.0]}, {"calable": "x"}, "target, calable: is an unknown key; did you mean 'callable'?"),
        ({"seconds": [1.0]}, {"kind": "comand"}, "target kind: 'comand' is unknown; did you mean 'command'?"),
    ],
)  # fmt: skip
def test_a_spec_that_does_not_fit_its_target(tmp_path: Path, factors: dict, target: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        run_profile(spec("exact", factors, target=target), tmp_path / "p.csv")
    assert message in str(caught.value)
    assert str(caught.value).startswith("profile spec, ")
    assert list(tmp_path.iterdir()) == []


def test_unknown_phase(tmp_path: Path) -> None:
    content = {
        "name": "t", "target": {"kind": "callable", "callable": "work:exact"},
        "phase": [{"name": "cal", "factors": {"seconds": [1.0]}}],
    }  # fmt: skip
    with pytest.raises(InputError, match="phase: 'cal' is unknown to work:exact; did you mean 'call'"):
        run_profile(ProfileSpec.of(content, folder=HERE), tmp_path / "p.csv")


def test_any_factor_where_the_function_takes_any(tmp_path: Path) -> None:
    summary = run_profile(spec("spin", {"width": [1, 2], "anything": [3]}), tmp_path / "p.csv")
    assert [dict(cell.levels) for cell in summary.cells] == [{"width": w, "anything": "3"} for w in ("1", "2")]
    assert summary.warnings[0] == "profile spec: factor anything has a single level; a fit cannot use it"


# Resuming

KILLED = """
import json, sys
from pathlib import Path
from qmodel.measure import ProfileSpec, run_profile
content, folder, csv = json.loads(sys.argv[1])
run_profile(ProfileSpec.of(content, folder=Path(folder)), csv)
"""


def slow(folder: Path, levels: int = 8) -> dict[str, Any]:
    return {
        "name": "t",
        "target": {"kind": "callable", "callable": "work:log_process", "returns_seconds": True},
        "factors": {"folder": [str(folder)], "level": list(range(1, levels + 1))},
        "design": {"blocks": 2, "replicates": 10},
        "measurement": {"warmup_s": 0.0},
    }


def identity(rows: list[Row]) -> list[tuple[str, ...]]:
    return [(r["level"], r["block"], r["replicate"], r["run_order"], r["status"]) for r in rows]


def test_a_killed_run_goes_on_with_its_own_design(tmp_path: Path) -> None:
    content, csv = slow(tmp_path), tmp_path / "killed.csv"
    argument = json.dumps([content, str(HERE), str(csv)])
    process = subprocess.Popen([sys.executable, "-c", KILLED, argument])
    while process.poll() is None and (not csv.exists() or csv.read_bytes().count(b"\n") < 32):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    workers = set((tmp_path / "processes").read_text().split())
    assert not any(_lives(int(worker)) for worker in workers)
    before = read_rows(csv)
    assert 31 <= len(before) < 80
    assert meta(csv)["complete"] is False
    csv.write_bytes(csv.read_bytes() + b"t-2026,work:log_proc")  # what a torn write would leave

    summary = run_profile(ProfileSpec.of(content, folder=HERE), csv)
    after = read_rows(csv)
    assert after[: len(before)] == before
    assert len(after) == summary.rows == 80
    uninterrupted = tmp_path / "whole.csv"
    run_profile(ProfileSpec.of(content, folder=HERE), uninterrupted)
    assert identity(after) == identity(read_rows(uninterrupted))
    assert [session["rows_before"] for session in meta(csv)["session"]] == [0, len(before)]
    assert len({r["run_id"] for r in after}) == 1


def _lives(pid: int, patience_s: float = 5.0) -> bool:
    """Whether a process is still there after some patience."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        if (
            Path(f"/proc/{pid}/stat").exists()
            and Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
        ):
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def begun(tmp_path: Path) -> tuple[ProfileSpec, Path]:
    """A run that stopped after 10 of its 24 rows, in the middle of a visit."""
    made, csv = known({"seconds": [0.1, 0.2, 0.3, 0.4]}), tmp_path / "p.csv"
    run_profile(made, csv)
    lines = csv.read_bytes().splitlines(keepends=True)
    csv.write_bytes(b"".join(lines[:11]))
    path = meta_path(csv)
    path.write_text(path.read_text().replace("complete = true", "complete = false"))
    return made, csv


def test_resumes_from_any_row(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    kept = read_rows(csv)
    whole = read_rows(run_profile(made, csv).csv)
    assert whole[:10] == kept
    assert len(whole) == 24
    assert [int(r["run_order"]) for r in whole] == list(range(1, 25))


def test_a_complete_run_is_left_alone(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    run_profile(made, csv)
    content = csv.read_bytes()
    assert run_profile(made, csv).rows == 24
    assert csv.read_bytes() == content
    assert len(meta(csv)["session"]) == 2


def test_starts_anew_when_told_to(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    old = read_rows(csv)[0]["started_at"]
    assert run_profile(made, csv, resume=False).rows == 24
    assert read_rows(csv)[0]["started_at"] > old


@pytest.mark.parametrize("complete", [True, False])
def test_a_changed_spec_is_refused(begun: tuple[ProfileSpec, Path], complete: bool) -> None:
    made, csv = begun
    if complete:
        run_profile(made, csv)
    content = csv.read_bytes()
    changed = known({"seconds": [0.1, 0.2, 0.3, 0.4]}, measurement={"relative_precision": 0.01})
    with pytest.raises(InputError) as caught:
        run_profile(changed, csv)
    assert str(caught.value) == (
        f"profile spec: has changed since {csv} was begun (measurement.relative_precision: 0.02 -> 0.01); "
        "change it back, name another CSV with -o, or remove that one"
    )
    assert csv.read_bytes() == content


def test_another_machine_is_refused(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    device = read_rows(csv)[0]["device"]
    path = meta_path(csv)
    path.write_text(path.read_text().replace(f'device = "{device}"', 'device = "Z80"'))
    with pytest.raises(InputError, match=r"has changed since .* was begun \(target device: Z80 -> "):
        run_profile(made, csv)


def test_a_csv_without_its_metadata_is_refused(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    meta_path(csv).unlink()
    with pytest.raises(InputError, match=r"stands there without its p\.meta\.toml"):
        run_profile(made, csv)
    meta_path(csv).write_text("nonsense")
    with pytest.raises(InputError, match="is not the metadata of a profile"):
        run_profile(made, csv)


def test_rows_of_another_design_are_refused(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    csv.write_text(csv.read_text().replace(",0.2,back", ",0.9,back"))
    with pytest.raises(InputError, match="is of no cell of this design"):
        run_profile(made, csv)


def test_failures_alone_do_not_count_as_begun(tmp_path: Path) -> None:
    made, csv = known({"seconds": [0.1, 0.2]}), tmp_path / "p.csv"
    run_profile(made, csv)
    header, row, *_ = csv.read_text().splitlines()
    csv.write_text(f"{header}\n{row.replace(',ok,', ',failed: then,')}\n")
    path = meta_path(csv)
    path.write_text(path.read_text().replace("complete = true", "complete = false"))
    assert run_profile(made, csv).rows == 12


def test_a_closed_cell_stays_closed_when_resumed(begun: tuple[ProfileSpec, Path]) -> None:
    made, csv = begun
    lines = csv.read_text().splitlines()
    lines[-1] = lines[-1].replace(",ok,", ",out_of_memory,")
    csv.write_text("\n".join(lines) + "\n")
    closed = read_rows(csv)[-1]["seconds"]
    summary = run_profile(made, csv)
    assert [dict(cell.levels)["seconds"] for cell in summary.failed] == [closed]
    assert len([r for r in read_rows(csv) if r["seconds"] == closed]) == len(
        [r for r in read_rows(csv)[:10] if r["seconds"] == closed]
    )


# Where files cannot be


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = known({"seconds": [0.1, 0.2]})
    with pytest.raises(InputError, match="is a folder; name a CSV file with -o"):
        run_profile(made, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        run_profile(made, tmp_path / "file" / "p.csv")
    monkeypatch.setattr(os, "access", lambda *where: False)
    with pytest.raises(InputError, match=r"p\.csv: cannot be written"):
        run_profile(made, tmp_path / "p.csv")


def test_a_full_disk_keeps_what_was_measured(tmp_path: Path) -> None:
    made, csv = known({"seconds": [0.1 * i for i in range(1, 13)]}), tmp_path / "p.csv"
    script = (
        "import resource, json, sys\nfrom pathlib import Path\nfrom qmodel.errors import InputError\n"
        "from qmodel.measure import ProfileSpec, run_profile\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "content, folder, csv = json.loads(sys.argv[1])\n"
        "try:\n    run_profile(ProfileSpec.of(content, folder=Path(folder)), csv)\n"
        "except InputError as error:\n    print(error); sys.exit(2)\n"
    )
    argument = json.dumps([made.content(), str(HERE), str(csv)])
    done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stdout.count("\n") == 1
    assert "cannot be written: File too large" in done.stdout
    kept = len(csv.read_bytes()[: csv.read_bytes().rfind(b"\n")].splitlines()) - 1
    assert kept >= 10
    assert run_profile(made, csv).rows == 72


# Commands


def command(text: str, factors: dict[str, list], **measurement: float) -> ProfileSpec:
    content = {
        "name": "c", "target": {"kind": "command", "command": text, "shell": True}, "factors": factors,
        "design": {"blocks": 1},
        "measurement": {"warmup_s": 0.0, "min_replicates": 2, "max_replicates": 2, **measurement},
    }  # fmt: skip
    return ProfileSpec.of(content, folder=HERE)


def test_a_command_that_fails_at_one_level(tmp_path: Path) -> None:
    made = command(
        "test {x} != 2 || { echo too big >&2; exit 3; }".replace("{ ", "{{ ").replace("; }", "; }}"), {"x": [1, 2]}
    )
    summary = run_profile(made, tmp_path / "p.csv")
    assert [cell.status for cell in summary.cells] == ["ok", "failed: exit 3: too big"]
    assert all(int(r["peak_memory_bytes"]) > 0 for r in read_rows(tmp_path / "p.csv") if r["status"] == "ok")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    text = f"test {{x}} = 1 || {{{{ sleep 60 & echo $! > {tmp_path}/child; wait; }}}}"
    summary = run_profile(command(text, {"x": [1, 2]}, trial_timeout_s=0.3), tmp_path / "p.csv")
    assert [cell.status for cell in summary.cells] == ["ok", "failed: no answer within 0.3 s"]
    assert not _lives(int((tmp_path / "child").read_text()))


def test_a_target_that_hangs_or_dies_while_it_is_set_up(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "deadly.py").write_text("import os\nos._exit(9)\n")
    cases = (("sleepy", 0.5, "was not ready after 0.5 s"), ("deadly", 20.0, "died while it was set up: exit 9"))
    for module, timeout_s, fault in cases:
        content = {
            "name": "c", "target": {"kind": "callable", "callable": f"{module}:f"}, "factors": {"x": [1]},
            "measurement": {"setup_timeout_s": timeout_s},
        }  # fmt: skip
        with pytest.raises(InputError, match=f"target 'callable': {fault}"):
            run_profile(ProfileSpec.of(content, folder=tmp_path), tmp_path / "out" / "p.csv")
        assert list((tmp_path / "out").iterdir()) == []


def test_a_total_budget_holds_and_says_what_it_cost(tmp_path: Path) -> None:
    made = spec("nap", {"seconds": [0.02, 0.03]}, measurement={"budget_s": 0.1, "min_replicates": 9})
    summary = run_profile(made, tmp_path / "p.csv")
    assert sum(cell.n for cell in summary.cells) < 18
    assert all(cell.n >= 2 for cell in summary.cells)  # one in each block, whatever the budget
    assert "budget_s is too short for this design" in summary.warnings[-1]


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    made, csv = known({"seconds": [0.1, 0.2]}), tmp_path / "p.csv"
    refused: list[str] = []

    def second(done: int, total: int, message: str, remaining_s: float | None) -> None:
        if not refused:
            with pytest.raises(InputError, match="is being written by another run; wait for it") as caught:
                run_profile(made, csv)
            refused.append(str(caught.value))

    assert run_profile(made, csv, progress=second).rows == 12
    assert refused
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.meta.toml"]


def test_interrupting_ends_the_worker_and_keeps_the_rows(tmp_path: Path) -> None:
    made, csv = known({"seconds": [0.1, 0.2, 0.3]}), tmp_path / "p.csv"

    def impatient(done: int, total: int, message: str, remaining_s: float | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_profile(made, csv, progress=impatient)
    kept = read_rows(csv)
    assert len(kept) == 12
    assert read_rows(run_profile(made, csv).csv)[:12] == kept
