"""The live scheduler in virtual time: against the compiled simulation, and with the queue condition it lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.ladder_batches import later_of
from qmodel.live.order import make_order
from qmodel.live.pausing import Pauses, read
from qmodel.live.schedule import draw_schedule
from qmodel.policy import make_policy
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import token_worth
from qmodel.service.transform import ClipOutput, QueueCondition
from qmodel.simulation.iterations.replaying import replay_scenario
from qmodel.simulation.iterations.scenario_rules import rules_of
from qmodel.workload import Deterministic, Exponential, Geometric, Pause, Poisson, RequestClass
from tests.live.virtual import ENGINE, serve

TAKEN = IterationTime(base=0.01, per_sequence=0.001, per_prefill_token=1e-4, per_query_key=1e-6)


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


def pausing(kv, caching=True, policy="fcfs", probability=0.6):
    asked = scenario(policy=make_policy(policy), rate=3.0)
    # a whole context in one chunk: the last token of a prompt in chunks is a decode to one, a prefill to the other
    engine = Engine(max_batched_tokens=64 if caching else 4096, prefix_caching=caching)
    pause = Pause(probability, Exponential(mean=0.5), kv)
    classes = tuple(replace(each, pause=pause) for each in asked.classes)
    return replace(asked, classes=classes, system=replace(asked.system, engine=engine))


@pytest.mark.parametrize("policy", ["fcfs", "srpt", "las"])
@pytest.mark.parametrize(("kv", "caching"), [("keep", True), ("swap", True), ("discard", True), ("discard", False)])
def test_requests_that_pause_come_back_as_in_the_simulation(kv, caching, policy):
    asked = pausing(kv, caching, policy)
    schedule = draw_schedule(asked, 200.0, seed=3)
    mine = serve(make_order(asked, schedule, ENGINE), schedule)
    other = replay_scenario(
        asked, schedule.scheduled_s, schedule.input_tokens, schedule.output_tokens, later=later_of(schedule),
        tell=None,
    ).outcome  # fmt: skip
    assert (schedule.away_s > 0).sum() > 300
    np.testing.assert_allclose(other.away_s, schedule.away_s, rtol=1e-12)
    np.testing.assert_allclose(mine.done_s, other.done_s, rtol=1e-9)
    np.testing.assert_allclose(mine.first_token_s, other.first_s, rtol=1e-9)
    np.testing.assert_allclose(mine.response_s, other.response_s, rtol=1e-9, atol=1e-9)


def test_sizes_count_all_services():
    asked = pausing("keep")
    schedule = draw_schedule(asked, 200.0, seed=3)
    prompt_s, token_s = rules_of(asked).alone_s(0.0)
    later = [Pauses(services=read(text)) for text in schedule.later]
    prompt = schedule.input_tokens + [each.input_tokens for each in later]
    output = schedule.output_tokens + [each.output_tokens for each in later]
    np.testing.assert_allclose(schedule.size_s, prompt * prompt_s + output * token_s, rtol=1e-12)


@pytest.mark.parametrize("transforms", [(), (ClipOutput(max_tokens=12),)])
def test_what_is_replayed_has_the_sizes_of_the_live_run(transforms):
    """By the laws' means, not by those of the few requests that came."""
    asked = scenario(policy=make_policy("srpt")).with_transforms(*transforms)
    worth = token_worth(asked)
    assert rules_of(asked).alone_s(1e6) == pytest.approx((worth.prompt_s, worth.output_s), rel=1e-12)
    schedule = draw_schedule(asked, 5.0, seed=1)
    expected = worth.prompt_s * schedule.input_tokens + worth.output_s * schedule.output_tokens
    np.testing.assert_allclose(schedule.size_s, expected, rtol=1e-12)
