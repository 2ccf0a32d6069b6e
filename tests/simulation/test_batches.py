"""Dynamic batching: who is served together, how long, and means against the embedded chain."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, PS, Policy, Rank
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import FewerSteps, QueueCondition
from qmodel.simulation import replay, simulate
from qmodel.workload import Exponential, Poisson, RequestClass
from tests.simulation.cases import preset, standard_error

ALPHA, TAU0 = 0.1438, 1.8874


def batching(
    rate: float = 1.0, policy: Policy | None = None, base: float = 1.0, each: float = 0.5, **system: int
) -> Scenario:
    taken = IterationTime(base=base, per_sequence=each)
    one = RequestClass("a", Poisson(rate), Exponential(1.0), slo={"response_s": 10.0})
    served = System(batching="dynamic", iteration_time=taken, **system)  # type: ignore[arg-type]
    return Scenario((one,), policy=policy or FCFS(), system=served)


def replayed(scenario: Scenario, arrival_s: list[float], service_s: list[float] | None = None) -> list[list[float]]:
    outcome = replay(scenario, arrival_s=arrival_s, service_s=service_s or [1.0] * len(arrival_s), tell=None)
    return [outcome.start_s.tolist(), outcome.done_s.tolist()]


def test_a_free_server_takes_all_that_wait() -> None:
    # 0 alone on [0, 1.5]; 1, 2, 3 together on [1.5, 4]; 4 alone from its arrival
    start, done = replayed(batching(), [0.0, 0.5, 1.0, 1.5, 9.0])
    assert start == [0.0, 1.5, 1.5, 1.5, 9.0]
    assert done == [1.5, 4.0, 4.0, 4.0, 10.5]


def test_a_batch_holds_no_more_than_the_limit() -> None:
    start, done = replayed(batching(max_batch=2), [0.0, 0.5, 1.0, 1.5])
    assert start == [0.0, 1.5, 1.5, 3.5]
    assert done == [1.5, 3.5, 3.5, 5.0]


def test_the_policy_says_who_joins() -> None:
    start, _ = replayed(batching(policy=preset("sjf"), max_batch=1), [0.0, 0.5, 1.0], [1.0, 5.0, 2.0])
    assert start == [0.0, 3.0, 1.5]

    class Longest(Rank):
        def rank(self, request, attained):  # type: ignore[no-untyped-def]
            return -request.size

    start, _ = replayed(batching(policy=Longest(), max_batch=1), [0.0, 0.5, 1.0], [1.0, 2.0, 5.0])
    assert start == [0.0, 3.0, 1.5]


def test_two_servers_take_batches_in_turn() -> None:
    start, done = replayed(batching(servers=2, max_batch=2), [0.0, 0.0, 0.0, 0.25])
    assert start == [0.0, 0.0, 0.0, 1.5]
    assert done == [2.0, 2.0, 1.5, 3.0]


@pytest.mark.parametrize(("load", "expected"), [(0.5, 5.901864569), (0.8, 14.714722222)])
def test_take_all_against_the_embedded_chain(load: float, expected: float) -> None:
    """Inoue (arXiv 1912.06322): batch times alpha b + tau0, mean response by arrival rate times alpha."""
    answer = simulate(batching(load / ALPHA, base=TAU0, each=ALPHA), requests=1_000_000, tell=None)
    error = standard_error(answer["all"].ci95["mean_response_s"])
    assert error < 0.01 * expected
    assert abs(answer["all"].mean_response_s - expected) < 4 * error
    assert any("mean batch" in note for note in answer.notes)


def test_batches_of_one_are_the_plain_queue() -> None:
    alone = simulate(batching(0.5, base=0.5, each=0.5, max_batch=1), requests=200_000, tell=None)
    error = standard_error(alone["all"].ci95["mean_response_s"])
    assert abs(alone["all"].mean_response_s - 1.5) < 4 * error < 0.06  # M/D/1 at half load
    assert alone.utilisation == pytest.approx(0.5, rel=0.02)
    assert alone["all"].mean_service_s == pytest.approx(1.0)
    assert alone["all"].mean_slowdown == pytest.approx(alone["all"].mean_response_s)


def test_metrics_of_batches_add_up() -> None:
    answer = simulate(batching(1.0, max_batch=8), requests=20_000, tell=None)["all"]
    assert answer.mean_response_s == pytest.approx(answer.mean_wait_s + answer.mean_service_s)
    assert answer.mean_service_s > 1.5
    assert 0 < answer.attainment <= 1


def test_stability_is_that_of_the_largest_batches() -> None:
    assert simulate(batching(1.9), requests=20_000, tell=None).stable  # every further request takes 0.5 s
    assert not simulate(batching(2.1), requests=1_000, tell=None).stable
    assert not simulate(batching(1.4, max_batch=2), requests=1_000, tell=None).stable  # 2 in 2 s: 1 a second
    assert simulate(batching(1.4, max_batch=2, servers=2), requests=1_000, tell=None).stable


def test_what_a_batch_cannot_do_is_refused() -> None:
    scenario = batching()
    with pytest.raises(InputError, match="served whole"):
        simulate(scenario.with_transforms(FewerSteps(QueueCondition(above=2), fraction=0.5)), tell=None)
    with pytest.raises(InputError, match="who joins a batch"):
        simulate(scenario.with_policy(PS()), tell=None)
    with pytest.raises(InputError, match="served whole"):
        replay(scenario, arrival_s=[0.0], service_s=[1.0], grain_s=0.5, tell=None)
    tokens = System(batching="dynamic", iteration_time=IterationTime(1.0, per_prefill_token=1e-3))
    with pytest.raises(InputError, match="counts tokens"):
        simulate(Scenario(scenario.classes, system=tokens), tell=None)
    with pytest.raises(InputError, match="system, iteration_time: is missing"):
        simulate(Scenario(scenario.classes, system=System(batching="dynamic")), tell=None)


def test_nobody_is_served_before_arrival_or_twice() -> None:
    scenario = batching(1.5, max_batch=4)
    rng = np.random.default_rng(1)
    arrival = np.cumsum(rng.exponential(1 / 1.5, 500))
    outcome = replay(scenario, arrival_s=arrival, service_s=np.ones(500), tell=None)
    assert (outcome.start_s >= arrival).all()
    starts, sizes = np.unique(outcome.start_s, return_counts=True)
    assert sizes.max() == 4
    lengths = np.array([outcome.done_s[outcome.start_s == start][0] - start for start in starts])
    np.testing.assert_allclose(lengths, 1.0 + 0.5 * sizes)
    assert (starts[1:] >= (starts + lengths)[:-1] - 1e-9).all()
