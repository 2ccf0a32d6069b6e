"""What rows are made of, against brute force, other definitions and limit cases."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest

from qmodel.catalogue.checks import falling, inside, near, rising, true
from qmodel.errors import InputError
from qmodel.metrics.many_streams import (
    attainment,
    fairness,
    joules_per_token,
    mean_quality,
    qoe_by_area,
    reader_idle,
    slowdown,
    smooth_goodput,
    token_goodput,
)
from qmodel.metrics.one_stream import qoe
from qmodel.policy import make_policy
from qmodel.policy.balance import longest_first, makespan
from qmodel.policy.base import Request
from qmodel.policy.grouping import by_promise_and_length, padded_share
from qmodel.policy.reading import DeadlineAndWork, Pace
from qmodel.policy.sequence import all_in_time, annealed, in_time_per_latency, most_in_time
from qmodel.policy.waiting_time import waiting_time
from qmodel.service import pipeline
from qmodel.service.overlap import overlapped, tool_left
from qmodel.service.pause_cost import break_even_s, waste
from qmodel.theory.state.state_dependent import StateDependentQueue, engine_rates

READER = {"awaited_s": 1.0, "tokens_per_s": 5.0}


class TestStreams:
    def test_both_definitions_of_quality_agree_on_any_timeline(self) -> None:
        rng = np.random.default_rng(3)
        for _ in range(50):
            times = np.sort(rng.uniform(0.5, 40.0, rng.integers(2, 80)))
            assert qoe_by_area(times, **READER) == pytest.approx(qoe(times, **READER), abs=1e-9)

    def test_quality_by_area_as_an_integral(self) -> None:
        """The areas by brute force over a fine grid of time."""
        times = np.array([2.0, 2.1, 5.0, 5.1, 5.2])
        taken = [2.0, 2.2, 5.0, 5.2, 5.4]
        ideal = 1.0 + np.arange(5) / 5.0
        grid = (np.arange(540_000) + 0.5) * 1e-5
        actual = sum((grid >= each).mean() for each in taken)
        expected = sum((grid >= each).mean() for each in ideal)
        assert qoe_by_area(times, **READER) == pytest.approx(actual / expected, abs=1e-4)

    def test_holding_back_or_dropping_never_raises_smooth_goodput(self) -> None:
        rng = np.random.default_rng(4)
        for _ in range(100):
            lines = [np.sort(rng.uniform(0.2, 20.0, 30)) for _ in range(3)]
            at = {"awaited_s": [1.0, 1.0, 1.0], "tokens_per_s": 3.0}
            before = smooth_goodput(lines, 20.0, **at)
            delayed = [np.maximum.accumulate(line + rng.exponential(0.3, 30)) for line in lines]
            assert smooth_goodput(delayed, 20.0, **at) <= before + 1e-12
            assert smooth_goodput([lines[0], [], lines[2]], 20.0, **at) <= before + 1e-12

    def test_early_tokens_hide_a_pause(self) -> None:
        assert reader_idle([1.0] * 10 + [2.9] * 10, **READER) == pytest.approx(0.0)
        assert reader_idle([1.0] * 10 + [4.0] * 10, **READER) == pytest.approx(1.0)

    def test_bad_input(self) -> None:
        with pytest.raises(InputError):
            qoe_by_area([1.0], penalty=2.0, **READER)
        with pytest.raises(InputError):
            smooth_goodput([], 0.0, awaited_s=[], tokens_per_s=1.0)
        with pytest.raises(InputError):
            token_goodput([1], [True], 0.0)
        with pytest.raises(InputError):
            slowdown([1.0], [0.0])
        with pytest.raises(InputError):
            fairness([0.0, 0.0])
        with pytest.raises(InputError):
            joules_per_token([1.0], [0.0], 0)
        with pytest.raises(InputError):
            mean_quality([1.0], [0.5])
        assert math.isnan(attainment([]))


class TestSequences:
    @pytest.mark.parametrize("seed", range(15))
    def test_against_all_orders(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        work, due = rng.gamma(1.0, 1.5, 6), rng.uniform(1.0, 10.0, 6)
        orders = list(permutations(range(6)))
        best = max(in_time_per_latency(order, work, due) for order in orders)
        assert in_time_per_latency(annealed(work, due), work, due) == pytest.approx(best)
        in_time = [int((np.cumsum(work[list(order)]) <= due[list(order)]).sum()) for order in orders]
        assert len(most_in_time(work, due)) == max(in_time)
        assert all_in_time(work, due) == (max(in_time) == 6)
        chosen = most_in_time(work, due)
        assert (np.cumsum(work[chosen]) <= due[chosen]).all()

    def test_nothing_to_order(self) -> None:
        with pytest.raises(InputError):
            annealed([], [])

    def test_longest_first_is_within_its_bound(self) -> None:
        rng = np.random.default_rng(1)
        for _ in range(20):
            works = rng.integers(1, 10, 7).astype(float)
            best = min(makespan(works, at) for at in product(range(3), repeat=7))
            assert best <= makespan(works, longest_first(works, 3)) <= (4 / 3 - 1 / 9) * best + 1e-12

    def test_groups_are_at_most_ten(self) -> None:
        groups = by_promise_and_length([1.0] * 25, [100.0] * 25)
        assert [len(group) for group in groups] == [10, 10, 5]
        assert padded_share([100.0] * 25, groups) == 0.0


class TestOrders:
    def test_presets_by_their_place(self) -> None:
        assert isinstance(make_policy("qmodel.policy.reading:Pace", pace=2.0), Pace)
        assert make_policy("qmodel.policy.reading:DeadlineAndWork", alpha=0.0) == DeadlineAndWork(0.0)

    def test_pace_counts_whole_steps(self) -> None:
        policy = Pace(pace=2.0, step=0.5)
        one = Request(3.0, 9.0, 9.0)
        assert [policy.rank(one, attained) for attained in (0.0, 0.49, 0.5, 1.7)] == [3.0, 3.0, 4.0, 6.0]
        assert Pace(pace=0.0).rank(one, 5.0) == 3.0

    def test_bad_options(self) -> None:
        with pytest.raises(InputError):
            Pace(pace=-1.0)
        with pytest.raises(InputError):
            Pace(step=0.0)
        with pytest.raises(InputError):
            DeadlineAndWork(alpha=-1.0)

    def test_waiting_time(self) -> None:
        with pytest.raises(InputError):
            waiting_time(1, 1.0, 0.5)
        assert waiting_time(0, 2.0, 4.0).mean_s == 1.0


class TestServices:
    @pytest.mark.parametrize("parts", [1, 2, 7])
    @pytest.mark.parametrize("second", [0.5, 3.0, 20.0])
    def test_overlap_by_following_the_parts(self, parts: int, second: float) -> None:
        first, done = 4.0, 0.0
        for k in range(1, parts + 1):
            done = max(done, first * k / parts) + second / parts
        assert overlapped(first, second, parts) == pytest.approx(done)
        assert tool_left(first, second, parts) == pytest.approx(done - first)

    def test_no_parts(self) -> None:
        with pytest.raises(InputError):
            overlapped(1.0, 1.0, 0)

    def test_break_even_is_where_both_waste_the_same(self) -> None:
        at = {"context": 700.0, "recompute_s": 0.03, "others": 5000.0}
        even = break_even_s(**at)
        assert waste("keep", pause_s=even, **at) == pytest.approx(waste("discard", pause_s=even, **at))
        assert waste("swap", pause_s=9.0, swap_s=0.01, **at) == pytest.approx(0.02 * 5700)
        with pytest.raises(InputError):
            waste("keep", context=-1.0, pause_s=1.0, recompute_s=1.0, others=1.0)

    def test_pipeline_refusals(self) -> None:
        way = pipeline.Precision((1.0, 1.0), 1.0, 0.0)
        with pytest.raises(InputError, match="two devices"):
            pipeline.best_plan([1.0], [way], [1.0], most_loss=0.0, micro_batches=1)
        with pytest.raises(InputError, match="no plan"):
            pipeline.best_plan([1.0] * 3, [way], [1.0, 1.0], most_loss=0.0, micro_batches=1)


class TestStateDependentQueue:
    def test_m_m_c(self) -> None:
        """Two servers, offered load 1: Erlang's C is 1/3, so W = 1/3 / (2 - 1)."""
        queue = StateDependentQueue(1.0, tuple(float(min(n, 2)) for n in range(1, 300)), places=2)
        assert queue.wait == pytest.approx(1 / 3)
        assert queue.served == pytest.approx(1.0)

    def test_room_turns_away(self) -> None:
        queue = StateDependentQueue(2.0, (1.0,), places=1)
        assert queue.throughput == pytest.approx(2 / 3)

    def test_worked_example(self) -> None:
        each = 5e-5 * 640 / 513 + 5e-7 * 384
        queue = StateDependentQueue(3.0, engine_rates(0.012, each, 513, 48, 176), places=48)
        assert 1e3 * queue.response == pytest.approx(10568.66, rel=1e-6)

    def test_bad_rates(self) -> None:
        with pytest.raises(InputError):
            StateDependentQueue(1.0, (0.0,), places=1)


def test_checks_can_fail() -> None:
    assert not near("x", 1.1, 1.0, within=0.05).holds
    assert not inside("x", 3.0, 1.0, 2.0).holds
    assert not falling("x", [1.0, 2.0]).holds and not rising("x", [2.0, 1.0]).holds
    assert not true("x", False).holds


def test_timelines_hold_every_token() -> None:
    from qmodel.catalogue import find
    from qmodel.catalogue.case import Case
    from qmodel.simulation.iterations.timelines import timelines

    scenario = Case(find("smooth-goodput")).scenario()
    lines = timelines(scenario, 300, seed=2)
    assert len(lines.token_s) == len(lines.arrival_s) == 300
    assert all(line.size >= 1 and (np.diff(line) >= 0).all() for line in lines.token_s)
    assert all(line[0] > at for line, at in zip(lines.token_s, lines.arrival_s, strict=True))


def test_worked_values_of_small_functions() -> None:
    """As in their docstrings, which a plain run of the tests does not read."""
    from qmodel.policy.freeness import freeness, worth_moving

    assert freeness(30, 5, running=8, waiting=2) == 2.5 and freeness(1, 0, running=0, waiting=0) == math.inf
    assert worth_moving(1.0, 9.0, 4.0, 6.0) and not worth_moving(1.0, 9.0, 7.0, 3.0)
    assert waiting_time(3, 1.0, 2.0).interval(0.9)[0] == pytest.approx(4 - 1.6448536 * 2)
    assert pipeline.makespan([1.0, 3.0], 4) == 13.0
    half = pipeline.Precision((1.0, 1.0), 1.0, 0.0)
    assert pipeline.best_plan([1.0] * 4, [half], [3.0, 3.0], most_loss=0.0, micro_batches=1).makespan_s == 4.0
    assert DeadlineAndWork(2.0).rank(Request(0.0, 5.0, 5.0, deadline_s=6.0), 1.0) == 14.0
    assert token_goodput([100, 50, 10], [True, False, True], 11.0) == 10.0
    assert attainment([True, False]) == 0.5 and slowdown([2.0, 9.0], [1.0, 3.0]) == 2.5
    assert fairness([1.0, 0.0]) == 0.5 and mean_quality([1.0, 0.9], [0.75, 0.25]) == pytest.approx(0.975)
    assert joules_per_token([100.0, 300.0, 300.0], [0.0, 1.0, 2.0], 250) == 2.0
