"""Slowdown of a given size where the policy has none of its own."""

from __future__ import annotations

import math

import pytest

from qmodel.policy import FCFS, PSJF, RandomOrder, Rank
from qmodel.theory import response_by_size
from qmodel.workload import Hyperexponential, Pareto

from .scenarios import one

SIZES = (0.25, 3.0)


class ShortestFirst(Rank):
    preemptive = True

    def rank(self, request, attained):
        return request.size


def test_slowdown_of_a_size_is_response_over_size():
    frame = response_by_size(one(0.8, Hyperexponential(1.0, 4.0), RandomOrder()), SIZES, percentiles=())
    # Pollaczek and Khinchine: 0.8 x 5 / (2 x 0.2) = 10 s of wait, whatever the size
    assert frame["mean_response_s"].tolist() == pytest.approx([10.25, 13.0], rel=1e-9)
    assert frame["mean_slowdown"].tolist() == pytest.approx([41.0, 13.0 / 3.0], rel=1e-9)


def test_an_infinite_response_has_no_slowdown():
    frame = response_by_size(one(0.5, Pareto(1.0, 1.5), FCFS()), SIZES, percentiles=())
    assert all(math.isnan(value) for value in frame["mean_response_s"])
    assert all(math.isnan(value) for value in frame["mean_slowdown"])


def test_an_own_rank_has_the_slowdown_of_the_preset_it_equals():
    own, preset = (
        response_by_size(one(0.8, Hyperexponential(1.0, 4.0), policy), SIZES, percentiles=())
        for policy in (ShortestFirst(), PSJF())
    )
    assert own["mean_slowdown"].tolist() == pytest.approx(preset["mean_slowdown"].tolist(), rel=2e-3)
    assert preset["mean_slowdown"].tolist() == pytest.approx(
        (preset["mean_response_s"] / list(SIZES)).tolist(), rel=1e-9
    )
