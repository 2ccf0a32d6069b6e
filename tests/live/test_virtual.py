"""The live scheduler in virtual time: against the compiled simulation, and with the queue condition it lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.order import make_order
from qmodel.live.schedule import draw_schedule
from qmodel.live.virtual import ENGINE, answer_in_virtual_time, serve
from qmodel.policy import make_policy
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput, QueueCondition
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.workload import Deterministic, Geometric, Poisson, RequestClass

TAKEN = IterationTime(base=0.01, per_sequence=0.001, per_prefill_token=1e-4)


def scenario(rate=6.0, max_batch=4, **changes):
    factors = {"input_tokens": Deterministic(8), "output_tokens": Geometric(mean=30.0)}
    system = System(
        batching="continuous", max_batch=max_batch, iteration_time=TAKEN, engine=Engine(max_batched_tokens=64)
    )
    return replace(Scenario((RequestClass("chat", Poisson(rate), factors=factors),), system=system), **changes)


@pytest.mark.parametrize("hit", [0.0, 0.7])
@pytest.mark.parametrize("policy", ["fcfs", "srpt", "las"])
def test_token_times_are_those_of_the_simulation_where_that_can_answer(policy, hit):
    asked = scenario(policy=make_policy(policy))
    asked = replace(asked, classes=tuple(replace(each, prefix_hit=hit) for each in asked.classes))
    schedule = draw_schedule(asked, 300.0, seed=2)
    mine = serve(make_order(asked, schedule, ENGINE), schedule)
    other = replay_scenario(
        asked, schedule.scheduled_s, schedule.input_tokens, schedule.output_tokens, tell=None
    ).outcome  # fmt: skip
    assert len(mine) > 1500
    np.testing.assert_allclose(mine.done_s, other.done_s, rtol=1e-9)
    np.testing.assert_allclose(mine.first_token_s, other.first_s, rtol=1e-9)


def test_the_answer_is_that_of_its_requests():
    found = answer_in_virtual_time(scenario(), requests=3000, seed=4)
    schedule = draw_schedule(scenario(), 500.0, seed=4)
    log = serve(make_order(scenario(), schedule, ENGINE), schedule)
    kept = log[log.scheduled_s >= 50.0]
    assert found["all"].mean_response_s == pytest.approx((kept.done_s - kept.scheduled_s).mean())
    assert found["chat"].mean_ttft_s == pytest.approx((kept.first_token_s - kept.scheduled_s).mean())
    assert found.method == "simulation"
    assert 0.5 < found.utilisation < 1.0


def test_a_condition_that_always_holds_is_the_plain_limit():
    always = scenario().with_transforms(ClipOutput(when=QueueCondition(above=0), max_tokens=10))
    plain = scenario().with_transforms(ClipOutput(max_tokens=10))
    found, expected = (answer_in_virtual_time(each, requests=2000) for each in (always, plain))
    assert found["all"].mean_response_s == pytest.approx(expected["all"].mean_response_s, rel=1e-12)
    assert found["all"].share_reduced == 1.0


def test_a_condition_that_never_holds_changes_nothing():
    never = scenario().with_transforms(ClipOutput(when=QueueCondition(above=10**6), max_tokens=10))
    found, expected = (answer_in_virtual_time(each, requests=2000) for each in (never, scenario()))
    assert found["all"].mean_response_s == expected["all"].mean_response_s
    assert found["all"].share_reduced == 0.0


def test_a_threshold_lies_between_never_and_always():
    def mean(above):
        asked = scenario(7.5).with_transforms(ClipOutput(when=QueueCondition(above=above), max_tokens=10))
        return answer_in_virtual_time(asked, requests=4000)["all"].mean_response_s

    always, some, never = mean(0), mean(5), mean(10**6)
    assert always < some < 0.9 * never


def test_what_it_does_not_answer():
    with pytest.raises(InputError, match="requests in the queue"):
        answer_in_virtual_time(scenario(30.0), requests=2000)
    with pytest.raises(InputError, match=r"system\.batching"):
        answer_in_virtual_time(scenario(system=System(batching="dynamic", iteration_time=TAKEN)), requests=1000)
