"""Which request gets the next step: the policy object at work, without a clock and without an engine.

At every step boundary the server adds what has arrived, then asks `next`. The request of lowest (rank, arrival, id)
among all present goes on; a policy that is not preemptive keeps the one in service to its end. Service received is
counted in seconds of the predicted size (its share of steps done), so that decisions do not depend on timing noise.

Sharing policies serve in turns of one step: the request with the least service received per weight goes next. A
newcomer starts level with the least served of those present (start-time fair queueing, Goyal, Vin & Cheng,
*IEEE/ACM Trans. Netw.* 5 (1997) 690-704), so it neither waits behind all of them nor catches up with
them; as steps become short this is processor sharing, or discriminatory processor sharing with weights.

Only the request in service can change its rank, so those that wait stay in a heap: a decision costs O(log n). A
policy whose ranks change with the time is asked about all of them as each service ends. Turns of round robin are in
cyclic order: whoever joins, or has had a turn, gets the next place behind all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heappushpop
from typing import Any

from qmodel.errors import InputError
from qmodel.policy import RoundRobin
from qmodel.policy.base import Policy, Request
from qmodel.service.transform import QueueCondition

Key = tuple[float, float, int]


@dataclass(slots=True, eq=False)
class Entry:
    """A request in the system: what the policy sees of it, and how far it has come.

    `size_long` is its size (s) should its service start while the queue condition holds, None where that changes
    nothing. `attained` is the service received (s of predicted size), `level` the same per weight, counted from
    where it started; `payload` belongs to the server.
    """

    index: int
    request: Request
    size_long: float | None = None
    attained: float = 0.0
    level: float = 0.0
    started: bool = False
    reduced: bool = False
    turn_over: bool = False
    payload: Any = None
    key: Key = field(default=(0.0, 0.0, 0))


class Scheduler:
    """The requests present, in the order that the policy wants.

    >>> from qmodel.policy import SRPT
    >>> scheduler = Scheduler(SRPT())
    >>> long, short = Entry(0, Request(0.0, 5.0, 5.0)), Entry(1, Request(1.0, 1.0, 1.0))
    >>> scheduler.add(long); scheduler.next().index
    0
    >>> scheduler.credit(long, 1.0); scheduler.add(short); scheduler.next().index
    1
    """

    def __init__(self, policy: Policy, condition: QueueCondition | None = None) -> None:
        self.policy, self.condition = policy, condition
        self.present = 0
        self.long_queue = False
        self._shares, self._weighted = policy.sharing is not None, policy.sharing == "weighted"
        self._keeps = not (policy.preemptive or self._shares)
        self._turns = policy.turns if isinstance(policy, RoundRobin) else None
        self._places = 0
        self._waiting: list[tuple[Key, Entry]] = []
        self._serving: Entry | None = None

    def add(self, entry: Entry) -> None:
        """A request arrives. Sharing policies start its service at once, so the queue condition is read now.

        Raises InputError when the policy's rank is not a number.
        """
        self.present += 1
        if self._shares:
            entry.level = self._least_level()
            self._start(entry)
        self._join(entry)
        heappush(self._waiting, (entry.key, entry))

    def next(self, now_s: float = 0.0) -> Entry | None:
        """The request that gets the next step; None when nobody is there.

        `now_s`, in seconds on the clock of the arrivals, matters to a policy whose ranks change with the time.
        """
        if self.policy.timed and not (self._serving and self._keeps):
            self._rank_anew(now_s)
        serving = self._serving
        if serving is not None and serving.turn_over:
            self._join(serving)
        if serving is None:
            if not self._waiting:
                return None
            serving = self._serving = heappop(self._waiting)[1]
        elif not self._keeps and self._waiting and self._waiting[0][0] < serving.key:
            serving = self._serving = heappushpop(self._waiting, (serving.key, serving))[1]
        if not serving.started:
            self._start(serving)
        return serving

    def credit(self, entry: Entry, attained: float) -> None:
        """The request in service has now received `attained` seconds of its size."""
        if self._shares:
            weight = entry.request.weight if self._weighted else 1.0
            entry.level += (attained - entry.attained) / weight
        if self._turns is not None:
            entry.turn_over = self._turns(attained) > self._turns(entry.attained)
        entry.attained = attained
        if not self._keeps:
            entry.key = self._key(entry)

    def finish(self, entry: Entry) -> None:
        """The request in service leaves, done or failed."""
        assert entry is self._serving, "only the request in service leaves"
        self._serving = None
        self.present -= 1

    def waiting(self) -> list[Entry]:
        """All that are present and not in service, in no order."""
        return [entry for _, entry in self._waiting]

    def _join(self, entry: Entry) -> None:
        """The request takes the next place in the cyclic order."""
        self._places += 1
        entry.request.joined, entry.turn_over = float(self._places), False
        entry.key = self._key(entry)

    def _rank_anew(self, now_s: float) -> None:
        """Ask the policy for everyone's rank at this moment."""
        for entry in (*self.waiting(), *([self._serving] if self._serving else [])):
            entry.key = self._key(entry, now_s)
        self._waiting = [(entry.key, entry) for _, entry in self._waiting]
        heapify(self._waiting)

    def _start(self, entry: Entry) -> None:
        """Service starts: read the queue condition, this request included."""
        entry.started = True
        if self.condition is None:
            return
        self.long_queue = holds(self.condition, self.present, self.long_queue)
        if self.long_queue and entry.size_long is not None:
            self._reduce(entry, entry.size_long)

    def _reduce(self, entry: Entry, size: float) -> None:
        """The policy sees the smaller size from now on, and its prediction smaller in proportion."""
        entry.reduced = True
        request = entry.request
        request.predicted_size *= size / request.size
        request.size = size
        if not self._keeps:
            entry.key = self._key(entry)

    def _key(self, entry: Entry, now_s: float | None = None) -> Key:
        request = entry.request
        if self._shares:
            rank = entry.level
        elif self.policy.timed:
            rank = 0.0 if now_s is None else self.policy.rank_at(request, entry.attained, now_s)
        else:
            rank = self.policy.rank(request, entry.attained)
        if rank != rank:
            raise InputError(f"policy '{self.policy.name}'", "gives a rank that is not a number", "mend its rank")
        return rank, request.arrival_s, entry.index

    def _least_level(self) -> float:
        levels = [entry.level for entry in (self._serving, self._waiting[0][1] if self._waiting else None) if entry]
        return min(levels, default=0.0)


def holds(condition: QueueCondition, present: int, before: bool) -> bool:
    """Whether the queue condition holds for a service that starts with `present` in the system, itself included.

    With hysteresis it goes on, once it held (`before`), until a service starts with fewer than `below`.

    >>> holds(QueueCondition(above=4), 4, True), holds(QueueCondition(above=4, below=2), 2, True)
    (False, True)
    """
    if present > condition.above:
        return True
    return before and condition.below is not None and present >= condition.below
