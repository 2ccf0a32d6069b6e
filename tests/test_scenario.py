"""The question: rates, loads, transforms applied, and the fingerprint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.policy import FCFS, MLFQ, PS, SRPT, Rank, RoundRobin
from qmodel.scenario import Scenario, System, processor_sharing
from qmodel.service.iteration_time import IterationTime
from qmodel.service.model import EXACT, Residual
from qmodel.service.transform import Cache, EarlyExit, FewerSteps, ModelSwap, QueueCondition
from qmodel.workload import Deterministic, Discrete, Exponential, Lognormal, Mixture, Poisson, RequestClass, Trace

CHAT = RequestClass("chat", Poisson(0.3), Exponential(1.0), priority=1, weight=2.0, slo={"response_p99_s": 9.0})
BATCH = RequestClass("batch", Poisson(0.1), Lognormal(4.0, 2.0))
TWO = Scenario(classes=[CHAT, BATCH], policy=SRPT())


@dataclass(frozen=True)
class Steps:
    """A fitted model: 1 ms and 2 ms a step."""

    factors: tuple[str, ...] = ("steps",)
    residual: Residual = EXACT
    residual_scv: float = 0.0
    fingerprint: str = "abc"

    def predict(self, levels: Mapping[str, float]) -> float:
        return 0.001 + 0.002 * levels["steps"]


def stepped(*transforms: object, steps: object = None) -> Scenario:
    law = steps or Discrete((6, 25), (0.5, 0.5))
    one = RequestClass("draw", Poisson(1.0), factors={"steps": law})
    return Scenario(classes=[one], system=System(model=Steps()), transforms=transforms)


class TestRates:
    def test_totals(self) -> None:
        assert TWO.rate == pytest.approx(0.4)
        assert TWO.utilisation == pytest.approx(0.3 * 1 + 0.1 * 4)
        assert replace(TWO, system=System(servers=2)).utilisation == pytest.approx(0.35)

    def test_classes_keep_their_shares(self) -> None:
        faster = TWO.at_rate(2.0)
        assert [c.rate for c in faster.classes] == pytest.approx([1.5, 0.5], rel=1e-15)
        assert faster.policy == SRPT() and faster.name == TWO.name

    @given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
    def test_a_single_class_gets_exactly_the_rate(self, before: float, after: float) -> None:
        one = Scenario(classes=[RequestClass("chat", Poisson(before), Exponential(1.0))])
        assert one.at_rate(after).rate == after

    @given(st.floats(0.01, 0.99))
    def test_at_load(self, load: float) -> None:
        assert TWO.at_load(load).utilisation == pytest.approx(load, rel=1e-12)

    def test_at_load_counts_the_service_without_transforms(self) -> None:
        halved = TWO.with_transforms(FewerSteps(fraction=0.5)).at_load(0.8)
        assert halved.rate == pytest.approx(TWO.at_load(0.8).rate)
        assert halved.utilisation == pytest.approx(0.4)
        assert halved.at_load(0.8, transforms=True).utilisation == pytest.approx(0.8)

    def test_at_load_counts_servers(self) -> None:
        assert replace(TWO, system=System(servers=4)).at_load(0.5).utilisation == pytest.approx(0.5)

    def test_traces_are_stretched(self) -> None:
        one = Scenario(classes=[RequestClass("chat", Trace((0.0, 1.0, 4.0)), Exponential(1.0))])
        assert one.at_rate(1.0).classes[0].arrivals.recorded_s == (0.0, 0.5, 2.0)


class TestServed:
    def test_plain(self) -> None:
        chat, batch = TWO.served
        assert (chat.name, chat.rate, chat.priority, chat.weight) == ("chat", 0.3, 1, 2.0)
        assert chat.size == Exponential(1.0) and chat.long_queue is None and chat.slo == {"response_p99_s": 9.0}
        assert batch.load == pytest.approx(0.4)

    def test_size_of_any_request(self) -> None:
        assert TWO.size == Mixture((0.3 / TWO.rate, 0.1 / TWO.rate), (CHAT.service, BATCH.service))
        assert TWO.size.mean == pytest.approx((0.3 * 1 + 0.1 * 4) / 0.4)
        assert Scenario(classes=[CHAT]).size is CHAT.service

    def test_transforms_apply_in_order_to_every_class(self) -> None:
        served = TWO.with_transforms(FewerSteps(fraction=0.5), Cache(hit_ratio=0.5, lookup_s=0.1)).served
        assert [c.size.mean for c in served] == pytest.approx([0.1 + 0.5 * 0.5, 0.1 + 0.5 * 2.0])

    def test_a_conditional_transform_waits_for_the_queue(self) -> None:
        condition = QueueCondition(4)
        scenario = TWO.with_transforms(
            EarlyExit(fractions=(0.5,), probabilities=(1.0,)),
            ModelSwap(when=condition, service_factor=0.4, quality=0.9),
        )
        chat = scenario.served[0]
        assert scenario.condition == condition
        assert chat.service.occupancy.mean == 0.5 and chat.service.quality == 1.0
        assert chat.long_queue.occupancy.mean == pytest.approx(0.2) and chat.long_queue.quality == 0.9

    def test_a_fitted_model_turns_factors_into_seconds(self) -> None:
        assert stepped().served[0].size.atoms() == [(pytest.approx(0.013), 0.5), (pytest.approx(0.051), 0.5)]

    def test_fewer_steps_are_whole_steps_of_the_model(self) -> None:
        """6 -> 3 and 25 -> 12 steps; the fixed millisecond stays."""
        served = stepped(FewerSteps(fraction=0.5, quality=0.8)).served[0]
        assert served.size.atoms() == [(pytest.approx(0.007), 0.5), (pytest.approx(0.025), 0.5)]
        assert served.service.quality == 0.8 and served.service.energy == pytest.approx(7.5 / 15.5)

    def test_fewer_steps_of_a_plain_service_scale_it(self) -> None:
        assert TWO.with_transforms(FewerSteps(fraction=0.25)).served[0].size == Exponential(1.0).scaled(0.25)

    def test_other_transforms_follow_the_model(self) -> None:
        served = stepped(ModelSwap(service_factor=0.5), FewerSteps(fraction=0.5), steps=Deterministic(20)).served[0]
        assert served.size.mean == pytest.approx(0.5 * (0.001 + 0.002 * 10))

    def test_shares_server(self) -> None:
        assert not TWO.shares_server and TWO.with_policy(PS()).shares_server
        assert replace(TWO, system=System(batching="processor-sharing")).shares_server

    def test_processor_sharing_as_a_system_is_the_policy(self) -> None:
        spelled = processor_sharing(replace(TWO, system=System(batching="processor-sharing", servers=2)))
        assert spelled.policy == PS() and spelled.system == System(servers=2)
        limited = replace(TWO, system=System(batching="processor-sharing", max_batch=4))
        assert processor_sharing(limited) is limited and processor_sharing(TWO) is TWO


class TestFingerprint:
    def test_equal_questions_agree(self) -> None:
        again = Scenario(classes=(replace(CHAT), replace(BATCH)), policy=SRPT(), name="another name")
        assert again.fingerprint == TWO.fingerprint
        assert len(TWO.fingerprint) == 64 and int(TWO.fingerprint, 16)

    def test_different_questions_differ(self) -> None:
        questions = [
            TWO.at_rate(0.5),
            TWO.with_policy(FCFS()),
            TWO.with_policy(MLFQ((1.0, 2.0))),
            TWO.with_policy(MLFQ((1.0, 3.0))),
            TWO.with_policy(RoundRobin(0.5)),
            TWO.with_transforms(FewerSteps(fraction=0.5)),
            TWO.with_transforms(FewerSteps(when=QueueCondition(4), fraction=0.5)),
            TWO.with_transforms(FewerSteps(when=QueueCondition(4, 2), fraction=0.5)),
            replace(TWO, system=System(servers=2)),
            replace(TWO, system=System(batching="dynamic", iteration_time=IterationTime(0.1))),
            replace(TWO, system=System(batching="dynamic", max_batch=8)),
            replace(TWO, classes=(BATCH, CHAT)),
            replace(TWO, classes=(CHAT, replace(BATCH, priority=3))),
            replace(TWO, classes=(CHAT, replace(BATCH, weight=3.0))),
            replace(TWO, classes=(CHAT, replace(BATCH, slo={"response_s": 3.0}))),
            replace(TWO, classes=(CHAT, replace(BATCH, service=Lognormal(4.0, 2.1)))),
            stepped(),
            replace(stepped(), system=System(model=Steps(fingerprint="abd"))),
            TWO,
        ]
        assert len({question.fingerprint for question in questions}) == len(questions)

    def test_a_users_policy_may_hold_anything(self) -> None:
        class Learned(Rank):
            def __init__(self) -> None:
                self.weights = {1.0, 2.0}

        assert TWO.with_policy(Learned()).fingerprint != TWO.fingerprint


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Scenario(classes=[]), "scenario: has no class; add at least one [[class]]"),
        (lambda: Scenario(classes=[CHAT, CHAT]), "class 'chat': is there twice; give each class its own name"),
        (
            lambda: TWO.with_transforms(
                FewerSteps(when=QueueCondition(3), fraction=0.5),
                ModelSwap(when=QueueCondition(4), service_factor=0.5),
            ),
            "transform: two different queue conditions; use one above_queue and below_queue",
        ),
        (lambda: System(servers=0), "system, servers: 0 is below 1; give a whole number above 0"),
        (lambda: System(batching="dynamic", max_batch=0), "system, max_batch: 0 is below 1"),
        (
            lambda: System(max_batch=8),
            "system, max_batch: has no meaning with batching = 'none'; it belongs to processor-sharing or dynamic",
        ),
        (
            lambda: System(batching="dynamic", kv_capacity_tokens=8),
            "system, kv_capacity_tokens: has no meaning with batching = 'dynamic'; it belongs to continuous",
        ),
        (lambda: System(iteration_time=IterationTime(0.1)), "system, iteration_time: has no meaning with batching"),
        (lambda: TWO.at_rate(0.0), "poisson, rate: 0.0 is not a positive number"),
        (lambda: TWO.at_rate(math.nan), "poisson, rate: nan is not a positive number"),
        (lambda: replace(stepped(), system=System()).served, "class 'draw': gives factors but the system has no"),
    ],
)
def test_refused(make, line: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(line)
