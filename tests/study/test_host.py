"""The host's speed: what ratios of timed cells say of it, what it does to a scenario, and runs made again."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qmodel import Scenario, System
from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.measure.design import Cell
from qmodel.policy import make_policy
from qmodel.predict import Asking, answer_one
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import ServiceModel
from qmodel.service.token_service import TokenService
from qmodel.study import live_runs
from qmodel.study.host import AS_PROFILED, HostSpeed, base_and_rest, cells_of, spread
from qmodel.study.live_runs import Runner
from qmodel.study.plan import Setting
from qmodel.study.results import Results
from qmodel.study.run_prediction import RunPrediction, as_profiled, mean_answer
from qmodel.workload import Deterministic, Poisson, RequestClass

MODEL = ServiceModel.affine({"1": 0.002, "steps": 0.001}, residual_scv=0.01)


def one_server(rate=20.0):
    steps = {"steps": Deterministic(10)}
    return Scenario((RequestClass("one", Poisson(rate), factors=steps),), make_policy("fcfs"), System(model=MODEL))


def answered(mean, rate=1.0, low=0.0, high=1.0):
    part = ClassAnswer("all", rate, {"mean_response_s": mean, "p95_response_s": None},
                       ci95={"mean_response_s": (low, high)})  # fmt: skip
    return PolicyAnswer("fcfs", rate, "exact", "M/G/1", 0.5 * rate, [part])


class TestHostSpeed:
    def test_a_slower_host_stretches_time_and_nothing_else(self):
        """Service longer and arrivals rarer by one factor: the same queue on another clock."""
        speed = HostSpeed({"": 1.25}, 1.25)
        slowed = speed.slowed(one_server())
        mine = answer_one(one_server(), Asking())
        other = answer_one(slowed.at_rate(20.0 / 1.25), Asking())
        for metric in ("mean_response_s", "mean_wait_s", "p95_response_s"):
            assert getattr(other["all"], metric) == pytest.approx(1.25 * getattr(mine["all"], metric), rel=1e-9)

    def test_each_phase_has_its_own_factor(self):
        service = TokenService(replace(model({"1": 0.01, "input_tokens": 1e-4}), phase="prefill"),
                               replace(model({"1": 0.002}), phase="decode"))  # fmt: skip
        scenario = Scenario((RequestClass("one", Poisson(1.0), factors={
            "input_tokens": Deterministic(100), "output_tokens": Deterministic(11)}),),
            make_policy("fcfs"), System(model=service))  # fmt: skip
        slowed = HostSpeed({"prefill": 2.0, "decode": 1.5}, 1.7).slowed(scenario)
        assert slowed.served[0].size.mean == pytest.approx(2.0 * 0.02 + 1.5 * 0.002 * 10)

    def test_base_and_rest_of_an_iteration_slow_down_apart(self):
        scenario = replace(one_server(), system=System(
            batching="continuous", max_batch=4, iteration_time=IterationTime(0.01, 0.002, 1e-6, 1e-5)))  # fmt: skip
        taken = HostSpeed({"base": 1.4, "rest": 1.1}, 1.2).slowed(scenario).system.iteration_time
        assert taken.base == pytest.approx(0.014)
        assert (taken.per_sequence, taken.per_context_token, taken.per_prefill_token) == pytest.approx(
            (0.0022, 1.1e-6, 1.1e-5)
        )

    def test_the_host_as_profiled_changes_nothing(self):
        asked = one_server()
        assert AS_PROFILED.slowed(asked) is asked  # and its runs are of this very scenario

    def test_what_is_written_is_read(self, tmp_path):
        held = RunPrediction(HostSpeed({"denoise": 1.2}, 1.2), answered(0.3), HostSpeed({"denoise": 1.14}, 1.14))
        held.save(tmp_path / "run.json")
        assert RunPrediction.read(tmp_path / "run.json") == held
        assert held.changed == pytest.approx(-0.05)
        assert math.isnan(replace(held, after=None).changed)

    def test_a_file_that_is_none_is_named(self, tmp_path):
        (tmp_path / "run.json").write_text("{")
        with pytest.raises(InputError, match=r"run\.json: is no prediction of a run"):
            RunPrediction.read(tmp_path / "run.json")


def model(coefficients):
    return ServiceModel.affine(coefficients)


class TestParts:
    @pytest.mark.parametrize(("base", "rest"), [(1.38, 1.13), (1.0, 1.0), (0.9, 1.3)])
    def test_both_are_found_from_cells_of_any_share(self, base, rest):
        share = np.array([0.9, 0.6, 0.3, 0.2])
        found = base_and_rest(share, base * share + rest * (1 - share))
        assert (found["base"], found["rest"]) == pytest.approx((base, rest), abs=1e-4)

    def test_cells_alike_tell_one_factor(self):
        assert base_and_rest(np.array([0.5, 0.51]), np.array([1.1, 1.3])) == {"base": 1.2, "rest": 1.2}

    def test_no_part_is_free(self):
        """Ratios that fall more steeply than any two factors: the rest stays above half the least ratio."""
        found = base_and_rest(np.array([0.9, 0.1]), np.array([2.0, 0.2]))
        assert found["rest"] == pytest.approx(0.1)


def profile_rows():
    cells = [("decode", "idle-gaps", batch, 0.001 * batch + 0.0001 * k) for batch in (1, 4, 16) for k in range(3)]
    return pd.DataFrame(cells, columns=["phase", "pacing", "batch_size", "latency_s"]).assign(
        target="t", run_id="r", block=1, prefill_tokens=np.nan
    )


def test_cells_are_those_of_the_profile_with_their_medians():
    assert cells_of(profile_rows()) == [
        (Cell("decode", {"batch_size": batch}, "idle-gaps"), pytest.approx(0.001 * batch + 0.0001))
        for batch in (1, 4, 16)
    ]


def test_few_cells_are_all_taken():
    assert spread(cells_of(profile_rows()), 5) == cells_of(profile_rows())


class TestTogether:
    def test_one_answer_stays_as_it_is(self):
        only = answered(0.3)
        assert mean_answer([only], [5.0]) is only

    def test_several_are_weighted(self):
        found = mean_answer([answered(0.2, 1.0, 0.1, 0.3), answered(0.5, 2.0, 0.3, 0.7)], [100.0, 50.0])
        assert found["all"].mean_response_s == pytest.approx(0.3)
        assert found["all"].ci95["mean_response_s"] == pytest.approx((0.5 / 3, 1.3 / 3))
        assert found["all"].p95_response_s is None
        assert (found.rate, found.utilisation) == pytest.approx((4 / 3, 2 / 3))


def test_times_of_a_slow_run_become_those_of_the_profile():
    log = pd.DataFrame({"request_id": [1], "scheduled_s": [2.0], "done_s": [3.0], "steps": [4]})
    found = as_profiled(log, 0.5)
    assert found.iloc[0].to_dict() == {"request_id": 1, "scheduled_s": 1.0, "done_s": 1.5, "steps": 4}
    assert as_profiled(log, 1.0) is log


class Watch:
    """A host whose speeds are written down."""

    def __init__(self, *typical):
        self.left = list(typical)

    def look(self):
        return HostSpeed({"": self.left[0]}, self.left.pop(0))


class TestMadeAgain:
    SETTING = Setting("fcfs", "none", 0.5)

    def runner(self, tmp_path, monkeypatch, *typical):
        """A runner whose runs do nothing but leave a log."""
        made, said = Runner.__new__(Runner), []
        made._results, made._host, made._digest = Results(tmp_path), Watch(*typical), "0" * 64
        made._seen = AS_PROFILED, -math.inf
        made._base, made._plan = one_server(), None
        made._watcher = type("Says", (), {"say": lambda self, line: said.append(line)})()
        monkeypatch.setattr(made, "_expected", lambda speed, setting: RunPrediction(speed, answered(0.3)))
        served = []

        def serve(scenario, setting, seed, about):
            served.append(about["host_before"])
            path = made._results.log(setting, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(len(served)))

        monkeypatch.setattr(made, "_serve", serve)
        made._plan = type("Plan", (), {"scenario": lambda self, base, setting: base})()
        return made, served, said

    def test_a_steady_host_is_run_once(self, tmp_path, monkeypatch):
        runner, served, said = self.runner(tmp_path, monkeypatch, 1.2, 1.23)
        runner.run(self.SETTING, 1, 0)
        assert (served, said) == ([1.2], [])
        path = runner._results.run_prediction(self.SETTING, 1)
        assert RunPrediction.read(path).after.typical == 1.23

    def test_a_host_that_changed_is_run_again_and_the_first_run_is_kept_aside(self, tmp_path, monkeypatch):
        runner, served, said = self.runner(tmp_path, monkeypatch, 1.0, 1.3, 1.31)
        runner.run(self.SETTING, 1, 0)
        assert served == [1.0, 1.3]
        assert said == ["fcfs-none-load0.50: the host's times changed by +30% meanwhile; it is run again"]
        log = runner._results.log(self.SETTING, 1)
        assert log.read_text() == "2"
        assert (log.parent / "again" / log.name).read_text() == "1"
        first = json.loads((log.parent / "again" / f"{log.stem}.predicted.json").read_text())
        assert first["after"]["typical"] == 1.3

    def test_the_last_run_stands_whatever_the_host_did(self, tmp_path, monkeypatch):
        speeds = [1.0 + 0.3 * k for k in range(2 + live_runs.AGAIN)]
        runner, served, said = self.runner(tmp_path, monkeypatch, *speeds)
        runner.run(self.SETTING, 1, 0)
        assert len(served) == 1 + live_runs.AGAIN
        assert len(said) == live_runs.AGAIN
        assert runner._results.log(self.SETTING, 1).exists()
