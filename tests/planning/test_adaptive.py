"""A threshold that follows the rate: what it sees, what it plans, and how near it comes to an oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.planning.adaptive import Planned, delay_s, following, planned, rate_seen
from qmodel.planning.q_learning import Trace
from qmodel.planning.queue_control import QueueControl, policy_iteration
from qmodel.workload import Exponential

TWO = QueueControl(0.5, (Exponential(mean=1.0), Exponential(mean=0.4)), (0.0, 0.1), price=0.02)


def test_each_rate_has_its_optimum() -> None:
    plan = planned(TWO, [0.6, 1.4])
    for rate, threshold in zip(plan.rates, plan.thresholds, strict=True):
        assert threshold == policy_iteration(QueueControl(rate, TWO.laws, TWO.losses, TWO.price)).threshold
    assert plan.thresholds[0] > plan.thresholds[1]
    assert (plan.at(0.1), plan.at(0.99), plan.at(1.01), plan.at(9.0)) == (
        plan.thresholds[0], plan.thresholds[0], plan.thresholds[1], plan.thresholds[1],
    )  # fmt: skip
    with pytest.raises(InputError, match="does not carry"):
        planned(TWO, [2.6])


def test_the_rate_is_counted_over_the_window() -> None:
    seen = rate_seen(np.arange(1.0, 101.0), 10.0)
    assert seen(50.5) == 1.0 and seen(5.0) == 1.0 and seen(105.0) == pytest.approx(0.5)
    with pytest.raises(InputError, match="no time"):
        rate_seen(np.array([1.0]), 0.0)


def test_a_step_is_noticed_after_part_of_the_window() -> None:
    """Gaps of 1 s, then of 0.1 s: over 10 s the rate passes halfway, 5.5, when 5 s of the window are new."""
    times = np.concatenate([np.arange(0.0, 100.0, 1.0), np.arange(100.0, 200.0, 0.1)])
    plan = Planned((1.0, 10.0), (8, 1))
    found = delay_s(plan, rate_seen(times, 10.0), 100.0, 10.0, most_s=50.0)
    assert found == pytest.approx(5.0, abs=0.15)
    assert delay_s(plan, rate_seen(times, 10.0), 50.0, 10.0, most_s=20.0) == math.inf


def test_the_choice_goes_by_number_and_time() -> None:
    choose = following(Planned((1.0, 2.0), (3, 1)), lambda now_s: 1.0 if now_s < 10 else 2.0)
    assert [choose(3, 0.0), choose(4, 0.0), choose(1, 20.0), choose(2, 20.0)] == [0, 1, 0, 1]


def test_on_drifting_traffic_watching_lies_between_the_oracle_and_any_fixed_threshold() -> None:
    rng = np.random.default_rng(4)
    gaps = np.concatenate([rng.exponential(1 / rate, int(300 * rate)) for _ in range(12) for rate in (0.5, 1.6)])
    arrivals, unit = np.cumsum(gaps), rng.exponential(1.0, gaps.size)
    trace = Trace(arrivals, (unit, 0.4 * unit), TWO.losses, TWO.price)
    changes = np.cumsum([gaps[a:b].sum() for a, b in _stretches()])
    plan = planned(TWO, [0.3, 0.5, 0.8, 1.1, 1.4, 1.6, 1.9])

    def truth(now_s: float) -> float:
        return (0.5, 1.6)[int(np.searchsorted(changes, now_s)) % 2]

    oracle = trace.serve(following(plan, truth))
    watching = trace.serve(following(plan, rate_seen(arrivals, 40.0)))
    fixed = min(trace.cost_of(threshold) for threshold in range(10))
    assert oracle < watching < fixed


def _stretches() -> list[tuple[int, int]]:
    ends = np.cumsum([int(300 * rate) for _ in range(12) for rate in (0.5, 1.6)]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
