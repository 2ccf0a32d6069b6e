"""The best model by how many are there: two iterations, exhaustive search, theory; and what a trace teaches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.planning.q_learning import LEVELS, QLearner, Trace, learned
from qmodel.planning.queue_control import (
    Optimum,
    QueueControl,
    policy_iteration,
    states_for,
    threshold_of,
    value_iteration,
)
from qmodel.scenario import Scenario
from qmodel.service.transform import ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.workload import Deterministic, Exponential, Gamma, Poisson, RequestClass

LAWS = [Exponential(mean=1.0), Deterministic(1.0), Gamma(mean=1.0, scv=4.0)]
RATES = [0.4, 0.9, 1.6]


def scenario(law, rate: float, above: int = 3, factor: float = 0.3, quality: float = 0.8) -> Scenario:
    one = RequestClass("one", Poisson(rate), law)
    swap = ModelSwap(when=QueueCondition(above=above), service_factor=factor, quality=quality)
    return Scenario((one,), transforms=(swap,))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("price", [0.005, 0.05])
def test_the_optimum_is_the_best_threshold_of_theory(law, rate: float, price: float) -> None:
    control = QueueControl.of(scenario(law, rate), price)
    swept, solved = value_iteration(control), policy_iteration(control)
    assert swept.actions == solved.actions
    assert swept.low - 1e-12 <= solved.low <= swept.high + 1e-12
    costs = control.thresholds(60)
    best = int(costs.argmin())
    assert swept.threshold == best
    assert costs[best] == pytest.approx(solved.low, rel=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("above", [1, 2, 6])
def test_the_cost_of_a_threshold_is_that_of_the_embedded_chain(law, above: int) -> None:
    asked, price = scenario(law, 1.2, above), 0.02
    control = QueueControl.of(asked, price)
    found = analyse(asked)["all"].metrics
    expected = price * found["mean_response_s"] + 0.2 * found["share_reduced"]
    assert control.cost_of(control.threshold(above)) == pytest.approx(expected, rel=1e-9)


def test_no_policy_of_the_first_states_is_better() -> None:
    """All 2^6 choices of the first six states, the fast law above."""
    control = QueueControl.of(scenario(Exponential(mean=1.0), 1.2), 0.02)
    tail = [1] * (control.most - 6)
    costs = {first: control.cost_of([*first, *tail]) for first in itertools.product((0, 1), repeat=6)}
    best = min(costs, key=costs.__getitem__)
    assert value_iteration(control).actions[:6] == best
    assert costs[best] == pytest.approx(policy_iteration(control).low, rel=1e-9)


def test_three_models_are_used_in_order() -> None:
    laws = (Exponential(mean=1.0), Exponential(mean=0.5), Exponential(mean=0.1))
    found = policy_iteration(QueueControl(1.5, laws, (0.0, 0.1, 0.4), price=0.02))
    assert sorted(set(found.actions)) == [0, 1, 2] and list(found.actions) == sorted(found.actions)
    assert found.threshold is None
    with pytest.raises(InputError, match="no threshold"):
        _ = found.as_threshold


def test_what_it_refuses() -> None:
    plain = Scenario((RequestClass("one", Poisson(0.5), Exponential(mean=1.0)),))
    with pytest.raises(InputError, match="above a queue length"):
        QueueControl.of(plain, 0.1)
    with pytest.raises(InputError, match="does not carry"):
        QueueControl(2.0, (Exponential(mean=1.0), Exponential(mean=0.5)), (0.0, 0.1), 0.1)
    with pytest.raises(InputError, match="no price"):
        QueueControl(0.5, (Exponential(mean=1.0),), (0.0,), 0.0)
    control = QueueControl(0.9, (Exponential(mean=1.0),), (0.0,), 0.1, most=20)
    with pytest.raises(InputError, match="often exceeded"):
        control.cost_of([0] * 20)
    heavy = QueueControl.of(scenario(Exponential(mean=1.0), 1.5), 0.1)
    assert heavy.cost_of([0] * heavy.most) == math.inf


def test_sweeps_that_do_not_settle_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmodel.planning.queue_control.SWEEPS", 1)
    control = QueueControl.of(scenario(Exponential(mean=1.0), 1.2), 0.02)
    for solve in (value_iteration, policy_iteration):
        with pytest.raises(InputError, match="does not settle"):
            solve(control)


def test_thresholds() -> None:
    assert threshold_of([0, 0, 0]) == 3 and threshold_of([1, 1]) == 0 and threshold_of([0, 2]) is None
    assert Optimum((0, 1), 0.1, 0.1, 1).as_threshold == 1


def test_a_trace_served_by_hand() -> None:
    """Arrivals at 0, 0.5, 0.6; slow 1 s, fast 0.4 s where more than one is there."""
    times = np.array([0.0, 0.5, 0.6])
    trace = Trace(times, (np.full(3, 1.0), np.full(3, 0.4)), (0.0, 0.3), price=0.1)
    told: list[tuple[int, int, float, int]] = []
    cost = trace.serve(lambda there, _: int(there > 1), lambda *each: told.append(each))
    # served 0-1 slow; two there: 1-1.4 fast; one there: 1.4-2.4 slow
    assert cost == pytest.approx((0.3 + 0.1 * (1.0 + 0.9 + 1.8)) / 3)
    assert [each[:2] for each in told] == [(1, 0), (2, 1)] and [each[3] for each in told] == [2, 1]
    assert told[0][2] == pytest.approx(0.1 * (1.0 + 0.5 + 0.4)) and told[1][2] == pytest.approx(0.3 + 0.1 * 0.8)
    assert trace.cost_of(1) == cost


def test_a_long_trace_costs_what_the_chain_says() -> None:
    asked = scenario(Exponential(mean=1.0), 1.2)
    control = QueueControl.of(asked, 0.02)
    trace = Trace.of(asked, control, 100_000, seed=3)
    assert trace.cost_of(3) == pytest.approx(control.cost_of(control.threshold(3)), rel=0.02)


@pytest.mark.parametrize("rate", [0.9, 1.6])
def test_what_is_learned_on_one_trace_is_near_the_optimum_on_another(rate: float) -> None:
    asked = scenario(Exponential(mean=1.0), rate)
    control = QueueControl.of(asked, 0.02)
    found = learned(Trace.of(asked, control, 20_000, seed=5), seed=1)
    best = policy_iteration(control)
    assert control.cost_of(control.threshold(found.threshold)) <= 1.03 * best.low
    judge = Trace.of(asked, control, 20_000, seed=6)
    assert judge.cost_of(found.threshold) <= 1.05 * judge.cost_of(best.as_threshold)
    assert judge.cost_of(found.threshold) < judge.cost_of(10)


def test_the_same_seed_learns_the_same() -> None:
    asked = scenario(Exponential(mean=1.0), 0.9)
    trace = Trace.of(asked, QueueControl.of(asked, 0.02), 2_000, seed=5)
    tables = [learned(trace, seed=seed, passes=2).table for seed in (1, 1, 2)]
    assert (tables[0] == tables[1]).all() and (tables[0] != tables[2]).any()


def test_the_threshold_is_what_the_table_regrets_least() -> None:
    learner = QLearner.new(2, seed=1)
    learner.table[:4] = [[0.0, 1.0], [0.2, 0.5], [1.0, 0.4], [0.3, 0.9]]
    learner.visits[:4] = [[50, 10], [20, 20], [30, 9], [1, 1]]
    by_hand = [sum(
        learner.visits[n].min() * (learner.table[n, int(n + 1 > above)] - learner.table[n].min())
        for n in range(4)) for above in range(LEVELS + 1)]  # fmt: skip
    assert learner.threshold == int(np.argmin(by_hand)) == 2


@pytest.mark.parametrize("price", [0.0005, 0.005])
def test_under_overload_the_last_state_is_no_place_to_wait(price: float) -> None:
    """Five times what the first law carries: with 200 states at 0.0005 a second the queue would be held at 200."""
    laws, losses = (Deterministic(1.0), Deterministic(0.15)), (0.0, 0.2)
    control = QueueControl(5.0, laws, losses, price, states_for(laws, losses, price))
    found, other = value_iteration(control), policy_iteration(control)
    costs = control.thresholds(12)
    assert found.as_threshold == other.as_threshold == int(costs.argmin())
    assert found.high == pytest.approx(costs.min(), rel=1e-6)
    assert control.most == (800 if price == 0.0005 else 200)


def test_too_few_states_to_tell_are_refused() -> None:
    few = QueueControl(5.0, (Deterministic(1.0), Deterministic(0.15)), (0.0, 0.2), 0.0005)
    for solve in (value_iteration, policy_iteration):
        with pytest.raises(InputError, match="held at the last"):
            solve(few)
