"""The serving loop of dynamic batching: a free server takes who waits, up to a cap, as one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Protocol

from qmodel.errors import InputError
from qmodel.live.batches import Batches
from qmodel.live.engine import Engine, Job, Work
from qmodel.live.scheduler import Entry, Key, Scheduler
from qmodel.live.server import Loop, Service
from qmodel.live.wire import Inbox, Outbox
from qmodel.policy.base import Policy


class WholeBatches(Engine, Protocol):
    """An engine that serves several requests as one job; `batching` names "dynamic"."""

    batching: tuple[str, ...]

    def start_batch(self, works: Sequence[Work], batches: Batches) -> Job:
        """One job for all of them; it is done when all are."""


class DynamicLoop(Loop):
    """Serves one run to its end, batch after batch; a batch is not interrupted, and leaves as one.

    Who joins goes by the policy's rank, lowest first. `totals` counts batches and requests in them.
    """

    def __init__(
        self,
        engine: WholeBatches,
        policy: Policy,
        batches: Batches,
        entries: Sequence[Entry],
        inbox: Inbox,
        outbox: Outbox,
    ) -> None:
        super().__init__(engine, Scheduler(policy), entries, inbox, outbox)
        self._batches, self._policy, self._together = batches, policy, engine
        self._waiting: list[tuple[Key, Entry]] = []
        self._totals = {"batches": 0, "requests": 0}

    def run(self, origin: float) -> None:
        """Serve until the last request is announced and gone, or the run is stopped."""
        clock, inbox = time.monotonic, self.inbox
        self._origin, self._told, begun = origin, clock(), clock()
        while not inbox.stopped:
            for index in inbox.arrived():
                self._join(self.entries[index])
            if self._waiting and (len(self._waiting) >= self._batches.min_batch or inbox.closed):
                self._serve(self._taken())
            elif inbox.closed:
                break
            else:
                self._sleep()
        self.tally.span_s, self.tally.totals = clock() - begun, {**self._totals}
        if self._finished:
            self._report()

    def _join(self, entry: Entry) -> None:
        request = entry.request
        rank = self._policy.rank(request, 0.0)
        if rank != rank:
            raise InputError(f"policy '{self._policy.name}'", "gives a rank that is not a number", "mend its rank")
        heappush(self._waiting, ((rank, request.arrival_s, entry.index), entry))

    def _taken(self) -> list[Entry]:
        waiting = self._waiting
        size = min(len(waiting), self._batches.max_batch or len(waiting))
        return [heappop(waiting)[1] for _ in range(size)]

    def _serve(self, batch: list[Entry]) -> None:
        clock = time.monotonic
        begin, failure, steps = clock(), "", 0
        try:
            job = self._together.start_batch([entry.payload.work for entry in batch], self._batches)
            while job.remaining:
                job.step()
                steps += 1
                self._tell(clock())
        except Exception as error:  # whatever an engine raises is this batch's failure, not the server's
            failure = " ".join(f"{type(error).__name__}: {error}".split())
        now = clock()
        self.tally.steps += steps
        self.tally.busy_s += now - begin
        self._totals["batches"] += 1
        self._totals["requests"] += len(batch)
        for entry in batch:
            service: Service = entry.payload
            service.started, service.service_s, service.done = begin, now - begin, steps
            entry.started, entry.attained = True, entry.request.size
            self._finished.append((entry, service, now, failure))
        self._tell(now)
