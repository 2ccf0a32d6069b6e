"""The live scheduler in virtual time: against the compiled simulation, and with the queue condition it lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.order import make_order
from qmodel.live.schedule import draw_schedule
from qmodel.policy import make_policy
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput, QueueCondition
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.workload import Deterministic, Geometric, Poisson, RequestClass
from tests.live.virtual import ENGINE, serve

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


def responses(asked):
    """Response times in virtual time of the same arrivals, whatever the condition."""
    schedule = draw_schedule(asked, 300.0, seed=4)
    log = serve(make_order(asked, schedule, ENGINE), schedule)
    return (log.done_s - log.scheduled_s).to_numpy(), log.reduced.mean()


def test_a_condition_that_always_holds_is_the_plain_limit():
    always = scenario().with_transforms(ClipOutput(when=QueueCondition(above=0), max_tokens=10))
    plain = scenario().with_transforms(ClipOutput(max_tokens=10))
    (found, share), (expected, _) = responses(always), responses(plain)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert share == 1.0


def test_a_condition_that_never_holds_changes_nothing():
    never = scenario().with_transforms(ClipOutput(when=QueueCondition(above=10**6), max_tokens=10))
    (found, share), (expected, _) = responses(never), responses(scenario())
    np.testing.assert_array_equal(found, expected)
    assert share == 0.0


def test_what_it_does_not_serve():
    whole = scenario(system=System(batching="dynamic", iteration_time=TAKEN))
    schedule = draw_schedule(whole, 10.0, seed=1)
    with pytest.raises(InputError, match=r"system\.batching"):
        serve(make_order(whole, schedule, ENGINE | {"batching": ("dynamic",)}), schedule)
