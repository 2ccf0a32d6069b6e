from __future__ import annotations

from dataclasses import replace

import pytest

from qmodel.errors import InputError
from qmodel.live.order import check_runnable, make_order
from qmodel.live.schedule import draw_schedule
from qmodel.live.server import entries_of, unpack_policy
from qmodel.policy import PS, SPRPT
from qmodel.service.transform import Cache, EarlyExit, FewerSteps, ModelSwap, QueueCondition
from qmodel.workload import Deterministic, PredictedSize, RequestClass

REAL = {"name": "digits-diffusion", "emulated": False, "factors": ("batch_size", "steps")}
EMULATED = {"name": "emulated", "emulated": True, "factors": ()}


def test_what_the_server_is_told(in_steps):
    scenario = in_steps(SPRPT(), [FewerSteps(fraction=0.5, when=QueueCondition(4))], slo={"response_s": 1.0})
    schedule = draw_schedule(scenario, 1.0, seed=1)
    order = make_order(scenario, schedule, REAL)
    row = schedule.iloc[3]
    assert isinstance(unpack_policy(order.policy), SPRPT)
    assert order.condition == QueueCondition(4)
    request = order.requests[3]
    assert (request.arrival_s, request.size, request.class_name) == (
        row["scheduled_s"],
        row["size_s"],
        row["class"],
    )
    assert (request.priority, request.lottery) == (row["priority"], row["lottery"])
    assert request.deadline_s == pytest.approx(row["scheduled_s"] + 1.0)
    assert order.works[3].levels == {"steps": int(row["steps"])}
    assert order.works[3].seed == 3
    assert order.works_long[3].levels == {"steps": int(row["steps_long"])}
    assert order.size_long[3] == row["size_s_long"]
    entries = entries_of(order)
    assert [entry.index for entry in entries] == schedule["request_id"].tolist()
    assert entries[3].size_long == row["size_s_long"]


def test_without_a_condition_nothing_is_said_of_long_queues(in_steps):
    order = make_order(in_steps(), draw_schedule(in_steps(), 1.0, seed=1), REAL)
    assert set(order.works_long) == {None}
    assert entries_of(order)[0].size_long is None


def test_factors_that_a_class_lacks_are_left_out(in_steps, model):
    scenario = in_steps()
    third = RequestClass(
        "batches", scenario.classes[0].arrivals, factors={"steps": Deterministic(2), "batch_size": Deterministic(4)}
    )
    scenario = replace(scenario, classes=(*scenario.classes, third))
    schedule = draw_schedule(scenario, 1.0, seed=1)
    order = make_order(scenario, schedule, REAL)
    for work, name in zip(order.works, schedule["class"], strict=True):
        assert work.levels.get("batch_size") == (4 if name == "batches" else None)


def test_the_first_step_of_tokens_is_a_prefill(in_tokens):
    scenario = in_tokens()
    engine = {"name": "language-model", "emulated": False, "factors": ("input_tokens", "output_tokens")}
    work = make_order(scenario, draw_schedule(scenario, 2.0, seed=1), engine).works[0]
    assert work.levels == {"input_tokens": 100, "output_tokens": 5}
    assert work.first_share == pytest.approx(2 / 6, rel=1e-3)
    assert [work.share_done(done, 5) for done in (1, 3, 5)] == pytest.approx([1 / 3, 2 / 3, 1.0], rel=1e-3)
    assert work.share_done(1, 1) == 1.0


def test_processor_sharing_of_the_system_under_a_sharing_policy(in_steps):
    system = replace(in_steps().system, batching="processor-sharing")
    check_runnable(replace(in_steps(PS()), system=system), REAL)
    with pytest.raises(InputError, match="use the policy ps"):
        check_runnable(replace(in_steps(), system=system), REAL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"servers": 2}, r"system\.servers: is 2"),
        ({"batching": "continuous"}, "'continuous' is not run by engine 'digits-diffusion'"),
    ],
)
def test_systems_that_no_single_server_is(in_steps, change, words):
    scenario = in_steps()
    with pytest.raises(InputError, match=words):
        check_runnable(replace(scenario, system=replace(scenario.system, **change)), REAL)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (ModelSwap(service_factor=0.5), "ModelSwap is not run by"),
        (Cache(hit_ratio=0.5, lookup_s=0.1), "Cache is not run by"),
        (FewerSteps(fraction=0.5, when=QueueCondition(2, swap_time_s=0.1)), "has nothing to swap"),
    ],
)
def test_transforms_that_a_real_engine_cannot_do(in_steps, transform, words):
    with pytest.raises(InputError, match=words):
        check_runnable(in_steps(transforms=[transform]), REAL)


def test_transforms_of_steps_need_steps(in_steps):
    scenario = in_steps(transforms=[EarlyExit(fractions=(0.5,))])
    bare = replace(scenario.classes[0], factors={"batch_size": Deterministic(2)})
    with pytest.raises(InputError, match="needs the factor steps"):
        check_runnable(replace(scenario, classes=(bare,)), REAL)


def test_what_only_an_emulated_engine_takes(in_seconds):
    check_runnable(in_seconds(transforms=[ModelSwap(service_factor=0.5)]), EMULATED)
    with pytest.raises(InputError, match="takes no seconds"):
        check_runnable(in_seconds(), REAL)
    swap = ModelSwap(service_factor=0.5, when=QueueCondition(2, swap_time_s=0.1))
    with pytest.raises(InputError, match="swap_time_s: is not run live"):
        check_runnable(in_seconds(transforms=[swap]), EMULATED)


def test_unknown_factors_and_missing_predictions(in_steps):
    scenario = in_steps()
    odd = replace(scenario.classes[0], factors={"steps": Deterministic(2), "colour": Deterministic(1)})
    with pytest.raises(InputError, match="class 'short', colour"):
        check_runnable(replace(scenario, classes=(odd,)), REAL)
    blind = in_steps(SPRPT(), predicted_size=PredictedSize("none"))
    with pytest.raises(InputError, match="policy 'sprpt' needs a predicted size"):
        check_runnable(blind, REAL)
