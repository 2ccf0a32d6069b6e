"""Laws that hold for every policy and any requests, by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.policy import PS, SRPT, Policy
from qmodel.scenario import Scenario, System
from qmodel.service.transform import FewerSteps, QueueCondition
from qmodel.simulation import Outcome, replay, simulate
from qmodel.workload import Exponential, Poisson, RequestClass
from tests.simulation.cases import EVERY_PRESET, drawn, one_class, preset, two_classes

REQUESTS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(0, 1)), min_size=1, max_size=25)
SLACK = 1e-9


class ShrinkingWithAge(Policy):
    """A user's own rank that goes up and down with age."""

    name, preemptive = "own", True

    def rank(self, request, attained):  # type: ignore[no-untyped-def]
        return request.size - attained if attained < 2.0 else 3.0 * request.priority


POLICIES = [preset(name) for name in EVERY_PRESET] + [ShrinkingWithAge()]
NAMES = [policy.name for policy in POLICIES]
EACH_POLICY = pytest.mark.parametrize("policy", POLICIES, ids=NAMES)


def replayed(
    policy: Policy, rows: list[tuple[int, int, int]], servers: int = 1, **columns: object
) -> tuple[np.ndarray, np.ndarray, Outcome]:
    """Arrivals and services in whole quarters of a second, often at the same instant, and what became of them."""
    if policy.sharing == "weighted":
        servers = 1
    if policy.timed:
        columns["grain_s"] = None  # has no rank that a step could go by
    rows = sorted(rows)
    arrival, service = np.array([row[0] for row in rows]) / 4, np.array([row[1] for row in rows]) / 4
    scenario = two_classes(policy, system=System(servers=servers))
    outcome = replay(
        scenario,
        arrival_s=arrival,
        service_s=service,
        class_index=[row[2] for row in rows],
        lottery=(np.arange(len(rows)) * 0.618) % 1.0,
        tell=None,
        **columns,  # type: ignore[arg-type]
    )
    return arrival, service, outcome


def ends_of_busy_periods(arrival: np.ndarray, done: np.ndarray) -> list[float]:
    """Instants at which the last request leaves an empty system behind."""
    left, came = np.sort(done), np.sort(arrival)
    return [
        float(t)
        for i, t in enumerate(left)
        if np.searchsorted(came, t - SLACK) == i + 1 == np.sum(left <= t + SLACK)
    ]


@EACH_POLICY
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, servers=st.integers(1, 3))
def test_conservation(policy: Policy, rows: list, servers: int) -> None:
    """Every request that comes starts once and leaves once."""
    _, _, outcome = replayed(policy, rows, servers)
    for times in (outcome.start_s, outcome.delivered_s, outcome.done_s):
        assert times.size == len(rows) and np.isfinite(times).all()


@EACH_POLICY
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, servers=st.integers(1, 3), grain=st.sampled_from([None, 0.25]))
def test_causality(policy: Policy, rows: list, servers: int, grain: float | None) -> None:
    """No service before arrival, none faster than its work, and the result is out by its end."""
    arrival, service, outcome = replayed(policy, rows, 1 if grain else servers, grain_s=grain)
    assert (outcome.start_s >= arrival - SLACK).all()
    assert (outcome.done_s >= outcome.start_s + service - SLACK).all()
    assert (outcome.delivered_s == outcome.done_s).all()


@EACH_POLICY
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, grain=st.sampled_from([None, 0.25]))
def test_work_conservation(policy: Policy, rows: list, grain: float | None) -> None:
    """One server is busy whenever somebody is there: busy periods end as they do first come, first served."""
    arrival, service, outcome = replayed(policy, rows, grain_s=grain)
    free, done = 0.0, []
    for came, work in zip(arrival, service, strict=True):
        free = max(free, came) + work
        done.append(free)
    expected = ends_of_busy_periods(arrival, np.array(done))
    assert ends_of_busy_periods(arrival, outcome.done_s) == pytest.approx(expected, abs=1e-6)


@EACH_POLICY
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS)
def test_no_lost_work_over_preemption(policy: Policy, rows: list) -> None:
    """However often a request is interrupted, all leave when all the work of the last busy period is done."""
    arrival, service, outcome = replayed(policy, rows)
    expected = max(came + service[i:].sum() for i, came in enumerate(arrival))
    assert outcome.done_s.max() == pytest.approx(expected, abs=1e-6)


@EACH_POLICY
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, servers=st.integers(1, 3))
def test_no_more_in_service_than_servers(policy: Policy, rows: list, servers: int) -> None:
    """A policy that does not interrupt has at most as many in service as there are servers."""
    if policy.preemptive:
        return
    _, _, outcome = replayed(policy, rows, servers)
    for now in outcome.start_s:
        assert ((outcome.start_s <= now) & (outcome.done_s > now + SLACK)).sum() <= servers


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_more_share_than_the_limit(limit: int) -> None:
    scenario = two_classes(preset("fcfs"), rate=0.9, system=System(batching="processor-sharing", max_batch=limit))
    requests = drawn(scenario, 500)
    outcome = replay(scenario, arrival_s=requests.arrival_s, service_s=requests.service_s, tell=None)
    inside = [((outcome.start_s <= t) & (outcome.done_s > t)).sum() for t in outcome.start_s]
    assert max(inside) == limit


@EACH_POLICY
def test_littles_law(policy: Policy) -> None:
    """The time integral of the number in the system is the sum of the response times."""
    scenario = two_classes(policy, rate=0.9)
    requests = drawn(scenario, 2_000)
    outcome = replay(
        scenario, arrival_s=requests.arrival_s, service_s=requests.service_s, class_index=requests.class_index,
        predicted_s=requests.predicted_s, lottery=requests.lottery, tell=None,
    )  # fmt: skip
    times = np.concatenate((requests.arrival_s, outcome.done_s))
    change = np.repeat([1, -1], len(requests))
    order = np.lexsort((-change, times))
    present = np.cumsum(change[order])
    assert present.min() == 0
    area = (present[:-1] * np.diff(times[order])).sum()
    assert area == pytest.approx((outcome.done_s - requests.arrival_s).sum(), rel=1e-9)


@EACH_POLICY
def test_determinism(policy: Policy) -> None:
    """The same seed gives the same bits; another seed does not."""
    scenario = two_classes(policy)
    first, again, other = (simulate(scenario, requests=3_000, seed=seed, tell=None) for seed in (7, 7, 8))
    assert first.to_dict() == again.to_dict()
    assert first["all"].mean_response_s != other["all"].mean_response_s


def test_the_same_bits_in_any_number_of_processes() -> None:
    from joblib import Parallel, delayed

    scenario = two_classes(preset("srpt"))
    here = [simulate(scenario, requests=2_000, seed=seed, tell=None).to_dict() for seed in (1, 2)]
    work = delayed(simulate)
    there = Parallel(n_jobs=2)(work(scenario, requests=2_000, seed=seed, tell=None) for seed in (1, 2))
    assert [answer.to_dict() for answer in there] == here


def test_common_random_numbers() -> None:
    """Policies are compared on the same requests; another rate changes the arrival times alone."""
    scenario = two_classes(preset("fcfs"), rate=0.4)
    first, other = drawn(scenario, 500), drawn(scenario.with_policy(SRPT()), 500)
    for name in ("arrival_s", "class_index", "service_s", "predicted_s", "lottery"):
        assert (getattr(first, name) == getattr(other, name)).all()
    slow, fast = (drawn(one_class(PS(), rate), 500) for rate in (0.4, 0.8))
    np.testing.assert_allclose(slow.arrival_s, 2 * fast.arrival_s, rtol=1e-12)
    assert (slow.service_s == fast.service_s).all()


def test_a_shrunken_service_is_the_same_request() -> None:
    condition = QueueCondition(above=2)
    scenario = one_class(PS(), 0.8).with_transforms(FewerSteps(condition, fraction=0.5))
    requests = drawn(scenario, 300)
    np.testing.assert_allclose(requests.long_s, 0.5 * requests.service_s, rtol=1e-12)


def test_an_interrupted_request_takes_up_where_it_stopped() -> None:
    scenario = two_classes(preset("srpt"))
    outcome = replay(scenario, arrival_s=[0.0, 1.0, 2.0], service_s=[10.0, 2.0, 0.5], tell=None)
    assert outcome.done_s.tolist() == [12.5, 3.5, 2.5]
    assert outcome.start_s.tolist() == [0.0, 1.0, 2.0]
    assert outcome.preemptions.tolist() == [1, 1, 0]


def test_the_result_is_out_before_the_server_is_free() -> None:
    """Delivery at a share of the service, under interruption and sharing too."""
    given_columns = {"arrival_s": [0.0, 1.0], "service_s": [4.0, 1.0], "delivered_share": [0.5, 1.0], "tell": None}
    out = {
        "fcfs": [2.0, 5.0],
        "srpt": [3.0, 2.0],  # 1 s of work before the interruption, 1 s after it
        "ps": [3.0, 3.0],  # shared from 1 on: 0.5 s of work in each second
        "las": [3.0, 2.0],
        "lcfs-pr": [3.0, 2.0],
    }
    for name, expected in out.items():
        outcome = replay(two_classes(preset(name)), **given_columns)
        assert outcome.delivered_s.tolist() == pytest.approx(expected), name
        assert outcome.done_s.max() == pytest.approx(5.0)


def test_a_swap_of_models_takes_time() -> None:
    """The server that changes its model pays for it, there and back."""
    condition = QueueCondition(above=1, swap_time_s=0.5)
    base = two_classes(preset("fcfs")).with_transforms(FewerSteps(condition, fraction=0.5))
    columns = {"arrival_s": [0.0, 1.0, 1.0], "service_s": [4.0, 4.0, 4.0], "service_long_s": [2.0, 2.0, 2.0]}
    outcome = replay(base, **columns, tell=None)
    # 0 full on [0, 4]; 1 finds two: swap to 4.5, reduced to 6.5; 2 finds one: swap to 7, full to 11
    assert outcome.reduced.tolist() == [False, True, False]
    assert outcome.done_s.tolist() == [4.0, 6.5, 11.0]


def test_infinite_deadlines_leave_the_order_of_arrival() -> None:
    one = RequestClass("a", Poisson(0.5), Exponential(1.0))
    scenario = Scenario(classes=(one,), policy=preset("edf"))
    outcome = replay(scenario, arrival_s=[0.0, 0.5, 0.75], service_s=[1.0, 1.0, 1.0], tell=None)
    assert outcome.done_s.tolist() == [1.0, 2.0, 3.0]
    assert math.isinf(drawn(scenario, 5).deadline_s[0])
