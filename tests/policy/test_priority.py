"""Priority by class with another order inside: how it is spelled, and how its ranks compare."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.policy import (
    MLFQ,
    SRPT,
    NonPreemptivePriority,
    PreemptivePriority,
    Rank,
    Request,
    make_policy,
)
from qmodel.policy.priority import NestedPreemptivePriority, NestedPriority, fraction
from qmodel.workload import Exponential


def request(priority, size=1.0, arrival=0.0, predicted=1.0):
    return Request(arrival, size, predicted, priority=priority, class_name="a")


def test_plain_priorities_stay_what_they_were():
    for policy in (NonPreemptivePriority(), NonPreemptivePriority("fcfs"), PreemptivePriority(make_policy("fcfs"))):
        assert type(policy) in (NonPreemptivePriority, PreemptivePriority)
        assert policy.spelled_options == {} and policy.rank(request(2), 0.5) == 2.0


def test_spellings():
    for within in ("srpt", SRPT(), {"preset": "srpt"}):
        policy = PreemptivePriority(within=within)
        assert isinstance(policy, NestedPreemptivePriority) and policy == PreemptivePriority("srpt")
        assert policy.inner == SRPT() and policy.name == "pr-priority" and policy.preemptive
    table = {"preset": "mlfq", "options": {"thresholds": [1.0, 3.0]}}
    levels = make_policy("np-priority", within=table)
    assert isinstance(levels, NestedPriority) and not levels.preemptive
    assert levels.inner == MLFQ((1.0, 3.0)) and "thresholds" in repr(levels)
    assert levels.depends_on == {"class", "age"}
    assert pickle.loads(pickle.dumps(levels)) == levels  # noqa: S301 - just dumped


class Longest(Rank):
    preemptive = True

    def rank(self, request, attained):
        return -request.size


def test_ones_own_order_within():
    policy = PreemptivePriority(within=Longest())
    assert policy.within == f"{__name__}:Longest"
    assert policy.rank(request(1, size=3.0), 0.0) < policy.rank(request(1, size=2.0), 0.0)


@pytest.mark.parametrize(
    ("within", "line"),
    [
        ("ps", "priority, within 'ps': is no order by a rank of its own"),
        ("round-robin", "priority, within 'round-robin': is no order"),
        ("accumulating", "priority, within 'accumulating': is no order"),
        ("np-priority", "priority, within 'np-priority': is a priority again"),
        ("sjff", "policy 'sjff': is unknown; did you mean 'sjf'?"),
        ({"options": {}}, "priority, within: is no policy"),
        ({"preset": "sjf", "option": 1}, "priority, within: is no policy"),
    ],
)
def test_refused(within, line):
    with pytest.raises(InputError) as caught:
        NonPreemptivePriority(within=within)
    assert line in str(caught.value)


def test_the_class_comes_first_then_the_inner_order():
    policy = PreemptivePriority(within="srpt")
    ranks = [policy.rank(request(p, size), age) for p, size, age in ((0, 1e9, 0.0), (1, 1e-9, 0.0), (1, 2.0, 0.5))]
    assert ranks == sorted(ranks) and ranks[0] < 1 < ranks[1] < ranks[2] < 2
    assert policy.rank(request(1, 2.0), 1.0) < policy.rank(request(1, 1.5), 0.0)


def test_without_preemption_the_first_rank_holds():
    policy = NonPreemptivePriority(within="srpt")
    assert policy.rank(request(1, 2.0), 1.9) == policy.rank(request(1, 2.0), 0.0)
    assert policy.rank(request(1, 2.0), 0.0) == 1.0 + fraction(2.0)
    inner = PreemptivePriority(within="sjf")
    assert inner.rank(request(1, 5.0), 0.1) < inner.rank(request(1, 0.1), 0.0)


def test_the_inner_order_is_bound_to_the_classes():
    classes = [SimpleNamespace(name="a", rate=1.0, weight=1.0, priority=0, size=Exponential(2.0))]
    for made in (NonPreemptivePriority(within="gittins"), PreemptivePriority(within="gittins")):
        bound = made.bound(classes)
        assert bound == made and bound.inner.rank(request(0), 1.0) == pytest.approx(2.0)
        assert bound.rank(request(3), 0.0) == 3.0 + fraction(bound.inner.rank(request(3), 0.0))


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), min_size=2, max_size=6, unique=True))
def test_the_fraction_keeps_the_order(ranks):
    found = [fraction(rank) for rank in sorted(ranks)]
    assert all(a < b for a, b in pairwise(found))
    assert fraction(-math.inf) == 0.0 <= found[0] and found[-1] < fraction(math.inf) < 1.0
