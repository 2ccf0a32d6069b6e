"""A whole study, small: every stage on the real target, killed in between, and started again."""

import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.live import LiveRun
from qmodel.study import Results, live_runs, load_plan
from qmodel.study.plan import Setting
from qmodel.study.run import open_results, remaining_seconds, run_study
from qmodel.study.run_prediction import RunPrediction
from qmodel.study.watch import Watcher

pytest.importorskip("onnxruntime", reason="needs the live extra")
pytest.importorskip("sklearn", reason="needs the live extra")

PROFILE = """
name = "small"
[target]
kind = "digits-diffusion"
[factors]
batch_size = [1, 2, 4, 8]
steps = [4, 8, 16]
[design]
blocks = 2
seed = 1
pacing = ["back-to-back", "idle-gaps"]
[measurement]
warmup_s = 0.01
min_replicates = 3
max_replicates = 4
cell_budget_s = 0.3
budget_s = 6
"""
SCENARIO = """
[[class]]
name = "small"
arrivals = { process = "poisson", rate = 100 }
factors = { batch_size = 1, steps = 4 }
slo = { response_p95_s = 0.05 }
[[class]]
name = "large"
priority = 1
arrivals = { process = "poisson", rate = 20 }
factors = { batch_size = 4, steps = 8 }
slo = { response_p95_s = 0.2 }
"""
STUDY = """
name = "small"
title = "A small study"
profile = "profile.toml"
scenario = "scenario.toml"
policies = ["fcfs", "pr-priority"]
loads = [0.3, 0.5]
baseline = "fcfs"
[fit]
phases = ["denoise"]
reference_pacing = "idle-gaps"
[[exit]]
name = "none"
[[exit]]
name = "queue-threshold"
kind = "steps"
fraction = 0.5
above_queue = 1
[[exit]]
name = "convergence"
target = { tolerance = 10.0 }
requests = 20
[live]
seconds = 1.5
host_speed = true
[[live.runs]]
exit = "none"
policies = ["fcfs", "pr-priority"]
loads = [0.3, 0.5]
[[live.runs]]
exit = "queue-threshold"
policies = ["fcfs"]
loads = [0.5]
[[live.runs]]
exit = "convergence"
policies = ["fcfs"]
loads = [0.5]
[[live.overload]]
policies = ["fcfs"]
loads = [1.4]
requests = 150
[quality]
steps = [2]
images = 20
"""


OVERLOADED = Setting("fcfs", "none", 1.4)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a finished small study."""
    folder = tmp_path_factory.mktemp("study")
    for name, text in (("profile", PROFILE), ("scenario", SCENARIO), ("study", STUDY)):
        (folder / f"{name}.toml").write_text(text)
    plan, results = load_plan(folder / "study.toml"), Results(folder / "results")
    open_results(plan, results)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(live_runs, "CHANGED", math.inf)  # tests run on busy hosts: each run once
        assert run_study(plan, results)
    return plan, results


def warmup_s(results, setting, seed):
    """The part of a live run that is not counted: a tenth of its horizon, nothing of an overload."""
    return 0.0 if setting == OVERLOADED else 0.1 * LiveRun.read(results.log(setting, seed)).meta["horizon_s"]


def test_every_setting_is_predicted_before_the_first_live_run(study):
    plan, results = study
    predicted = results.read_predictions()
    assert set(predicted) == {*plan.settings, OVERLOADED}
    saved = results.predictions.stat().st_mtime
    logs = list((results.folder / "live").glob("*.csv"))
    assert len(plan.live_settings) == 6
    assert len(logs) == len(plan.live_runs) == 6 + 2  # overload has two seeds
    assert all(log.stat().st_mtime > saved for log in logs)


def test_live_runs_carry_the_hash_of_the_predictions(study):
    _, results = study
    texts = [path.read_text() for path in (results.folder / "live").glob("*.meta.toml")]
    assert len(texts) == 8
    assert all(results.predictions_hash() in text for text in texts)


def test_the_comparison_has_every_live_setting_and_class(study):
    plan, results = study
    comparison = results.read_table("comparison")
    means = comparison[(comparison.metric == "mean_response_s") & (comparison.regime == "steady state")]
    found = set(zip(means.policy, means.exit, means.load, means["class"], strict=True))
    wanted = {(s.policy, s.exit, s.load, c) for s in plan.live_settings for c in ("all", "small", "large")}
    assert found == wanted
    assert (means.relative_error - (means.predicted / means.measured - 1)).abs().max() < 1e-12


def test_service_follows_the_measured_logs(study):
    """The measured mean service in the table is that of the log after the warm-up."""
    plan, results = study
    comparison = results.read_table("comparison")
    setting = plan.live_settings[0]
    log = pd.read_csv(results.log(setting, 1))
    counted = log[log.scheduled_s >= warmup_s(results, setting, 1)]
    row = comparison[
        (comparison.policy == setting.policy)
        & (comparison.exit == setting.exit)
        & (comparison.load == setting.load)
        & (comparison["class"] == "all")
        & (comparison.metric == "mean_service_s")
    ]
    assert row.measured.item() == pytest.approx(counted.service_s.mean(), rel=1e-9)


def test_the_ladder_goes_from_the_measurement_to_the_host_as_profiled(study):
    plan, results = study
    ladder, comparison = results.read_table("ladder"), results.read_table("comparison")
    assert len(ladder) == len(plan.live_runs) * 3 * 6
    ladder, comparison = (table[table.regime == "steady state"] for table in (ladder, comparison))
    live = ladder[ladder.rung == "live"].set_index(["policy", "exit", "load", "class"]).mean_response_s
    means = comparison[comparison.metric == "mean_response_s"].set_index(["policy", "exit", "load", "class"])
    for place, value in live.items():
        assert value == pytest.approx(means.measured[place], rel=1e-9)
    theory = ladder[ladder.rung == "theory"].set_index(["policy", "exit", "load", "class"]).mean_response_s
    for place, value in theory.items():
        assert value == pytest.approx(means.predicted[place], rel=1e-12)
    profiled = ladder[ladder.rung == "host as profiled"].set_index(["policy", "exit", "load", "class"])
    saved = results.read_predictions()
    for (policy, exit_setting, load, name), value in profiled.mean_response_s.items():
        assert value == saved[Setting(policy, exit_setting, load)][name].mean_response_s


def test_each_run_is_predicted_at_the_speed_of_the_host_before_it(study):
    """The model takes longer by one factor, the rate is lower by it: all times are longer by it, loads the same."""
    plan, results = study
    runs = results.read_table("runs").set_index(["policy", "exit", "load", "seed"])
    looks = pd.read_csv(results.host)
    assert set(looks.phase) == {"denoise"}
    assert set(looks.pacing) == {"idle-gaps"}
    assert len(plan.live_runs) < looks.block.max() <= 2 * len(plan.live_runs)
    saved = results.read_predictions()
    for setting, seed in plan.live_runs:
        run, held = (
            LiveRun.read(results.log(setting, seed)),
            RunPrediction.read(results.run_prediction(setting, seed)),
        )
        slower = held.before.factors["denoise"]
        assert run.meta["about"]["host_before"] == held.before.typical == slower
        assert run.meta["about"]["run_prediction_sha256"] != results.predictions_hash()
        assert run.meta["rate"] == pytest.approx(saved[setting].rate / slower, rel=1e-9)
        if setting != OVERLOADED:
            assert run.meta["horizon_s"] == pytest.approx(1.5 * slower, rel=1e-9)
            mean = saved[setting]["all"].mean_response_s * slower
            assert held.answer["all"].mean_response_s == pytest.approx(mean, rel=1e-6)
        assert held.after is not None
        row = runs.loc[(setting.policy, setting.exit, setting.load, seed)]
        assert (row.host_before, row.host_after) == (slower, held.after.typical)


def test_the_simulated_queue_retraces_the_live_run(study):
    """First come first served: Lindley's recursion over the log's arrivals and services, never above the run."""
    plan, results = study
    ladder = results.read_table("ladder")
    every = ladder[ladder["class"] == "all"].set_index(["policy", "exit", "load", "seed", "rung"]).mean_response_s
    runs = [(s, seed) for s, seed in plan.live_runs if (s.policy, s.exit) == ("fcfs", "none")]
    assert len(runs) == 4
    for setting, seed in runs:
        log = pd.read_csv(results.log(setting, seed))
        responses = np.array(lindley(log.scheduled_s, log.service_s))
        expected = responses[log.scheduled_s >= warmup_s(results, setting, seed)].mean()
        rungs = every.sort_index().loc[setting.policy, setting.exit, setting.load, seed]
        assert rungs["measured services"] == pytest.approx(expected, rel=1e-6)
        assert rungs["measured services"] <= rungs["live"]


def lindley(arrivals, services):
    """Response times of a queue that serves in order of arrival."""
    free, responses = 0.0, []
    for arrival, service in zip(arrivals, services, strict=True):
        free = max(free, arrival) + service
        responses.append(free - arrival)
    return responses


def test_overload_is_judged_over_its_horizon_in_the_same_table(study):
    """The mean of two runs, weighted by their requests; the interval by the spread of the simulated ones."""
    _, results = study
    comparison = results.read_table("comparison")
    rows = comparison[comparison.regime == "overload, finite horizon"]
    assert set(zip(rows.policy, rows.exit, rows.load, strict=True)) == {("fcfs", "none", 1.4)}
    mean = rows[(rows.metric == "mean_response_s") & (rows["class"] == "all")].iloc[0]
    logs = pd.concat(pd.read_csv(results.log(OVERLOADED, seed)) for seed in (1, 2))
    assert len(logs) == pytest.approx(300, abs=70)  # 150 requests a run, as they happened to arrive
    assert mean.measured == pytest.approx((logs.done_s - logs.scheduled_s).mean(), rel=1e-6)
    saved = results.read_predictions()[OVERLOADED]
    assert saved.run["horizon_s"] == pytest.approx(150 / saved.rate)
    assert mean.as_profiled == saved["all"].mean_response_s
    assert not saved.stable
    held = [RunPrediction.read(results.run_prediction(OVERLOADED, seed)).answer for seed in (1, 2)]
    counts = [len(pd.read_csv(results.log(OVERLOADED, seed))) for seed in (1, 2)]
    assert mean.predicted == pytest.approx(np.average([h["all"].mean_response_s for h in held], weights=counts))
    ends = np.array([h["all"].ci95["mean_response_s"] for h in held])
    low, high = np.average(ends, axis=0, weights=counts)
    half = 0.5 * (high - low) * math.sqrt(1 + saved.run["replications"] / 2)
    assert (mean.low, mean.high) == pytest.approx((mean.measured - half, mean.measured + half))


def test_the_ladder_of_overload_draws_fresh_arrivals_over_the_same_horizon(study):
    """So its rung of fresh arrivals is the prediction once more, by another route: within both their intervals."""
    _, results = study
    ladder = results.read_table("ladder")
    rows = ladder[(ladder.load == 1.4) & (ladder["class"] == "all") & (ladder.seed == 1)].set_index("rung")
    fresh, theory = rows.loc["poisson arrivals"], rows.loc["theory"]
    room = 4 / 1.96 * math.hypot(fresh.high - fresh.low, theory.high - theory.low) / 2
    assert abs(fresh.mean_response_s - theory.mean_response_s) < room < 0.5 * theory.mean_response_s
    assert rows.loc[["live", "measured services", "fitted services"], ["low", "high"]].isna().all(axis=None)


def test_quality_is_judged_at_every_step_count_that_is_used(study):
    _, results = study
    assert set(results.read_table("quality").steps) == {2, 4, 8}
    judged = results.read_table("setting_quality")
    reduced = judged[judged.exit == "queue-threshold"].share_reduced
    assert (reduced >= 0).all() and reduced.max() > 0


def test_what_the_target_itself_lets_leave_is_measured_predicted_and_run(study):
    """A tolerance that every second step meets: two steps, whatever was asked for; quality stands beside."""
    _, results = study
    setting = Setting("fcfs", "convergence", 0.5)
    log = pd.read_csv(results.log(setting, 1))
    assert set(log.steps) == {2}
    rows = results.read_table(results.leaving("convergence"))
    assert len(rows) == 20
    predicted = results.read_predictions()
    share = rows.occupied_share.mean()
    whole = predicted[Setting("fcfs", "none", 0.5)]["all"].mean_service_s
    assert predicted[setting]["all"].mean_service_s == pytest.approx(share * whole, rel=1e-6)
    comparison = results.read_table("comparison")
    mine = comparison[(comparison.exit == "convergence") & (comparison.metric == "mean_service_s")]
    after = warmup_s(results, setting, 1)
    counted = log[log.scheduled_s >= after]
    assert mine[mine["class"] == "all"].measured.item() == pytest.approx(counted.service_s.mean(), rel=1e-9)
    ladder = results.read_table("ladder")
    rungs = ladder[(ladder.exit == "convergence") & (ladder["class"] == "all")].set_index("rung").mean_response_s
    responses = np.array(lindley(log.scheduled_s, log.service_s))
    assert rungs["measured services"] == pytest.approx(responses[log.scheduled_s >= after].mean(), rel=1e-6)
    judged = results.read_table("setting_quality").set_index(["exit", "class"])
    early = judged.loc[("convergence", "all")]
    assert early.steps == 2.0
    kept = results.read_table("leaving_quality").set_index("exit").loc["convergence"]
    assert early[["agreement", "frechet_distance"]].tolist() == kept[["agreement", "frechet_distance"]].tolist()


def test_capacity_names_what_gives_way(study):
    _, results = study
    capacity = results.read_table("capacity")
    assert len(capacity) == 6
    baseline = capacity[(capacity.policy == "fcfs") & (capacity.exit == "none")]
    assert baseline.gain_percent.item() == 0.0
    assert set(capacity["class"]) <= {"small", "large", "all"}


def test_a_finished_study_has_nothing_left_to_do(study):
    plan, results = study
    before = {path: path.stat().st_mtime_ns for path in results.folder.rglob("*") if path.is_file()}
    assert remaining_seconds(plan, results) == 0.0
    assert run_study(plan, results) is False
    assert {path: path.stat().st_mtime_ns for path in results.folder.rglob("*") if path.is_file()} == before


def test_results_of_another_plan_are_not_mixed_in(study, tmp_path):
    plan, results = study
    for path in plan.folder.glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text().replace("seconds = 1.5", "seconds = 2.5"))
    with pytest.raises(InputError, match="another version of this plan"):
        open_results(load_plan(tmp_path / "study.toml"), results)


def test_fresh_keeps_the_old_results_aside(tmp_path, study):
    plan, _ = study
    results = Results(tmp_path / "results")
    results.write_state({"plan": "old", "stages": {}})
    open_results(plan, results, fresh=True)
    assert results.read_state()["plan"] == plan.fingerprint
    aside = [path for path in tmp_path.iterdir() if path.name.startswith("results-")]
    assert json.loads((aside[0] / "state.json").read_text())["plan"] == "old"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_live_stage_it_goes_on_where_it_was(tmp_path, number):
    """Ended after the second live log: what was there stays, the rest is added; the host is not watched."""
    study = STUDY.replace("host_speed = true\n", "")
    for name, text in (("profile", PROFILE), ("scenario", SCENARIO), ("study", study)):
        (tmp_path / f"{name}.toml").write_text(text)
    code = "from qmodel.cli import run; raise SystemExit(run(['study', 'study.toml', '-o', 'report']))"
    logs = tmp_path / "results" / "live"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list(logs.glob("*seed1.csv"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) == (-number if number == signal.SIGKILL else 128 + number)
    kept = {path: path.read_bytes() for path in logs.glob("*seed1.csv")}
    profile = (tmp_path / "results" / "profile.csv").read_bytes()
    assert 2 <= len(kept) < 6
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in kept} == kept
    assert (tmp_path / "results" / "profile.csv").read_bytes() == profile
    assert len(list(logs.glob("*seed?.csv"))) == 8
    assert "done in an earlier run" in done.stderr
    assert (tmp_path / "report" / "report.md").is_file()


class Told(Watcher):
    """Remembers what it was told."""

    def __init__(self):
        self.heard = []

    def update(self, done, total, message="", remaining_s=None):
        self.heard.append(done / total)
        assert remaining_s is None or (math.isfinite(remaining_s) and remaining_s >= 0)


def test_progress_ends_at_one(study, tmp_path):
    from qmodel.study.evaluate import evaluate

    plan, results = study
    told = Told()
    evaluate(plan, results, told)
    assert told.heard == sorted(told.heard)
    assert told.heard[-1] == 1.0
