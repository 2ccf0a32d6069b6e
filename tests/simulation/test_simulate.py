"""What `simulate` and `replay` answer, refuse and say."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qmodel
from qmodel.answer import Answer
from qmodel.errors import InputError
from qmodel.policy import FCFS, PS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.service.transform import Cache, EarlyExit, FewerSteps, QueueCondition
from qmodel.simulation import replay, simulate
from qmodel.simulation.draw import arrival_times, draw, predictions
from qmodel.simulation.kernels.compiled import MESSAGE
from qmodel.simulation.summary import tail_index
from qmodel.workload import Discrete, Exponential, Pareto, Poisson, PredictedSize, Renewal, RequestClass, Trace
from tests.simulation.cases import drawn, one_class, preset, two_classes


def test_the_answer_has_every_metric_with_its_interval() -> None:
    answer = simulate(two_classes(SRPT()), requests=20_000, seed=4, percentiles=(50.0, 99.9), tell=None)
    assert (answer.policy, answer.rate, answer.method, answer.source) == (
        "srpt",
        0.8,
        "simulation",
        "qmodel simulation",
    )
    assert answer.stable and answer.utilisation == pytest.approx(0.8)
    assert [each.name for each in answer.classes] == ["all", "chat", "batch"]
    assert answer["chat"].arrival_rate == pytest.approx(0.32)
    metrics = ["mean_service_s", "mean_wait_s", "mean_response_s", "std_response_s", "p50_response_s",
               "p99.9_response_s", "mean_slowdown", "attainment"]  # fmt: skip
    for each in answer.classes:
        assert list(each.metrics) == metrics
        for metric, value in each.metrics.items():
            low, high = each.ci95[metric]
            assert low <= value <= high, metric
    assert answer.run["seed"] == 4 and answer.run["batches"] == 20
    assert abs(answer.run["requests"] - 20_000) < 1_000
    assert 0 <= answer.run["warmup"] <= 10_000
    whole = Answer("0" * 64, [answer])
    assert json.loads(whole.to_json())["results"][0]["method"] == "simulation"


def test_means_add_up() -> None:
    answer = simulate(two_classes(PS()), requests=20_000, tell=None)
    for each in answer.classes:
        assert each.mean_response_s == pytest.approx(each.mean_wait_s + each.mean_service_s, rel=1e-9)


def test_one_class_has_exactly_the_requests_asked_for() -> None:
    assert simulate(one_class(FCFS(), 0.5), requests=1_234, tell=None).run["requests"] == 1_234
    renewal = RequestClass("a", Renewal(rate=0.5, scv=0.25), Exponential(1.0))
    assert simulate(Scenario((renewal,)), requests=1_234, tell=None).run["requests"] == 1_234


def test_attainment_counts_classes_with_a_limit() -> None:
    limited = one_class(FCFS(), 0.3, response_s=2.0).classes[0]
    free = RequestClass("b", Poisson(0.3), Exponential(1.0))
    answer = simulate(Scenario((limited, free)), requests=5_000, tell=None)
    assert answer["b"].attainment is None
    assert answer["all"].attainment == answer["a"].attainment
    assert simulate(Scenario((free,)), requests=500, tell=None)["all"].attainment is None


def test_the_share_reduced_is_told_with_a_queue_condition_only() -> None:
    scenario = one_class(FCFS(), 0.8)
    assert "share_reduced" not in simulate(scenario, requests=500, tell=None)["all"].metrics
    reduced = scenario.with_transforms(FewerSteps(QueueCondition(above=2), fraction=0.5))
    answer = simulate(reduced, requests=20_000, tell=None)
    assert 0.1 < answer["all"].share_reduced < 0.5
    # busy time is what the services took, not what they would have taken
    expected = 0.8 * (1 - 0.5 * answer["all"].share_reduced)
    assert answer.utilisation == pytest.approx(expected, rel=0.03)


def test_an_unstable_queue_has_no_means_and_says_so() -> None:
    answer = simulate(one_class(FCFS(), 1.2), requests=1_000, tell=None)
    assert not answer.stable
    assert answer["all"].metrics == {"mean_service_s": None, "mean_wait_s": None, "mean_response_s": None}
    assert answer.utilisation == pytest.approx(1.2)
    assert "finite horizon" in answer.notes[0]


def test_a_queue_that_the_smaller_model_keeps_up_with_is_stable() -> None:
    unstable = one_class(FCFS(), 1.2)
    helped = unstable.with_transforms(FewerSteps(QueueCondition(above=3), fraction=0.5))
    assert simulate(helped, requests=2_000, tell=None).stable
    too_little = unstable.with_transforms(FewerSteps(QueueCondition(above=3), fraction=0.9))
    assert not simulate(too_little, requests=2_000, tell=None).stable


def test_a_finite_horizon_of_an_overload() -> None:
    """At load 2 with unit services the queue grows by one a second: the wait is t on average over [0, 2t]."""
    one = RequestClass("a", Poisson(2.0), Discrete((1.0,), (1.0,)))
    seen: list[tuple[int, int]] = []
    answer = simulate(
        Scenario((one,)), horizon_s=200.0, replications=50, tell=None, progress=lambda *at: seen.append(at)
    )
    assert not answer.stable
    assert answer.run["replications"] == 50 and answer.run["horizon_s"] == 200.0
    low, high = answer["all"].ci95["mean_wait_s"]
    assert low < 100.0 < high and high - low < 10.0
    assert any("unstable" in note for note in answer.notes)
    assert seen[-1] == (50, 50)


def test_a_finite_horizon_starts_empty() -> None:
    answer = simulate(one_class(FCFS(), 0.5), horizon_s=2.0, replications=2_000, tell=None)
    assert answer["all"].mean_wait_s < 0.6  # the first request never waits; in the long run the mean wait is 1
    assert answer.stable


def test_precision_is_reached_by_a_longer_run() -> None:
    answer = simulate(one_class(PS(), 0.5), requests=2_000, precision=0.02, tell=None)
    low, high = answer["all"].ci95["mean_response_s"]
    assert (high - low) / 2 <= 0.02 * answer["all"].mean_response_s
    assert answer.run["requests"] > 2_000 and answer.run["precision"] == 0.02


def test_a_precision_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmodel.simulation.simulating.LONGEST_RUN", 4_000)
    answer = simulate(one_class(PS(), 0.5), requests=2_000, precision=1e-4, tell=None)
    assert any("precision" in note for note in answer.notes)


def test_a_run_that_is_too_short_says_so() -> None:
    notes = simulate(one_class(FCFS(), 0.9), requests=2_000, tell=None).notes
    assert any("too short for the intervals" in note for note in notes)
    assert simulate(one_class(FCFS(), 0.3), requests=200_000, tell=None).notes == [
        "mean slowdown is infinite, or too heavy-tailed to tell: a"
    ]


def test_infinite_means_are_not_given() -> None:
    """Pareto services of infinite variance: no mean wait first come first served, but one under sharing."""
    law = Pareto(mean=1.0, alpha=1.5)
    alone = simulate(one_class(FCFS(), 0.5, law), requests=20_000, tell=None)
    assert alone["all"].mean_response_s is alone["a"].mean_wait_s is None
    assert "mean response is infinite (service has no finite second moment): a" in alone.notes
    shared = simulate(one_class(PS(), 0.5, law), requests=20_000, tell=None)
    assert shared["all"].mean_response_s > 1.0
    assert any("converge slowly" in note for note in shared.notes)
    heavy, light = (
        RequestClass("h", Poisson(0.2), law, priority=1),
        RequestClass("l", Poisson(0.2), Exponential(1.0)),
    )
    first = simulate(Scenario((heavy, light), policy=preset("pr-priority")), requests=20_000, tell=None)
    assert first["h"].mean_response_s is None and first["l"].mean_response_s > 1.0
    assert first["all"].mean_response_s is None


def test_the_tail_index_of_a_pareto_law() -> None:
    values = np.random.default_rng(1).pareto(2.5, 200_000) + 1.0
    assert tail_index(values) == pytest.approx(2.5, rel=0.15)
    assert tail_index(values[:500]) == math.inf
    assert tail_index(np.ones(5_000)) == tail_index(np.zeros(5_000)) == math.inf


def test_services_of_no_length_pass_through() -> None:
    one = RequestClass("a", Poisson(0.5), Discrete((0.0, 1.0), (0.5, 0.5)))
    for name in ("fcfs", "ps", "srpt", "las", "round-robin", "mlfq"):
        answer = simulate(Scenario((one,), policy=preset(name)), requests=2_000, tell=None)
        assert answer["all"].mean_service_s == pytest.approx(0.5, abs=0.05)
        assert answer["all"].mean_slowdown is None


def test_a_trace_is_passed_over_once() -> None:
    times = tuple(np.arange(1, 501) * 2.0)
    one = RequestClass("a", Trace(times), Discrete((1.0,), (1.0,)))
    answer = simulate(Scenario((one,)), requests=10_000, tell=None)
    assert answer.run["requests"] == 500 and answer.run["warmup"] == 0
    assert answer["all"].mean_response_s == 1.0
    assert any("trace" in note for note in answer.notes)


def test_the_end_of_a_trace_ends_the_run() -> None:
    traced = RequestClass("a", Trace((0.0, 1.0, 50.0)), Exponential(0.1))
    steady = RequestClass("b", Poisson(1.0), Exponential(0.1))
    requests = drawn(Scenario((traced, steady)), 10_000)
    assert requests.arrival_s.max() <= 50.0
    assert (requests.class_index == 0).sum() == 3


def test_nobody_comes() -> None:
    late = RequestClass("a", Trace((10.0, 20.0)), Exponential(0.1))
    with pytest.raises(InputError, match="no request arrives"):
        simulate(Scenario((late,)), horizon_s=5.0, tell=None)


def test_a_class_that_does_not_come_in_this_run_has_no_metrics() -> None:
    rare = RequestClass("rare", Poisson(1e-9), Exponential(1.0), slo={"response_s": 1.0})
    often = RequestClass("often", Poisson(0.5), Exponential(1.0))
    answer = simulate(Scenario((rare, often)), requests=500, tell=None)
    assert set(answer["rare"].metrics.values()) == {None}
    assert answer["often"].mean_response_s > 1.0


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"requests": 0}, "simulation, requests"),
        ({"percentiles": (0.0,)}, "simulation, percentiles"),
        ({"precision": math.nan}, "simulation, precision"),
        ({"horizon_s": -1.0}, "simulation, horizon_s"),
        ({"replications": 0}, "simulation, replications"),
    ],
)
def test_bad_options_are_refused(options: dict, place: str) -> None:
    with pytest.raises(InputError, match=place):
        simulate(one_class(FCFS(), 0.5), tell=None, **options)


def test_what_is_not_simulated_is_refused() -> None:
    with pytest.raises(InputError, match="system, servers"):
        simulate(two_classes(preset("dps"), system=System(servers=2)), tell=None)
    swap = FewerSteps(QueueCondition(above=2, swap_time_s=0.1), fraction=0.5)
    for name in ("ps", "las"):
        with pytest.raises(InputError, match="swap_time_s"):
            simulate(one_class(preset(name), 0.5).with_transforms(swap), tell=None)
    with pytest.raises(InputError, match="in steps"):
        several = two_classes(FCFS(), system=System(servers=2))
        replay(several, arrival_s=[0.0], service_s=[1.0], grain_s=0.5, tell=None)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"arrival_s": []}, "arrival_s: holds no request"),
        ({"arrival_s": [0.0, 2.0, 1.0]}, "arrival_s, row 3: comes before"),
        ({"arrival_s": [0.0, math.nan, 1.0]}, "arrival_s, row 2: is not a finite number"),
        ({"arrival_s": ["soon"]}, "arrival_s: holds text"),
        ({"service_s": [1.0, 1.0]}, "service_s: has shape"),
        ({"service_s": [1.0, 0.0, 1.0]}, "service_s, row 2: takes no time"),
        ({"service_long_s": [1.0, -1.0, 1.0]}, "service_long_s, row 2"),
        ({"size_s": [1.0, -1.0, 1.0]}, "size_s, row 2"),
        ({"class_index": [0, 2, 0]}, "class_index, row 2: is no class"),
        ({"class_index": [0, 0.5, 0]}, "class_index, row 2: is no class"),
        ({"delivered_share": [1.0, 0.0, 1.0]}, "delivered_share, row 2"),
        ({"grain_s": 0.0}, "grain_s: is not a positive number"),
        ({"grain_s": [0.1, 0.1]}, "grain_s: is not a positive number"),
    ],
)
def test_bad_columns_are_refused_by_name_and_row(columns: dict, line: str) -> None:
    good = {"arrival_s": [0.0, 1.0, 2.0], "service_s": [1.0, 1.0, 1.0], "class_index": [0, 1, 0]}
    with pytest.raises(InputError, match=line):
        replay(two_classes(FCFS()), **(good | columns), tell=None)


def test_replayed_sizes_are_what_the_policy_is_told() -> None:
    columns = {"arrival_s": [0.0, 0.1, 0.2], "service_s": [1.0, 2.0, 3.0], "tell": None}
    outcome = replay(one_class(preset("sjf"), 0.5), size_s=[1.0, 3.0, 2.0], **columns)
    assert outcome.done_s.tolist() == [1.0, 6.0, 4.0]
    frame = outcome.to_frame()
    names = ["start_s", "done_s", "delivered_s", "reduced", "preemptions", "rejected", "abandoned"]
    assert list(frame.columns) == names
    assert outcome.notes == ()


def test_delivery_in_steps_is_at_the_end_of_the_step() -> None:
    columns = {"arrival_s": [0.0], "service_s": [1.0], "tell": None}
    outcome = replay(one_class(FCFS(), 0.5), delivered_share=[0.3], grain_s=0.25, **columns)
    assert outcome.delivered_s.tolist() == [0.5] and outcome.done_s.tolist() == [1.0]


def test_predictions_follow_their_law() -> None:
    rng, size = np.random.default_rng(1), np.full(200_000, 2.0)
    assert (predictions(PredictedSize("exact"), size, rng) == size).all()
    exponential = predictions(PredictedSize("exponential"), size, rng)
    assert exponential.mean() == pytest.approx(2.0, rel=0.01) and exponential.std() == pytest.approx(2.0, rel=0.01)
    lognormal = predictions(PredictedSize("lognormal", scv=0.25), size, rng)
    assert lognormal.mean() == pytest.approx(2.0, rel=0.01) and lognormal.std() == pytest.approx(1.0, rel=0.02)
    assert np.isnan(predictions(PredictedSize("none"), size, rng)).all()


def test_arrivals_are_those_of_the_process() -> None:
    seed = np.random.SeedSequence(5)
    times = arrival_times(Poisson(2.0), seed, 10_000.0)
    assert times.size == pytest.approx(20_000, abs=600) and times.max() < 10_000.0
    assert (np.diff(times) > 0).all()
    exactly = arrival_times(Poisson(2.0), seed, 1.0, exactly=50)
    np.testing.assert_allclose(exactly, times[:50], rtol=1e-12)
    assert arrival_times(Renewal(rate=2.0, scv=0.1), seed, 1.0, exactly=300).size == 300


def test_transforms_act_on_what_is_drawn() -> None:
    base = one_class(FCFS(), 0.5)
    kept = drawn(base.with_transforms(EarlyExit(fractions=(0.5,), probabilities=(1.0,))), 200)
    np.testing.assert_allclose(kept.service_s, 0.5 * drawn(base, 200).service_s, rtol=1e-12)
    released = drawn(
        base.with_transforms(EarlyExit(fractions=(0.25, 1.0), probabilities=(0.5, 0.5), delivery="release")), 2_000
    )
    assert set(released.mark) == {0.25, 1.0}
    cached = drawn(base.with_transforms(Cache(hit_ratio=1.0, saved_fraction=0.0, lookup_s=1.0)), 200)
    assert cached.service_s.min() > 1.0


def test_an_empty_run_of_one_request() -> None:
    answer = simulate(one_class(FCFS(), 0.5), requests=1, tell=None)
    assert answer["all"].ci95["mean_response_s"] == (-math.inf, math.inf)


def test_horizons_draw_what_arrives_in_them() -> None:
    requests = draw(two_classes(FCFS()), 0, np.random.SeedSequence(1), horizon_s=100.0)
    assert requests.arrival_s.max() < 100.0
    assert (np.diff(requests.arrival_s) >= 0).all()
    assert len(requests) == pytest.approx(80, abs=40)


def test_the_word_about_compiling_comes_once() -> None:
    from numba import njit

    from qmodel.simulation.kernels.compiled import announced

    def loop(x: int) -> int:
        return x + 1

    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)

    with announced(tell):
        njit(loop)(1)
        assert told == []  # not one of the event loops
        loop.__module__ = "qmodel.simulation.kernels.loop"
        assert njit(loop)(1) == 2
        assert njit(loop)(2.0) == 3.0
    with announced(tell):
        njit(loop)(1)
    assert told == [MESSAGE]


def test_without_any_folder_for_the_cache_it_is_compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from qmodel.simulation.kernels import compiled

    def without_folders(*, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", without_folders)
    assert compiled.compiled(len)("ab") == 2


CHILD = """
import sys
from qmodel.simulation import replay, simulate
assert "numba" not in sys.modules
from qmodel.policy import SRPT
from qmodel.scenario import Scenario
from qmodel.workload import Exponential, Poisson, RequestClass
one = RequestClass("a", Poisson(0.5), Exponential(1.0))
print(simulate(Scenario((one,), policy=SRPT()), requests=1000)["all"].mean_response_s)
"""


def run_child(env: dict[str, str], cwd: Path) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=os.environ | env, cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_compiling_is_told_once_and_cached(tmp_path: Path) -> None:
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, told = run_child(env, tmp_path)
    again, silent = run_child(env, tmp_path)
    assert told.strip() == MESSAGE and silent == ""
    assert first == again


@pytest.mark.slow
def test_the_cache_notices_a_change_of_any_kernel(tmp_path: Path) -> None:
    """Numba itself looks at the file of the called function alone."""
    package = tmp_path / "qmodel"
    ignore = shutil.ignore_patterns("__pycache__", "*.onnx")
    shutil.copytree(Path(qmodel.__file__).parent, package, ignore=ignore)
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    first, _ = run_child(env, tmp_path)
    heap = package / "simulation" / "kernels" / "heap.py"
    heap.write_text(heap.read_text().replace("key < other_key", "key > other_key"))
    assert run_child(env, tmp_path)[0] != first


@pytest.mark.slow
def test_a_package_that_cannot_be_written_still_runs(tmp_path: Path) -> None:
    """Neither the package's folder nor the user's cache can be written: compiled anew, in memory."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    package = tmp_path / "qmodel"
    shutil.copytree(Path(qmodel.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    kernels = package / "simulation" / "kernels"
    (kernels / "__pycache__").write_text("a file where the cache folder would be")
    env = {
        "PYTHONPATH": str(tmp_path),
        "HOME": str(blocked),
        "XDG_CACHE_HOME": str(blocked),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    out, _ = run_child(env, tmp_path)
    assert float(out) > 1.0


def test_answers_of_replaced_systems_differ() -> None:
    scenario = one_class(FCFS(), 1.2)
    two = replace(scenario, system=System(servers=2))
    assert simulate(two, requests=2_000, tell=None).stable
