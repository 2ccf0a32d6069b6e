"""Who takes part in the next iteration of a batching engine: the policy object at work on a batch.

The order is that of vLLM's V1 scheduler and of qmodel's iteration-level simulation: running requests first, those
that decode before those that still read their prompt, then the queue in the policy's order, as far as the token
budget and the cap on running requests let them in. Under a preemptive policy the first of the queue takes the place
of the worst running request when its rank is better; who is displaced waits with its rank, and keeps its KV cache
or gives it up (`drops`).
Memory is the engine's own: it may leave out who was offered, and tells what it took (`qmodel.live.batch` is for an
engine whose memory is counted here).
"""

from __future__ import annotations

from collections.abc import Iterable

from qmodel.live.scheduler import holds
from qmodel.live.sequence import Sequence
from qmodel.live.waiting_line import WaitingLine
from qmodel.policy.base import Policy
from qmodel.service.token_worth import TokenWorth
from qmodel.service.transform import QueueCondition


class BatchScheduler:
    """The requests present: those running, in order of admission, and the queue.

    `worth` turns progress in tokens into seconds attained, as the sizes that the policy sees were made. With
    `drops` who is displaced gives its KV cache up; the engine asks `displaced` whose. Raises InputError for a
    policy that says nothing about batches.

    >>> from qmodel.live.scheduler import Entry
    >>> from qmodel.policy import FCFS, Request
    >>> scheduler = BatchScheduler(FCFS(), max_batch=1, worth=TokenWorth(1e-4, 0.01))
    >>> first, second = (Sequence(Entry(i, Request(float(i), 0.1, 0.1)), 10, 3) for i in range(2))
    >>> scheduler.add(second); scheduler.add(first)
    >>> [sequence.prompt for sequence in scheduler.choose(budget=256)] == [10]
    True
    """

    def __init__(
        self, policy: Policy, max_batch: int, worth: TokenWorth, condition: QueueCondition | None = None,
        drops: bool = False,
    ) -> None:  # fmt: skip
        self.drops, self.preemptions = drops, 0
        self.policy, self.max_batch, self.worth, self.condition = policy, max_batch, worth, condition
        self.present = 0
        self.running: list[Sequence] = []
        self.long_queue = False
        self._line: WaitingLine[Sequence] = WaitingLine(policy, worth)
        self._offered: list[Sequence] = []
        self._displaced: list[Sequence] = []
        self._away: dict[int, Sequence] = {}

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._line)

    def add(self, sequence: Sequence) -> None:
        """A request arrives. Raises InputError when the policy's rank is not a number."""
        self.present += 1
        self._line.join(sequence)

    def choose(self, budget: int, now_s: float = 0.0) -> list[Sequence]:
        """Those to be computed next, in the order in which they may take tokens from the budget.

        The engine may leave out some for want of tokens or memory; `took` says who was computed. `now_s`, in
        seconds on the clock of the arrivals, matters to a policy whose ranks change with the time.
        """
        if len(self._line):
            if self.policy.timed:
                self._line.rank_anew(now_s)
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
                self._line.back(sequence)
        self._offered = []
        return started

    def displaced(self) -> list[Sequence]:
        """Those who have lost their place since this was last asked, and their KV cache with it."""
        found, self._displaced = self._displaced, []
        return found

    def spare(self) -> Sequence | None:
        """Of those that wait or pause with a KV cache, the last in order: whose memory the engine may take.

        The first of the queue only where nobody else holds any.
        """
        holding = [each for each in (*self._line, *self._away.values()) if each.computed and not each.swapped]
        if self._away and len(holding) > 1:
            holding = [each for each in holding if each is not self._line.first]
        return max(holding, key=lambda each: each.key, default=None)

    def evicted(self, sequence: Sequence, now_s: float = 0.0) -> None:
        """The engine took the request's memory: it waits, and computes anew what it had."""
        sequence.evict()
        if sequence in self.running:
            self.running.remove(sequence)
            self._line.join(sequence, now_s)

    def pause(self, sequence: Sequence) -> None:
        """A running request is away until it comes back; what becomes of its KV cache is the engine's business."""
        self.running.remove(sequence)
        self._away[sequence.number] = sequence
        self.present -= 1

    def come_back(self, sequence: Sequence, now_s: float = 0.0) -> None:
        """It is there again, and waits with its rank for another service."""
        del self._away[sequence.number]
        sequence.come_back()
        self.present += 1
        self._line.join(sequence, now_s)

    def finish(self, sequence: Sequence) -> None:
        """A running request leaves, done or failed."""
        self.running.remove(sequence)
        sequence.entry.attained = self._line.attained(sequence)
        self.present -= 1

    def _next(self, budget: int) -> list[Sequence]:
        """The first of the queue, as many as may run and have tokens left to them."""
        room, offered, line = self.max_batch - len(self.running), [], self._line
        while len(line) and room > 0 and budget > 0:
            sequence = line.pop()
            offered.append(sequence)
            room -= 1
            budget -= sequence.likely
        return offered

    def _make_way(self, now_s: float) -> None:
        """The worst running request gives its place to the first of the queue, if that has a better rank."""
        ranks = self._line.ranks(self.running, now_s)
        worst = max(ranks)
        if worst > self._line.first_rank:
            sequence = self.running.pop(ranks.index(worst))
            self._line.join(sequence, now_s)
            self.preemptions += 1
            if self.drops:
                sequence.evict()
                self._displaced.append(sequence)

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
