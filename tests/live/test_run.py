"""Whole runs, and every fault by doing it: servers killed, hanging and dying, engines that raise, a full disk."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.live import LiveRun, LiveServer, RunFailed, draw_schedule, read_log, run_live
from qmodel.live.log import COLUMNS
from qmodel.live.run import read_meta
from qmodel.policy import SRPT, Rank
from qmodel.service.transform import EarlyExit, FewerSteps, QueueCondition
from qmodel.workload.arrival_tests import test_arrivals

OWN = "tests.live.own_engines:Counting"
EMULATED = {"kind": "emulated"}


@pytest.fixture(scope="module")
def server():
    with LiveServer(EMULATED) as made:
        yield made


def test_a_complete_run(server, in_steps, tmp_path):
    scenario = in_steps()
    schedule = draw_schedule(scenario, 1.0, seed=1)
    told = []
    run = server.run(
        scenario,
        schedule,
        log_path=tmp_path / "a" / "run.csv",
        progress=lambda *p: told.append(p),
        about={"sha": "x"},
    )
    log = run.log
    assert tuple(log.columns) == (*COLUMNS, "steps")
    assert (log["status"] == "ok").all()
    assert log["request_id"].tolist() == schedule["request_id"].tolist()
    assert log["steps"].tolist() == schedule["steps"].tolist()
    assert (log["exit"] == "full").all()
    assert (log["sent_s"] >= log["scheduled_s"]).all()
    assert (log["started_s"] >= log["sent_s"]).all()
    assert (log["done_s"] - log["started_s"] >= log["service_s"] - 1e-9).all()
    assert (log["service_s"] >= log["size_s"]).all()  # waits are never shorter than asked
    assert log["first_token_s"].isna().all()
    assert all(total == len(log) for _, total, _ in told)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["run.csv", "run.meta.toml"]
    again = LiveRun.read(tmp_path / "a" / "run.csv")
    pd.testing.assert_frame_equal(again.log, log, check_exact=False, atol=1e-9, rtol=0, check_dtype=False)
    meta = again.meta
    assert meta["about"] == {"sha": "x"}
    assert (meta["policy"], meta["seed"], meta["horizon_s"]) == ("fcfs", 1, 1.0)
    assert meta["scenario"] == scenario.fingerprint
    assert meta["requests"] == {"scheduled": len(log), "finished": len(log), "failed": 0}
    assert meta["engine"]["emulated"] is True
    assert run.emulated
    assert meta["loop"]["steps"] == int(schedule["steps"].sum())
    assert 0 <= meta["lag"]["p50_s"] <= meta["lag"]["p99_s"] <= meta["lag"]["max_s"]
    assert meta["arrivals"]["verdict"] == test_arrivals(schedule["scheduled_s"], 40.0, horizon_s=1.0).verdict


def test_first_come_first_served_one_at_a_time(server, in_steps, tmp_path):
    """Conservation and causality: services do not overlap, and each starts as soon as the one before has left."""
    scenario = in_steps(rate=150.0)
    log = server.run(scenario, draw_schedule(scenario, 0.5, seed=2), log_path=tmp_path / "run.csv").log
    assert log["left_s"].is_monotonic_increasing
    overlap = log["left_s"].shift(1) - log["started_s"]
    assert not (overlap > 0).any()


def test_the_server_stays_up_between_runs_and_resumes(server, in_steps, tmp_path):
    scenario, path = in_steps(SRPT()), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 0.3, seed=1)
    first = server.run(scenario, schedule, log_path=path, resume=True)
    pid = server.pid
    stamp = path.stat().st_mtime_ns
    found = server.run(scenario, schedule, log_path=path, resume=True)
    assert path.stat().st_mtime_ns == stamp
    assert found.meta["begun_at"] == first.meta["begun_at"]
    other = draw_schedule(scenario, 0.3, seed=2)
    assert server.run(scenario, other, log_path=path, resume=True).meta["seed"] == 2
    assert server.pid == pid
    (tmp_path / "run.meta.toml").write_text("nonsense = ")
    assert server.run(scenario, other, log_path=path, resume=True).meta["seed"] == 2


def test_reduced_released_and_early(server, in_steps, tmp_path):
    condition = FewerSteps(fraction=0.5, when=QueueCondition(0))
    scenario = in_steps(transforms=[condition])
    schedule = draw_schedule(scenario, 0.3, seed=1)
    log = server.run(scenario, schedule, log_path=tmp_path / "run.csv").log
    assert (log["exit"] == "reduced").all()
    assert (log["reduced"] == 1).all()
    assert log["steps"].tolist() == schedule["steps_long"].tolist()
    assert log["size_s"].tolist() == pytest.approx(schedule["size_s_long"].tolist())
    scenario = in_steps(transforms=[EarlyExit(fractions=(0.5,), delivery="release")])
    log = server.run(scenario, draw_schedule(scenario, 0.3, seed=1), log_path=tmp_path / "run.csv").log
    assert (log["exit"] == "released").all()
    assert (log["done_s"] < log["left_s"]).all()


def test_sizes_drawn_in_seconds(server, in_seconds, tmp_path):
    scenario = in_seconds()
    log = server.run(scenario, draw_schedule(scenario, 0.3, seed=1), log_path=tmp_path / "run.csv").log
    assert (log["service_s"] >= log["size_s"]).all()
    assert tuple(log.columns) == COLUMNS


def test_tokens_have_times(in_steps, tmp_path):
    scenario = in_steps()
    schedule = draw_schedule(scenario, 0.3, seed=1)
    run = run_live(
        scenario, schedule, target={"kind": "tests.live.own_engines:Streaming"}, log_path=tmp_path / "run.csv"
    )
    tokens = pd.read_csv(tmp_path / "run.tokens.csv")
    assert tokens.groupby("request_id").size().tolist() == schedule["steps"].tolist()
    assert run.log["output_tokens"].tolist() == schedule["steps"].tolist()
    assert run.log["last_token_s"].tolist() == pytest.approx(run.log["done_s"].tolist())
    assert (run.log["first_token_s"] > run.log["started_s"]).all()
    assert not run.emulated


def test_an_emulated_language_model(server, in_tokens, tmp_path):
    """The first token comes after the prefill, the others one a step."""
    scenario = in_tokens()
    run = server.run(scenario, draw_schedule(scenario, 0.5, seed=1), log_path=tmp_path / "run.csv")
    log = run.log
    assert tuple(log.columns) == COLUMNS
    assert (log["input_tokens"] == 100).all()
    assert (log["output_tokens"] == 5).all()
    assert (log["exit"] == "full").all()
    tokens = pd.read_csv(tmp_path / "run.tokens.csv")
    gaps = tokens.groupby("request_id")["t_s"].diff().dropna()
    assert (gaps >= 1e-3).all()
    assert (log["first_token_s"] - log["started_s"] >= 2e-3).all()


def test_a_policy_of_the_users_own_script(server, in_steps, tmp_path):
    class Latest(Rank):
        name = "latest"
        preemptive = True

        def rank(self, request, attained):
            return -request.arrival_s

    scenario = in_steps(Latest())
    assert (
        server.run(scenario, draw_schedule(scenario, 0.3, seed=1), log_path=tmp_path / "run.csv").meta["policy"]
        == "latest"
    )


def partial(path):
    return pd.read_csv(path.with_name(path.name + ".part"), keep_default_na=False)


def check_partial(path, schedule, words):
    """Every request has one row; those without an end say why; there is no log that could pass for complete."""
    rows = partial(path)
    assert sorted(rows["request_id"]) == schedule["request_id"].tolist()
    failed = rows[rows["status"] != "ok"]
    assert len(failed) > 0
    assert failed["status"].str.contains(words).all()
    assert not path.exists()
    return rows


def test_the_server_is_killed_in_mid_run(in_steps, tmp_path):
    scenario, path = in_steps(), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 20.0, seed=1)
    with LiveServer({"kind": "emulated"}) as server:

        def kill(done, total, seconds):
            if done >= 5 and server.pid:
                os.kill(server.pid, signal.SIGKILL)

        begin = time.monotonic()
        with pytest.raises(RunFailed, match=r"server ended \(killed by SIGKILL\), with \d+ of \d+ requests served"):
            server.run(scenario, schedule, log_path=path, progress=kill)
        assert time.monotonic() - begin < 15
        rows = check_partial(path, schedule, "server ended")
        assert (rows["status"] == "ok").sum() >= 5
        assert (rows["status"].str.startswith("failed: not sent")).any()
        again = server.run(scenario, draw_schedule(scenario, 0.3, seed=1), log_path=path)
        assert (again.log["status"] == "ok").all()
        assert not path.with_name("run.csv.part").exists()


def test_an_engine_that_takes_the_server_with_it(in_steps, tmp_path):
    scenario, path = in_steps(), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 2.0, seed=1)
    with pytest.raises(RunFailed, match=r"server ended \(exit 7: last words\)"):
        run_live(scenario, schedule, target={"kind": OWN, "trouble": "die", "at": 20}, log_path=path)
    check_partial(path, schedule, "exit 7")


@pytest.mark.parametrize("rate", [40.0, 20_000.0])
def test_an_engine_that_hangs(in_steps, tmp_path, rate):
    """Also when so many requests follow that the pipe to the server is full."""
    scenario, path = in_steps(rate=rate), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 4.0 if rate < 100 else 1.0, seed=1)
    with LiveServer({"kind": OWN, "trouble": "hang", "at": 8}, step_timeout_s=1.0) as server:
        begin = time.monotonic()
        with pytest.raises(RunFailed, match="no sign of life for 1 s"):
            server.run(scenario, schedule, log_path=path)
        assert time.monotonic() - begin < 20
    check_partial(path, schedule, "no sign of life")


def test_failed_requests_are_counted(in_steps, tmp_path):
    scenario, path = in_steps(), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 0.5, seed=1)
    run = run_live(scenario, schedule, target={"kind": OWN, "trouble": "raise", "at": 6}, log_path=path)
    assert run.meta["requests"] == {"scheduled": len(schedule), "finished": 6, "failed": len(schedule) - 6}
    failed = run.log[run.log["request_id"] >= 6]
    assert (failed["status"] == "failed: RuntimeError: cannot do that").all()
    assert failed["done_s"].isna().all()
    assert read_log(path)["status"].tolist() == run.log["status"].tolist()


def test_a_run_in_which_nothing_comes_through(in_steps, tmp_path):
    scenario, path = in_steps(), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 0.3, seed=1)
    with pytest.raises(RunFailed, match="no request came through, the first failed: ValueError: never"):
        run_live(scenario, schedule, target={"kind": "tests.live.own_engines:Refusing"}, log_path=path)
    check_partial(path, schedule, "never")


def test_what_is_left_after_the_drain(in_steps, tmp_path):
    """Overload with a finite horizon: what is not done in time counts as failed, and the log is complete."""
    scenario, path = in_steps(rate=500.0), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 0.5, seed=1)
    with LiveServer(EMULATED) as server:
        run = server.run(scenario, schedule, log_path=path, drain_timeout_s=0.1)
        failed = run.log[run.log["status"] != "ok"]
        assert len(failed) > 20
        assert (failed["status"] == "failed: not finished when the run ended").all()
        assert run.meta["requests"]["failed"] == len(failed)
        after = server.run(in_steps(), draw_schedule(in_steps(), 0.2, seed=1), log_path=tmp_path / "next.csv")
        assert (after.log["status"] == "ok").all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(in_steps, tmp_path):
    scenario, path = in_steps(), tmp_path / "run.csv"
    path.with_name("run.csv.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        run_live(scenario, draw_schedule(scenario, 0.5, seed=1), target=EMULATED, log_path=path)
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_in_mid_run(in_steps, tmp_path, monkeypatch):
    from qmodel.live.log import PartialLog

    scenario, path = in_steps(), tmp_path / "run.csv"
    append, written = PartialLog.append, 0

    def full(self, rows):
        nonlocal written
        written += len(rows)
        if written > 5:
            self._file = Path("/dev/full").open("w")  # noqa: SIM115
        append(self, rows)

    monkeypatch.setattr(PartialLog, "append", full)
    schedule = draw_schedule(scenario, 20.0, seed=1)
    begin = time.monotonic()
    with pytest.raises(RunFailed, match="No space left on device"):
        run_live(scenario, schedule, target=EMULATED, log_path=path)
    assert time.monotonic() - begin < 10
    assert not path.exists()


def test_a_log_that_cannot_be_finished(server, in_steps, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qmodel.live.run.write_atomically", full)
    scenario, path = in_steps(), tmp_path / "run.csv"
    with pytest.raises(
        RunFailed, match=r"No space left on device; make room; finished rows are in .*run\.csv\.part"
    ):
        server.run(scenario, draw_schedule(scenario, 0.2, seed=1), log_path=path)
    assert len(partial(path)) > 0


def test_a_folder_that_is_a_file(server, in_steps, tmp_path):
    (tmp_path / "file").write_text("")
    scenario = in_steps()
    with pytest.raises(InputError, match="cannot be written"):
        server.run(scenario, draw_schedule(scenario, 0.2, seed=1), log_path=tmp_path / "file" / "run.csv")


def test_an_interrupt_ends_the_server(in_steps, tmp_path):
    scenario = in_steps()
    with LiveServer(EMULATED) as server:

        def interrupt(done, total, seconds):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            server.run(
                scenario, draw_schedule(scenario, 5.0, seed=1), log_path=tmp_path / "run.csv", progress=interrupt
            )
        assert server.pid is None
    assert not (tmp_path / "run.csv").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "has no kind"),
        ({"kind": "emulatd"}, "did you mean 'emulated'"),
        ({"kind": OWN, "trouble": "build"}, "no weights"),
        ({"kind": OWN, "trouble": "exit"}, "died: exit 3"),
        ({"kind": OWN, "trouble": "slow"}, "did not answer in 1 s"),
    ],
)
def test_engines_that_do_not_come_up(target, words):
    with pytest.raises(InputError, match=words), LiveServer(target, setup_timeout_s=1.0) as server:
        server.engine()


def test_an_engine_that_fails_to_warm_up(in_steps, tmp_path):
    scenario = in_steps()
    with pytest.raises(InputError, match="cannot do that"):
        run_live(
            scenario,
            draw_schedule(scenario, 0.2, seed=1),
            target={"kind": OWN, "trouble": "raise"},
            log_path=tmp_path / "run.csv",
        )


def test_a_server_that_died_between_runs_is_started_again(in_steps, tmp_path):
    scenario = in_steps()
    schedule = draw_schedule(scenario, 0.2, seed=1)
    with LiveServer(EMULATED) as server:
        assert server.engine()["name"] == "emulated"
        os.kill(server.pid, signal.SIGKILL)
        time.sleep(0.1)
        assert (server.run(scenario, schedule, log_path=tmp_path / "run.csv").log["status"] == "ok").all()


def test_a_server_that_dies_as_it_gets_its_order(in_steps, tmp_path, monkeypatch):
    scenario = in_steps()
    schedule = draw_schedule(scenario, 0.2, seed=1)
    with LiveServer(EMULATED) as server:
        server.engine()
        monkeypatch.setattr("qmodel.live.run.before_run", lambda *a: os.kill(server.pid, signal.SIGKILL) or {})
        with pytest.raises(InputError, match="killed by SIGKILL"):
            server.run(scenario, schedule, log_path=tmp_path / "run.csv")


def test_the_server_ends_with_its_parent(tmp_path):
    """A load generator that is killed leaves no server behind."""
    import subprocess

    lines = ("from qmodel.live import LiveServer", "s = LiveServer({'kind': 'emulated'})", "s.engine()")
    script = "\n".join([*lines, "print(s.pid, flush=True)", "input()"])
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))


def test_metadata_of_something_else(tmp_path):
    (tmp_path / "run.meta.toml").write_text('schema = "other/1"\n')
    with pytest.raises(InputError, match="schema 'other/1'"):
        read_meta(tmp_path / "run.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("request_id,class\n0,a\n", "column scheduled_s: is missing"),
        ("request_id,class,scheduled_s,done_s,status\n0,a,soon,1,ok\n", "column scheduled_s: holds text"),
        ("", "cannot be read"),
    ],
)
def test_logs_that_are_none(tmp_path, text, words):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_log(tmp_path / "run.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "missing.csv")


def test_other_systems_are_refused(server, in_steps, tmp_path):
    scenario = in_steps()
    schedule = draw_schedule(scenario, 0.2, seed=1)
    two = replace(scenario, system=replace(scenario.system, servers=2))
    with pytest.raises(InputError, match=r"system\.servers"):
        server.run(two, schedule, log_path=tmp_path / "run.csv")


def test_a_policy_that_fails_fails_the_run(server, in_steps, tmp_path):
    class Broken(Rank):
        name = "broken"

        def rank(self, request, attained):
            return request.size / 0

    scenario, path = in_steps(Broken()), tmp_path / "run.csv"
    schedule = draw_schedule(scenario, 2.0, seed=1)
    with pytest.raises(RunFailed, match="ZeroDivisionError: float division by zero"):
        server.run(scenario, schedule, log_path=path)
    check_partial(path, schedule, "ZeroDivisionError")


def test_names_that_the_package_does_not_have():
    import qmodel.live

    with pytest.raises(AttributeError, match="nothing"):
        _ = qmodel.live.nothing


def test_a_load_generator_that_is_killed_leaves_its_finished_rows(in_steps, tmp_path):
    """kill -9 in mid-run: no log that looks complete, the finished rows in the partial one, and no server left."""
    import subprocess

    path = tmp_path / "run.csv"
    script = f"""
from pathlib import Path
from qmodel.live import LiveServer, draw_schedule
from qmodel.scenario import Scenario
from qmodel.workload import Deterministic, Poisson, RequestClass
scenario = Scenario((RequestClass("a", Poisson(50.0), service=Deterministic(1e-3)),))
with LiveServer({{"kind": "emulated"}}) as server:
    server.engine()
    print(server.pid, flush=True)
    server.run(scenario, draw_schedule(scenario, 60.0, seed=1), log_path=Path({str(path)!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    part = path.with_name("run.csv.part")
    wait_until(lambda: part.exists() and part.read_text().count("\n") > 10)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))
    assert not path.exists()
    assert (partial(path)["status"] == "ok").sum() >= 10
    again = run_live(in_steps(), draw_schedule(in_steps(), 0.2, seed=1), target=EMULATED, log_path=path)
    assert (again.log["status"] == "ok").all()
    assert not part.exists()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_wall_clocks_that_jump_do_not_matter(server, in_steps, tmp_path, monkeypatch):
    """A day forth and back at every reading; what a run counts is monotonic."""
    day, now = itertools.cycle((86_400.0, -86_400.0)), time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(day))
    scenario = in_steps()
    log = server.run(scenario, draw_schedule(scenario, 0.3, seed=1), log_path=tmp_path / "run.csv").log
    assert (log.status == "ok").all()
    assert (log.sent_s >= log.scheduled_s).all() and (log.done_s >= log.started_s).all()
    assert (log.done_s - log.scheduled_s < 60).all()
