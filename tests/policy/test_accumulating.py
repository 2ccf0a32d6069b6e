"""Accumulating priority: rates by class, and ranks that change with the time."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from qmodel.errors import InputError
from qmodel.policy import FCFS, AccumulatingPriority, Request, make_policy

CLASSES = [
    SimpleNamespace(name="chat", rate=1.0, weight=3.0, priority=0, size=None),
    SimpleNamespace(name="batch", rate=1.0, weight=1.0, priority=4, size=None),
]
CHAT, BATCH = Request(6.0, 1.0, 1.0, class_name="chat"), Request(0.0, 1.0, 1.0, class_name="batch")


@pytest.mark.parametrize(
    ("rates", "expected"), [((), (3.0, 1.0)), ((2.0, 0.5), (2.0, 0.5)), ({"chat": 4.0, "batch": 1.0}, (4.0, 1.0))]
)
def test_rates(rates, expected):
    policy = make_policy("accumulating", rates=rates).bound(CLASSES)
    assert (policy.rate_of("chat"), policy.rate_of("batch")) == expected


def test_the_order_turns_as_time_goes_by():
    """Batch leads at 8 s (8 against 6), chat at 10 s (10 against 12)."""
    policy = AccumulatingPriority().bound(CLASSES)
    assert policy.rank_at(BATCH, 0.0, 8.0) < policy.rank_at(CHAT, 0.0, 8.0)
    assert policy.rank_at(CHAT, 0.0, 10.0) < policy.rank_at(BATCH, 0.0, 10.0)
    assert policy.rank_at(BATCH, 0.5, 10.0) == -math.inf


def test_without_the_time_there_is_no_rank():
    with pytest.raises(InputError, match="no rank without the time"):
        AccumulatingPriority().rank(CHAT, 0.0)
    assert FCFS().rank_at(CHAT, 0.0, 99.0) == FCFS().rank(CHAT, 0.0) and not FCFS().timed


@pytest.mark.parametrize(
    ("rates", "line"),
    [
        ((1.0, -1.0), "accumulating, rates, 1: -1.0 is not a positive number"),
        ((1.0,), "accumulating, rates: has 1 rates for 2 priorities"),
        ({"chat": 1.0}, "accumulating, rates, batch: is missing"),
        ({"chat": 1.0, "batsh": 1.0}, "accumulating, rates, batsh: is no class; did you mean 'batch'?"),
    ],
)
def test_refused(rates, line):
    with pytest.raises(InputError) as caught:
        AccumulatingPriority(rates).bound(CLASSES)
    assert line in str(caught.value)


def test_it_must_know_the_classes():
    with pytest.raises(InputError, match="knows no classes yet"):
        AccumulatingPriority((1.0, 2.0)).rank_at(CHAT, 0.0, 1.0)
    assert AccumulatingPriority({"chat": 2.0}).rate_of("chat") == 2.0


def test_binding_does_not_change_what_was_asked():
    policy = AccumulatingPriority((2.0, 1.0))
    assert policy.bound(CLASSES) == policy != AccumulatingPriority((3.0, 1.0))
    assert repr(policy.bound(CLASSES)) == "AccumulatingPriority(rates=(2.0, 1.0))"
