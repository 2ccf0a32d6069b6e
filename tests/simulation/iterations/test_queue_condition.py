"""Shorter outputs while the queue is long: as the live scheduler decides, to the last token; limits; refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.order import make_order
from qmodel.live.schedule import draw_schedule
from qmodel.policy import make_policy
from qmodel.policy.routing import Routing
from qmodel.predict import Asking, predict
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput, EarlyExit, ModelSwap, QueueCondition
from qmodel.simulation import simulate
from qmodel.simulation.iterations import invariants
from qmodel.simulation.iterations.pools import collected
from qmodel.simulation.iterations.replaying import replay_by, replay_scenario
from qmodel.simulation.iterations.rules import Rules
from qmodel.simulation.iterations.scenario_rules import rules_of
from qmodel.workload import Exponential, Geometric, Pause, Poisson, RequestClass
from tests.live.virtual import ENGINE, serve
from tests.simulation.iterations.cases import case
from tests.simulation.uncompiled import uncompiled

TIME = IterationTime(base=0.003, per_sequence=3e-4, per_context_token=1e-6, per_prefill_token=1e-4)
CLIP = 24
PAUSE = Pause(0.2, Exponential(1.0))


def scenario(policy="fcfs", above=6, below=None, rate=30.0, most=CLIP, **given):
    def of(name, share, prompt, output, priority):
        factors = {"input_tokens": Geometric(mean=prompt), "output_tokens": Geometric(mean=output)}
        return RequestClass(
            name, Poisson(share * rate), factors=factors, priority=priority, slo={"response_s": 1.0}
        )

    classes = (of("chat", 0.7, 60.0, 30.0, 0), of("summary", 0.3, 90.0, 70.0, 1))
    transforms = () if above is None else (ClipOutput(QueueCondition(above, below), most),)
    system = System(batching="continuous", max_batch=8, iteration_time=TIME,
                    engine=Engine(max_batched_tokens=256), **given)  # fmt: skip
    return Scenario(classes, make_policy(policy), system, transforms)


@pytest.mark.parametrize("policy", ["fcfs", "las", "np-priority", "pr-priority", "sjf", "psjf", "edf"])
@pytest.mark.parametrize(("above", "below"), [(3, None), (6, 3), (20, 8)])
def test_as_the_live_scheduler_decides_to_the_last_token(policy, above, below):
    asked = scenario(policy, above, below)
    schedule = draw_schedule(asked, 20.0, 7)
    log = serve(make_order(asked, schedule, ENGINE), schedule)
    whole = draw_schedule(replace(asked, transforms=()), 20.0, 7).output_tokens
    index = [["chat", "summary"].index(each) for each in schedule["class"]]
    found = replay_scenario(
        asked, schedule.scheduled_s, schedule.input_tokens, whole, class_index=index, tell=None
    ).outcome
    assert 0 < log.reduced.sum() < len(log)
    np.testing.assert_array_equal(found.reduced, log.reduced)
    np.testing.assert_array_equal(found.output, log.output_tokens)
    np.testing.assert_allclose(found.done_s, log.done_s, rtol=1e-12)
    np.testing.assert_allclose(found.first_s, log.first_token_s, rtol=1e-12)


def test_a_burst_by_hand():
    # one slot, iterations of 1 s, arrivals at 0, 0, 0: the first sees 3, the second 2, the third itself
    def outputs(above, below):
        rules = Rules(IterationTime(base=1.0), Engine(), 1, condition=QueueCondition(above, below), clip=2)
        policy, one = make_policy("fcfs"), [RequestClass("a", Poisson(1.0), Exponential(1.0))]
        found = replay_by(rules, policy, one, [0.0] * 4, [1] * 4, [5] * 4, tell=None)
        return found.outcome.output.tolist()

    assert outputs(2, None) == [2, 2, 5, 5]
    assert outputs(3, 2) == [2, 2, 2, 5]
    assert outputs(3, None) == [2, 5, 5, 5]
    assert outputs(4, 1) == [5] * 4


def test_always_and_never_are_the_scenarios_without_a_condition():
    always = simulate(scenario(above=0), requests=3000, tell=None)
    clipped = replace(scenario(above=None), transforms=(ClipOutput(None, CLIP),))
    plain = simulate(clipped, requests=3000, tell=None)
    assert always["all"].mean_response_s == pytest.approx(plain["all"].mean_response_s, rel=1e-12)
    assert always["all"].metrics["share_reduced"] == 1.0
    never = simulate(scenario(above=10**6, rate=10.0), requests=3000, tell=None)
    without = simulate(scenario(above=None, rate=10.0), requests=3000, tell=None)
    assert never["all"].mean_response_s == without["all"].mean_response_s
    assert never["all"].metrics["share_reduced"] == 0.0
    assert "share_reduced" not in without["all"].metrics


def test_the_answer_lies_between_and_says_what_its_load_is():
    rate = 24.0
    short, long = (simulate(scenario(above=each, rate=rate), requests=20_000, tell=None) for each in (0, None))
    found = predict(scenario(above=8, rate=rate), asking=Asking(requests=20_000)).results[0]
    assert found.method == "simulation"
    assert short["all"].mean_response_s < found["all"].mean_response_s < long["all"].mean_response_s
    assert 0.0 < found["all"].metrics["share_reduced"] < 1.0
    assert found.utilisation == pytest.approx(short.utilisation, rel=1e-9)
    assert any("while the queue condition holds" in note for note in found.notes)


def test_what_would_be_unstable_in_full_is_served_short():
    rate = 45.0
    assert not simulate(scenario(above=None, rate=rate), requests=2000, tell=None).stable
    assert simulate(scenario(above=8, rate=rate), requests=2000, tell=None).stable
    burst = simulate(scenario(above=8, rate=rate), requests=1, horizon_s=5.0, replications=3, tell=None)
    assert 0.0 < burst["all"].metrics["share_reduced"] <= 1.0


@pytest.mark.parametrize("seed", range(60))
def test_invariants_hold_and_strides_change_nothing(seed):
    requests, policy, rules = case(seed)
    if len(rules.engine.pipeline) > 1 or requests.later.number.any():
        rules = replace(rules, engine=replace(rules.engine, prefill="mixed", prefill_servers=1,
                                              transfer_tokens_per_s=None))  # fmt: skip
    rules = replace(rules, condition=QueueCondition(5, 2 if seed % 2 else None), clip=7)
    outcome, totals = collected(requests, policy, rules, seed=seed)
    if not requests.later.number.any():
        assert not invariants.conservation_of_tokens(requests, outcome, totals)
        assert not invariants.conservation_of_work(requests, outcome, totals)
        assert (outcome.output[outcome.reduced == 1] <= 7).all()
    assert not invariants.causality(outcome)
    assert not invariants.caps(rules, totals)
    one_by_one, _ = collected(requests, policy, rules, seed=seed, jumps=False)
    for name, column in vars(outcome).items():
        np.testing.assert_allclose(column, getattr(one_by_one, name), rtol=1e-9, err_msg=name)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_plain_python_gives_the_same_bits():
    from dataclasses import fields

    pools, tokens = uncompiled("iterations.pools", "iterations.token_requests")
    for seed in (1, 4, 8, 11):
        requests, policy, rules = case(seed, most=25)
        if len(rules.engine.pipeline) > 1:
            continue
        rules = replace(rules, condition=QueueCondition(3, 2), clip=4)
        ours, _ = collected(requests, policy, rules, seed=seed)
        seen = tokens.TokenRequests(**{each.name: getattr(requests, each.name) for each in fields(requests)})
        theirs, _ = pools.collected(seen, policy, rules, seed=seed)
        for name, column in vars(ours).items():
            np.testing.assert_array_equal(column, getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda s: replace(s, transforms=(ModelSwap(QueueCondition(3), 0.5),)), "ModelSwap has no meaning"),
        (lambda s: replace(s, transforms=(EarlyExit(QueueCondition(3), (0.5,), (1.0,)),)), "one pass serves"),
        (lambda s: replace(s, transforms=(ClipOutput(QueueCondition(3, None, 0.1), 4),)), "swap_time_s"),
        (lambda s: replace(s, classes=[replace(c, patience=Exponential(1.0)) for c in s.classes]), "patience"),
        (lambda s: replace(s, classes=[replace(c, pause=PAUSE) for c in s.classes]), "pause"),
        (lambda s: replace(s, system=replace(s.system, servers=2, routing=Routing("random"))), "several engines"),
    ],
)  # fmt: skip
def test_what_is_refused(changed, said):
    with pytest.raises(InputError, match=said):
        rules_of(changed(scenario()))
