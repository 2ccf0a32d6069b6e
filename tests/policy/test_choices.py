"""Choices over a whole queue, at the edges of their rules: groups, machines, moves, sequences, nested ranks."""

from __future__ import annotations

import math

import pytest

from qmodel.policy.balance import longest_first, makespan
from qmodel.policy.freeness import worth_moving
from qmodel.policy.grouping import by_promise_and_length, padded_share
from qmodel.policy.priority import fraction
from qmodel.policy.sequence import in_time_per_latency


class TestGroups:
    """The next one joins while (its length - the longest) (requests with it) 1.2 <= 15,000."""

    @pytest.mark.parametrize(("length", "joined"), [(6350.0, True), (6351.0, False)])
    def test_a_second_request_may_be_6250_tokens_longer(self, length, joined):
        assert by_promise_and_length([1.0, 1.0], [100.0, length]) == ([[0, 1]] if joined else [[0], [1]])

    @pytest.mark.parametrize(("length", "joined"), [(10516.0, True), (10517.0, False)])
    def test_a_third_by_what_it_adds_to_the_longest(self, length, joined):
        """15,000 / 3.6 = 4166.7 more than 6350."""
        groups = by_promise_and_length([1.0] * 3, [100.0, 6350.0, length])
        assert groups == ([[0, 1, 2]] if joined else [[0, 1], [2]])

    def test_promises_and_lengths_are_weighed(self):
        slo, predicted = [30.0, 1.0, 2.0], [1.0, 2.0, 90.0]
        assert by_promise_and_length(slo, predicted, slo_weight=0.0) == [[0, 1, 2]]
        assert by_promise_and_length(slo, predicted, length_weight=0.0) == [[1, 2, 0]]
        assert by_promise_and_length(slo, predicted, slo_weight=2.0) == [[1, 2, 0]]  # 60.5, 3, 49

    def test_padding(self):
        assert padded_share([1.0, 3.0, 5.0], [[0, 1], [2]]) == pytest.approx(2.0 / 11.0, rel=1e-14)


class TestMachines:
    def test_the_longest_go_first_to_the_least_loaded(self):
        assert longest_first([3.0, 1.0, 2.0, 2.0], 2) == [0, 0, 1, 1]

    @pytest.mark.parametrize(("machine", "last"), [([0, 1, 1], 4.0), ([0, 0, 1], 3.0), ([2, 2, 2], 5.0)])
    def test_the_last_machine_ends_the_work(self, machine, last):
        assert makespan([1.0, 2.0, 2.0], machine) == last


MOVES = [
    (1.0, 9.0, 4.0, 4.5, True),
    (1.0, 9.0, 4.0, 4.0, False),
    (5.0, 6.0, 1.0, 4.0, False),
    (1.0, 9.0, 0.0, 8.0, False),
]


@pytest.mark.parametrize(("source", "target", "source_after", "target_after", "worth"), MOVES)
def test_a_move_brings_two_closer(source, target, source_after, target_after, worth):
    assert worth_moving(source, target, source_after, target_after) is worth


@pytest.mark.parametrize(("order", "value"), [([0, 1], 1 / 4), ([1, 0], 1 / 5), ([0], 1.0), ([1], 1 / 2)])
def test_in_time_per_latency(order, value):
    """Two seconds that end at 1 and 3, or at 2 and 3; due at 1 and 2.5."""
    assert in_time_per_latency(order, [1.0, 2.0], [1.0, 2.5]) == pytest.approx(value, rel=1e-14)


def test_fractions_keep_the_order_of_ranks():
    ranks = [-math.inf, -1e9, -1.0, -1e-9, 0.0, 1e-9, 1.0, 1e9, math.inf]
    found = [fraction(rank) for rank in ranks]
    assert found == sorted(set(found)) and found[0] == 0.0 and found[4] == 0.5 and found[-1] < 1.0
    assert fraction(0.0) - fraction(-1e-9) == pytest.approx(fraction(1e-9) - fraction(0.0), rel=1e-9)
