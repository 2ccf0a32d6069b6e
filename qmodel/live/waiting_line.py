"""The queue of a batch in the order of the policy, and the ranks of those that run: one policy object at work.

Only running requests change their rank, so the queue is a heap: a decision costs one rank for each running request
and O(log n) for each that is admitted, whatever the length of the queue. A policy whose ranks change with the time
is asked about all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Series
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from qmodel.errors import InputError
from qmodel.live.scheduler import Key
from qmodel.policy import RoundRobin
from qmodel.policy.base import Policy, Request
from qmodel.service.token_worth import TokenWorth


class Waiter(Protocol):
    """A request of a batch: tokens that it has generated, and its place in the queue."""

    generated: int
    key: Key

    @property
    def reached(self) -> int:
        """Tokens of its prompt that were computed, if only once."""

    @property
    def request(self) -> Request:
        """What the policy sees."""

    @property
    def number(self) -> int:
        """Which of equals goes first: the lower."""


W = TypeVar("W", bound=Waiter)


class WaitingLine(Generic[W]):
    """Requests that wait, lowest rank first, then in order of arrival.

    `worth` turns progress in tokens into seconds attained, as the sizes that the policy sees were made. Raises
    InputError for a policy that says nothing about batches, and for a rank that is no number.
    """

    def __init__(self, policy: Policy, worth: TokenWorth) -> None:
        check_policy(policy)
        self.policy, self.worth = policy, worth
        self._heap: list[tuple[Key, W]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[W]:
        """All that wait, in no order."""
        return (waiter for _, waiter in self._heap)

    @property
    def first(self) -> W:
        """Who goes first; somebody must be there."""
        return self._heap[0][1]

    @property
    def first_rank(self) -> float:
        """Its rank."""
        return self._heap[0][0][0]

    def join(self, waiter: W, now_s: float = 0.0) -> None:
        """A request takes its place."""
        waiter.key = (self.rank(waiter, now_s), waiter.request.arrival_s, waiter.number)
        heappush(self._heap, (waiter.key, waiter))

    def back(self, waiter: W) -> None:
        """One that was taken out goes back to the place that it had."""
        heappush(self._heap, (waiter.key, waiter))

    def pop(self) -> W:
        """Take the first out."""
        return heappop(self._heap)[1]

    def attained(self, waiter: W) -> float:
        """Service received (s of service alone): progress through prompt and output, work done twice once."""
        return self.worth.prompt_s * waiter.reached + self.worth.output_s * waiter.generated

    def rank(self, waiter: W, now_s: float = 0.0) -> float:
        """Its rank now."""
        request, policy = waiter.request, self.policy
        attained = self.attained(waiter) if policy.preemptive else 0.0
        rank = policy.rank_at(request, attained, now_s) if policy.timed else policy.rank(request, attained)
        if rank != rank:
            raise InputError(f"policy '{policy.name}'", "gives a rank that is not a number", "mend its rank")
        return rank

    def ranks(self, running: Series[W], now_s: float = 0.0) -> list[float]:
        """The rank of everyone running; in line, since a preemptive policy asks in every iteration."""
        if self.policy.timed:
            return [self.rank(each, now_s) for each in running]
        rank, prompt_s, output_s = self.policy.rank, self.worth.prompt_s, self.worth.output_s
        return [rank(each.request, prompt_s * each.reached + output_s * each.generated) for each in running]

    def rank_anew(self, now_s: float) -> None:
        """Ask the policy for the rank of everyone in the queue at this moment."""
        for _, waiter in self._heap:
            waiter.key = (self.rank(waiter, now_s), *waiter.key[1:])
        self._heap = [(waiter.key, waiter) for _, waiter in self._heap]
        heapify(self._heap)


def check_policy(policy: Policy) -> None:
    """Raise InputError for a policy that cannot say who joins a batch, with the reason."""
    if policy.sharing is not None:
        fault = "shares a server among all; every iteration of a batch does that already"
        raise InputError(f"policy '{policy.name}'", fault, "use fcfs, and max_batch for a limit")
    if isinstance(policy, RoundRobin):
        fault = "takes turns; in a batch everyone running has a turn in every iteration"
        raise InputError(f"policy '{policy.name}'", fault, "use fcfs, or las for turns by attained service")
