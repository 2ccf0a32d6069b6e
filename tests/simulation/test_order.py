"""The event loops serve in the order, and at the times, of a plain Python scheduler."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.live.scheduler import Entry, Scheduler
from qmodel.policy import FCFS, LAS, PS, SJF, SRPT, RoundRobin
from qmodel.scenario import System
from qmodel.service.transform import FewerSteps, QueueCondition
from qmodel.simulation import replay
from qmodel.simulation.serving import Rules, serve
from qmodel.workload import Hyperexponential
from tests.simulation.cases import QUICK, RANKED, column, drawn, jobs_of, preset, two_classes
from tests.simulation.reference import Mode, Turns, fluid, fluid_rates, stepwise

COUNT = 400


@pytest.mark.parametrize("name", [name for name in QUICK if name != "round-robin"])
def test_times_equal_those_of_the_fluid_reference(name: str) -> None:
    scenario = two_classes(preset(name), rate=0.9, law=Hyperexponential(mean=1.0, scv=4.0))
    requests = drawn(scenario, COUNT)
    log, _ = serve(scenario.policy, requests, Rules.of(scenario))
    jobs = jobs_of(requests)
    fluid(jobs, fluid_rates(scenario.policy))
    np.testing.assert_allclose(log.start_s, column(jobs, "start"), atol=1e-7)
    np.testing.assert_allclose(log.done_s, column(jobs, "done"), atol=1e-7)


@pytest.mark.parametrize("name", [name for name in RANKED if name != "las"] + ["ps"])
def test_three_servers_equal_the_fluid_reference(name: str) -> None:
    scenario = two_classes(preset(name), rate=2.6, system=System(servers=3))
    requests = drawn(scenario, COUNT)
    log, _ = serve(scenario.policy, requests, Rules.of(scenario))
    jobs = jobs_of(requests)
    fluid(jobs, fluid_rates(scenario.policy, servers=3))
    np.testing.assert_allclose(log.start_s, column(jobs, "start"), atol=1e-7)
    np.testing.assert_allclose(log.done_s, column(jobs, "done"), atol=1e-7)


@pytest.mark.parametrize("name", [name for name in QUICK if name != "round-robin"])
@pytest.mark.parametrize("below", [None, 2])
def test_a_queue_condition_reads_the_same_state(name: str, below: int | None) -> None:
    condition = QueueCondition(above=3, below=below)
    scenario = two_classes(preset(name), rate=1.1).with_transforms(FewerSteps(condition, fraction=0.5))
    requests = drawn(scenario, COUNT)
    log, _ = serve(scenario.policy, requests, Rules.of(scenario))
    jobs = jobs_of(requests)
    fluid(jobs, fluid_rates(scenario.policy), Mode(3, below))
    assert 0.1 < log.reduced.mean() < 0.9
    np.testing.assert_array_equal(log.reduced, column(jobs, "reduced"))
    np.testing.assert_allclose(log.done_s, column(jobs, "done"), atol=1e-7)


def test_limited_sharing_equals_the_fluid_reference() -> None:
    scenario = two_classes(FCFS(), rate=0.9, system=System(batching="processor-sharing", max_batch=3))
    requests = drawn(scenario, COUNT)
    log, _ = serve(scenario.policy, requests, Rules.of(scenario))
    jobs = jobs_of(requests)
    fluid(jobs, fluid_rates(PS(), limit=3))
    np.testing.assert_allclose(log.start_s, column(jobs, "start"), atol=1e-7)
    np.testing.assert_allclose(log.done_s, column(jobs, "done"), atol=1e-7)


def test_limited_sharing_admits_by_the_policys_rank() -> None:
    given = {"arrival_s": [0.0, 0.1, 0.2], "service_s": [1.0, 5.0, 1.0], "tell": None}
    scenario = two_classes(SJF(), system=System(batching="processor-sharing", max_batch=1))
    assert replay(scenario, **given).start_s.tolist() == [0.0, 2.0, 1.0]


def test_round_robin_equals_the_reference() -> None:
    scenario = two_classes(RoundRobin(quantum=0.3), rate=0.9)
    requests = drawn(scenario, COUNT)
    log, _ = serve(scenario.policy, requests, Rules.of(scenario))
    jobs = jobs_of(requests)
    Turns().serve(jobs, RoundRobin(quantum=0.3))
    np.testing.assert_allclose(log.start_s, column(jobs, "start"), atol=1e-7)
    np.testing.assert_allclose(log.done_s, column(jobs, "done"), atol=1e-7)


def test_round_robin_on_two_servers_by_hand() -> None:
    # turns of 1 s; 0 and 1 run on [0, 1], 2 and 0 on [1, 2], 1 and 2 on [2, 3], where 1 and 2 end
    scenario = two_classes(RoundRobin(quantum=1.0), rate=1.0, system=System(servers=2))
    outcome = replay(scenario, arrival_s=[0.0, 0.0, 0.5], service_s=[3.0, 2.0, 2.0], tell=None)
    assert outcome.start_s.tolist() == [0.0, 0.0, 1.0]
    assert outcome.done_s.tolist() == [4.0, 3.0, 3.0]
    assert outcome.preemptions.tolist() == [2, 1, 1]  # turns that ended while somebody waited


def test_least_attained_on_several_servers_looks_often_enough() -> None:
    scenario = two_classes(LAS(), rate=1.8, system=System(servers=2))
    requests = drawn(scenario, COUNT)
    log, notes = serve(scenario.policy, requests, Rules.of(scenario))
    assert "looked at every" in notes[0]
    jobs = jobs_of(requests)
    fluid(jobs, fluid_rates(SRPT(), servers=2))
    assert (log.done_s - requests.arrival_s).mean() > (column(jobs, "done") - requests.arrival_s).mean()
    assert log.preemptions.sum() > COUNT


def in_steps(name: str, condition: QueueCondition | None, seed: int = 5) -> tuple:
    """A scenario, requests of whole steps of 1/8 s with arrivals between steps, and their replay."""
    scenario = two_classes(preset(name), rate=1.1 if condition else 0.9)
    if condition is not None:
        scenario = scenario.with_transforms(FewerSteps(condition, fraction=0.5))
    requests = drawn(scenario, COUNT, seed)
    step, rng, count = 0.125, np.random.default_rng(seed), len(requests)
    service = step * rng.integers(2, 15, count) * 2
    requests = replace(
        requests,
        service_s=service,
        size_s=service,
        long_s=service / 2,
        long_size_s=service / 2,
        predicted_s=service * rng.choice([0.5, 1.0, 2.0], count),
        arrival_s=np.sort(np.floor(requests.arrival_s * 8) / 8 + rng.choice([0.0, 0.03125], count)),
    )
    outcome = replay(
        scenario, arrival_s=requests.arrival_s, class_index=requests.class_index, service_s=service,
        service_long_s=service / 2, predicted_s=requests.predicted_s, lottery=requests.lottery, grain_s=step,
        tell=None,
    )  # fmt: skip
    return scenario, requests, outcome, step


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("condition", [None, QueueCondition(above=4), QueueCondition(above=4, below=2)])
def test_steps_equal_those_of_the_stepwise_reference(name: str, condition: QueueCondition | None) -> None:
    scenario, requests, outcome, step = in_steps(name, condition)
    jobs = jobs_of(requests)
    mode = Mode() if condition is None else Mode(condition.above, condition.below)
    order = stepwise(jobs, scenario.policy, step, mode)
    np.testing.assert_allclose(outcome.start_s, column(jobs, "start"), atol=1e-9)
    np.testing.assert_allclose(outcome.done_s, column(jobs, "done"), atol=1e-9)
    np.testing.assert_array_equal(outcome.reduced, column(jobs, "reduced"))
    assert outcome.preemptions.sum() == interruptions(order, jobs)


def interruptions(order: list[int], jobs: list) -> int:
    """Changes from one request to another while the first is not done."""
    left = [job.steps for job in jobs]
    count = 0
    for now, following in zip(order, [*order[1:], -1], strict=True):
        left[now] -= 1
        count += now != following and left[now] > 0
    return count


@pytest.mark.parametrize("name", [name for name in QUICK if name != "round-robin"])
@pytest.mark.parametrize("condition", [None, QueueCondition(above=4, below=2)])
def test_the_order_is_that_of_the_live_scheduler(name: str, condition: QueueCondition | None) -> None:
    scenario, requests, outcome, step = in_steps(name, condition, seed=6)
    scheduler = Scheduler(scenario.policy, condition)
    entries = [Entry(job.index, job.request, job.long if condition else None) for job in jobs_of(requests)]
    now, arrived, count = 0.0, 0, len(entries)
    done, steps = np.full(count, math.nan), np.zeros(count)
    while np.isnan(done).any():
        while arrived < count and requests.arrival_s[arrived] <= now:
            scheduler.add(entries[arrived])
            arrived += 1
        entry = scheduler.next()
        if entry is None:
            now = requests.arrival_s[arrived]
            continue
        now += step
        steps[entry.index] += 1
        total = round(entry.request.size / step)
        if steps[entry.index] == total:
            scheduler.finish(entry)
            done[entry.index] = now
        else:
            scheduler.credit(entry, entry.request.size * steps[entry.index] / total)
    np.testing.assert_allclose(outcome.done_s, done, atol=1e-9)
    np.testing.assert_array_equal(outcome.reduced, [entry.reduced for entry in entries])
