"""Who takes part in the next iteration of a batching engine: the policy object at work on a batch.

The order is that of vLLM's V1 scheduler and of qmodel's iteration-level simulation: running requests first, those
that decode before those that still read their prompt, then the queue in the policy's order, as far as the token
budget and the cap on running requests let them in. Under a preemptive policy the first of the queue takes the place
of the worst running request when its rank is better; who is displaced keeps its KV cache and waits with its rank.

Only running requests change their rank, so the queue is a heap: a decision costs one rank for each running request
and O(log n) for each that is admitted, whatever the length of the queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from qmodel.errors import InputError
from qmodel.live.scheduler import Key, holds
from qmodel.live.sequence import Sequence
from qmodel.policy import RoundRobin
from qmodel.policy.base import Policy
from qmodel.service.token_worth import TokenWorth
from qmodel.service.transform import QueueCondition


class BatchScheduler:
    """The requests present: those running, in order of admission, and the queue.

    `worth` turns progress in tokens into seconds attained, as the sizes that the policy sees were made. Raises
    InputError for a policy that says nothing about batches.

    >>> from qmodel.live.scheduler import Entry
    >>> from qmodel.policy import FCFS, Request
    >>> scheduler = BatchScheduler(FCFS(), max_batch=1, worth=TokenWorth(1e-4, 0.01))
    >>> first, second = (Sequence(Entry(i, Request(float(i), 0.1, 0.1)), 10, 3) for i in range(2))
    >>> scheduler.add(second); scheduler.add(first)
    >>> [sequence.prompt for sequence in scheduler.choose(budget=256)] == [10]
    True
    """

    def __init__(
        self, policy: Policy, max_batch: int, worth: TokenWorth, condition: QueueCondition | None = None
    ) -> None:
        check_policy(policy)
        self.policy, self.max_batch, self.worth, self.condition = policy, max_batch, worth, condition
        self.present = 0
        self.running: list[Sequence] = []
        self.long_queue = False
        self._waiting: list[tuple[Key, Sequence]] = []
        self._offered: list[Sequence] = []

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def add(self, sequence: Sequence) -> None:
        """A request arrives. Raises InputError when the policy's rank is not a number."""
        self.present += 1
        self._queue(sequence, 0.0)

    def choose(self, budget: int, now_s: float = 0.0) -> list[Sequence]:
        """Those to be computed next, in the order in which they may take tokens from the budget.

        The engine may leave out some for want of tokens or memory; `took` says who was computed. `now_s`, in
        seconds on the clock of the arrivals, matters to a policy whose ranks change with the time.
        """
        if self._waiting:
            if self.policy.timed:
                self._rank_anew(now_s)
            if self.policy.preemptive and len(self.running) >= self.max_batch:
                self._make_way(now_s)
        decoding = [each for each in self.running if each.decoding]
        prompts = [each for each in self.running if not each.decoding] if len(decoding) < len(self.running) else []
        budget -= len(decoding) + sum(each.pending for each in prompts)
        self._offered = self._next(budget)
        return [*decoding, *prompts, *self._offered]

    def took(self, computed: Iterable[Sequence]) -> list[Sequence]:
        """Those that the engine computes now, in its order; returns those whose service starts with it.

        Who was offered and not taken goes back to its place in the queue.
        """
        if not self._offered:
            return []
        taken, started = set(map(id, computed)), []
        for sequence in self._offered:
            if id(sequence) in taken:
                self.running.append(sequence)
                if not sequence.entry.started:
                    self._start(sequence)
                    started.append(sequence)
            else:
                heappush(self._waiting, (sequence.key, sequence))
        self._offered = []
        return started

    def evicted(self, sequence: Sequence, now_s: float = 0.0) -> None:
        """The engine took the request's memory: it waits again, and computes anew what it had."""
        sequence.evict()
        self.running.remove(sequence)
        self._queue(sequence, now_s)

    def finish(self, sequence: Sequence) -> None:
        """A running request leaves, done or failed."""
        self.running.remove(sequence)
        sequence.entry.attained = self.attained(sequence)
        self.present -= 1

    def attained(self, sequence: Sequence) -> float:
        """Service received (s of service alone): progress through prompt and output, work done twice once."""
        prompt = sequence.prompt if sequence.generated else sequence.computed
        return self.worth.prompt_s * prompt + self.worth.output_s * sequence.generated

    def _next(self, budget: int) -> list[Sequence]:
        """The first of the queue, as many as may run and have tokens left to them."""
        room, offered, waiting = self.max_batch - len(self.running), [], self._waiting
        while waiting and room > 0 and budget > 0:
            sequence = heappop(waiting)[1]
            offered.append(sequence)
            room -= 1
            budget -= sequence.pending
        return offered

    def _make_way(self, now_s: float) -> None:
        """The worst running request gives its place to the first of the queue, if that has a better rank."""
        ranks = self._running_ranks(now_s)
        worst = max(ranks)
        if worst > self._waiting[0][0][0]:
            self._queue(self.running.pop(ranks.index(worst)), now_s)

    def _running_ranks(self, now_s: float) -> list[float]:
        """The rank of everyone running; in line, since a preemptive policy asks in every iteration."""
        if self.policy.timed:
            return [self._rank(each, now_s) for each in self.running]
        rank, prompt_s, output_s = self.policy.rank, self.worth.prompt_s, self.worth.output_s
        return [
            rank(
                each.entry.request,
                prompt_s * (each.prompt if each.generated else each.computed) + output_s * each.generated,
            )
            for each in self.running
        ]

    def _queue(self, sequence: Sequence, now_s: float) -> None:
        entry = sequence.entry
        sequence.key = (self._rank(sequence, now_s), entry.request.arrival_s, entry.index)
        heappush(self._waiting, (sequence.key, sequence))

    def _rank(self, sequence: Sequence, now_s: float) -> float:
        request, policy = sequence.entry.request, self.policy
        attained = self.attained(sequence) if policy.preemptive else 0.0
        rank = policy.rank_at(request, attained, now_s) if policy.timed else policy.rank(request, attained)
        if rank != rank:
            raise InputError(f"policy '{policy.name}'", "gives a rank that is not a number", "mend its rank")
        return rank

    def _rank_anew(self, now_s: float) -> None:
        """Ask the policy for the rank of everyone in the queue at this moment."""
        for _, sequence in self._waiting:
            sequence.key = (self._rank(sequence, now_s), *sequence.key[1:])
        self._waiting = [(sequence.key, sequence) for _, sequence in self._waiting]
        heapify(self._waiting)

    def _start(self, sequence: Sequence) -> None:
        """Service starts: read the queue condition, this request included."""
        entry = sequence.entry
        entry.started = True
        if self.condition is None:
            return
        self.long_queue = holds(self.condition, self.present, self.long_queue)
        if self.long_queue and sequence.output_long is not None:
            sequence.output = sequence.output_long
            entry.reduced = True
            size = self.worth.size(sequence.prompt, sequence.output)
            entry.request.predicted_size *= size / entry.request.size
            entry.request.size = size


def check_policy(policy: Policy) -> None:
    """Raise InputError for a policy that cannot say who joins a batch, with the reason."""
    if policy.sharing is not None:
        fault = "shares a server among all; every iteration of a batch does that already"
        raise InputError(f"policy '{policy.name}'", fault, "use fcfs, and max_batch for a limit")
    if isinstance(policy, RoundRobin):
        fault = "takes turns; in a batch everyone running has a turn in every iteration"
        raise InputError(f"policy '{policy.name}'", fault, "use fcfs, or las for turns by attained service")
