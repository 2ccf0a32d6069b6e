"""Capacity and load of batching systems, and the ladder of their runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qmodel.answer import ClassAnswer, PolicyAnswer
from qmodel.errors import InputError
from qmodel.ladder_batches import ladder_of_batches, slowness
from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.study.batching import alike, at_load, capacity, settings_of
from qmodel.study.evaluate import as_asked_for
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass

TAKEN = IterationTime(base=0.01, per_sequence=0.001)


def continuous(rate=5.0):
    factors = {"input_tokens": Deterministic(8), "output_tokens": Deterministic(10)}
    system = System(batching="continuous", max_batch=4, iteration_time=TAKEN, engine=Engine(max_batched_tokens=64))
    return Scenario((RequestClass("chat", Poisson(rate), factors=factors),), FCFS(), system)


def dynamic(**system):
    one = RequestClass("one", Poisson(1.0), Exponential(mean=1.0))
    return Scenario((one,), FCFS(), System(batching="dynamic", iteration_time=TAKEN, **system))


def test_capacity_of_an_engine_whose_queue_never_empties():
    """Four at a time, ten iterations of 14 ms each, the prefill among them: 4 / 0.14 requests a second."""
    assert capacity(continuous()) == pytest.approx(4 / (10 * 0.014), rel=0.03)
    assert at_load(continuous(), 0.5).rate == pytest.approx(0.5 * capacity(continuous()))


def test_capacity_of_full_batches():
    assert capacity(dynamic(max_batch=5)) == pytest.approx(5 / 0.015)
    assert at_load(dynamic(max_batch=5), 0.6).rate == pytest.approx(0.6 * 5 / 0.015)
    assert capacity(dynamic()) == pytest.approx(1 / 0.001)


def test_every_token_of_a_request_takes_its_time_in_batches_without_a_limit():
    """40 requests of 8 prompt and 10 output tokens take at most so much longer than 39 as one more alone."""
    taken = IterationTime(0.01, 0.001, 1e-5, 2e-4)
    factors = {"input_tokens": Deterministic(8), "output_tokens": Deterministic(10)}
    one = RequestClass("one", Poisson(1.0), factors=factors)
    scenario = Scenario((one,), FCFS(), System(batching="dynamic", iteration_time=taken))
    each = 10 * 0.001 + 8 * 2e-4 + 1e-5 * sum(range(9, 18))
    assert capacity(scenario) == pytest.approx(1 / each, rel=1e-9)
    packed = replace(scenario.system, iteration_time=replace(taken, per_query_key=1e-9))
    with pytest.raises(InputError, match="max_batch"):  # the more there are, the longer each takes
        capacity(replace(scenario, system=packed))


def test_batches_without_a_limit_have_no_capacity():
    fixed = IterationTime(base=0.01)
    scenario = dynamic()
    with pytest.raises(InputError, match="max_batch"):
        capacity(Scenario(scenario.classes, FCFS(), System(batching="dynamic", iteration_time=fixed)))


def test_one_at_a_time_is_as_it_was():
    plain = Scenario((RequestClass("one", Poisson(1.0), Exponential(mean=2.0)),))
    assert at_load(plain, 0.5).rate == pytest.approx(0.25)


def test_settings_from_a_saved_fit(tmp_path):
    path = tmp_path / "iteration-time.json"
    path.write_text(json.dumps({"coefficients": {"base": 0.5, "per_sequence": 1e-7}}))
    assert settings_of(path) == {
        "system.iteration_time.base": "0.5",
        "system.iteration_time.per_sequence": "1e-07",
        "system.iteration_time.per_query_key": "0.0",  # not found, whatever the scenario says
    }


def test_rows_at_the_steps_that_requests_ask_for(model):
    rows = pd.DataFrame({"batch_size": [1, 1, 2], "steps": [8, 16, 16], "latency_s": [1.0, 2.0, 3.0]})
    factors = {"steps": Deterministic(16), "batch_size": Deterministic(1)}
    scenario = Scenario((RequestClass("a", Poisson(1.0), factors=factors),), system=System(model=model))
    assert alike(rows, scenario).latency_s.tolist() == [2.0, 3.0]


@pytest.fixture
def model():
    from qmodel.service.model import ServiceModel

    return ServiceModel.affine({"steps": 0.001})


def test_pairs_of_queries_and_keys_are_counted_where_they_cost_time():
    loop = {"steps": 10, "busy_s": 0.5, "totals": {"sequences": 30, "context_tokens": 0, "prefill_tokens": 0}}
    packed = IterationTime(0.01, 0.001, per_query_key=1e-6)
    with_pairs = {**loop, "totals": {**loop["totals"], "query_keys": 120_000}}
    assert slowness(packed, with_pairs) == pytest.approx(0.5 / 0.25, rel=1e-12)
    assert slowness(IterationTime(0.01, 0.001), with_pairs) == pytest.approx(0.5 / 0.13, rel=1e-12)


def test_the_ladder_of_a_run_that_was_slower_than_fitted():
    """A run made by the simulator itself with iterations 1.25 times as long: its own rung meets it."""
    scenario = continuous(rate=14.0)
    rng = np.random.default_rng(2)
    arrivals = np.cumsum(rng.exponential(1 / 14.0, 400))
    slow = Scenario(scenario.classes, FCFS(), System(
        batching="continuous", max_batch=4, iteration_time=TAKEN.times(1.25), engine=scenario.system.engine,
    ))  # fmt: skip
    done = replay_scenario(slow, arrivals, np.full(400, 8), np.full(400, 10), tell=None)
    log = pd.DataFrame({
        "class": "chat", "status": "ok", "scheduled_s": arrivals, "done_s": done.outcome.done_s,
        "input_tokens": 8, "output_tokens": 10,
    })  # fmt: skip
    loop = {
        "steps": done.totals.iterations,
        "busy_s": done.totals.busy_s,
        "totals": {"sequences": 4000, "context_tokens": 0, "prefill_tokens": 3200},
    }
    assert slowness(TAKEN, loop) == pytest.approx(1.25, rel=1e-9)
    predicted = PolicyAnswer("fcfs", 14.0, "exact", "r", 0.5, [ClassAnswer("all", 14.0, {"mean_response_s": 0.3})])
    rungs = ladder_of_batches(scenario, log, loop, predicted, warmup_s=1.0)
    means = {rung.rung: rung.mean_response_s for rung in rungs if rung.class_name == "all"}
    assert means["measured services"] == pytest.approx(means["live"], rel=1e-9)
    assert means["fitted services"] < 0.9 * means["live"]
    assert means["theory"] == 0.3
    assert means["poisson arrivals"] == pytest.approx(means["fitted services"], rel=0.25)
    assert {rung.explains for rung in rungs if rung.rung == "live"} == {""}
    alone = Scenario(scenario.classes, system=System(iteration_time=None))
    with pytest.raises(InputError, match="in batches"):
        ladder_of_batches(alone, log, loop, predicted)


def test_the_ladder_of_whole_batches(model):
    """By hand: iterations of 10 + n ms in the fit, 1.5 times as long in the run."""
    scenario = dynamic(max_batch=2)
    log = pd.DataFrame({
        "class": "one", "status": "ok", "scheduled_s": [0.0, 0.001, 0.002, 1.0],
        "done_s": [0.0165, 0.0345, 0.0345, 1.0165],
    })  # fmt: skip
    loop = {"steps": 3, "busy_s": 1.5 * (3 * 0.010 + 4 * 0.001), "totals": {"batches": 3, "requests": 4}}
    predicted = PolicyAnswer("fcfs", 1.0, "exact", "r", 0.5, [ClassAnswer("all", 1.0, {"mean_response_s": 0.03})])
    means = {rung.rung: rung.mean_response_s for rung in ladder_of_batches(scenario, log, loop, predicted)}
    assert means["live"] == pytest.approx((0.0165 + 0.0335 + 0.0325 + 0.0165) / 4)
    assert means["measured services"] == pytest.approx(means["live"])
    assert means["fitted services"] == pytest.approx((0.011 + 0.022 + 0.021 + 0.011) / 4)


def test_the_ladder_of_a_queue_condition_serves_what_was_asked_for():
    """The log has the outputs that the long queue left; the rungs start from those that were asked for."""
    log = pd.DataFrame({"request_id": [2, 0, 1], "output_tokens": [4, 4, 9]})
    schedule = pd.DataFrame({"request_id": [0, 1, 2], "output_tokens": [30, 9, 50]})
    assert as_asked_for(log, schedule).output_tokens.tolist() == [50, 30, 9]
