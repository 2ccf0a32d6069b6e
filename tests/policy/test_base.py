"""What every policy is: its declared structure, equality, and the user's own rank."""

from __future__ import annotations

from dataclasses import dataclass

from qmodel.policy import FCFS, MLFQ, PS, SRPT, TRAIL, Policy, Rank, Request, RoundRobin


def test_a_policy_without_a_rank_is_first_come_first_served() -> None:
    assert Policy().rank(Request(3.5, 1.0, 1.0), 0.7) == 3.5
    assert not Policy().preemptive and Policy().sharing is None and Policy().depends_on == frozenset()


def test_only_some_policies_must_know_the_classes() -> None:
    policy = SRPT()
    assert not policy.binds and policy.bound([]) is policy


def test_requests_start_neutral() -> None:
    request = Request(1.0, 2.0, 3.0)
    assert (request.priority, request.weight, request.lottery, request.class_name) == (0, 1.0, 0.0, "")
    assert request.deadline_s == float("inf")


def test_equal_policies_are_equal() -> None:
    assert FCFS() == FCFS() and FCFS() != PS() and SRPT() != FCFS()
    assert RoundRobin(0.5) == RoundRobin(0.5) != RoundRobin(0.25)
    assert len({FCFS(), FCFS(), PS(), MLFQ(), MLFQ()}) == 3


def test_they_print_themselves() -> None:
    assert repr(FCFS()) == "FCFS()" and repr(TRAIL(limit=0.5)) == "TRAIL(limit=0.5)"


def test_a_users_own_policy_compares_by_its_options() -> None:
    class Aging(Rank):
        def __init__(self, speed: float) -> None:
            self.speed = speed

        def rank(self, request: Request, attained: float) -> float:
            return request.arrival_s * self.speed

    assert Aging(2.0) == Aging(2.0) != Aging(3.0) and hash(Aging(2.0)) == hash(Aging(3.0))
    assert repr(Aging(2.0)) == "Aging(speed=2.0)"
    assert Aging(2.0).rank(Request(3.0, 1.0, 1.0), 0.0) == 6.0


def test_a_users_own_policy_may_be_a_dataclass() -> None:
    @dataclass(frozen=True)
    class Threshold(Rank):
        limit: float = 1.0
        preemptive = True

    assert Threshold() == Threshold(1.0) != Threshold(2.0) and Threshold().preemptive
