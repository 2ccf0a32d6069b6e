"""The serving loop of an engine that computes many requests in one iteration (continuous batching)."""

from __future__ import annotations

import time
from collections.abc import Sequence as Series
from heapq import heappop, heappush
from typing import Protocol

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import Batches
from qmodel.live.engine import Engine, Work
from qmodel.live.pausing import NONE, Pauses
from qmodel.live.scheduler import Entry, Scheduler
from qmodel.live.sequence import Computed, Sequence
from qmodel.live.server import REPORT_EVERY_S, Loop, Service
from qmodel.live.wire import Inbox, Outbox

COUNTED = ("sequences", "context_tokens", "prefill_tokens", "query_keys", "most_running")


class BatchSession(Protocol):
    """An engine that batches, ready for one run. It asks the scheduler it was opened with who goes next."""

    def add(self, sequence: Sequence, work: Work) -> None:
        """A request arrives."""

    def iterate(self, now_s: float) -> list[tuple[Sequence, int]]:
        """One iteration; returns who was computed, with tokens each. Raises what the computation raises."""

    def pause(self, sequence: Sequence) -> None:
        """Its service is over and it will come back: keep its KV cache, give it up or move it out, as it says."""

    def come_back(self, sequence: Sequence) -> None:
        """It is there again, `Sequence.prompt` longer by what it brings."""

    def drop(self, sequence: Sequence) -> None:
        """Forget a request."""

    def close(self) -> None:
        """Release what the session holds."""


class BatchEngine(Engine, Protocol):
    """An engine whose iterations serve many requests; `batching` names how ("continuous")."""

    batching: tuple[str, ...]

    def open(self, batches: Batches, scheduler: BatchScheduler) -> BatchSession:
        """A warm session for one run. Raises InputError for what does not fit."""


class BatchLoop(Loop):
    """Serves one run to its end: between iterations, arrivals join and those that are done leave.

    A token's time is the end of its iteration, when it is on the host. `totals` sums up the iterations for those
    who compare their time with a model: sequences, context tokens of the decoding ones, prompt tokens, queries
    times keys; how often a request was displaced, and how often one gave its KV cache up for want of memory.
    Requests that pause are away from the batch and come back into its queue.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: BatchScheduler,
        session: BatchSession,
        entries: Series[Entry],
        inbox: Inbox,
        outbox: Outbox,
        prefixes: Series[int] = (),
        pauses: Series[Pauses] = (),
    ) -> None:
        super().__init__(engine, Scheduler(scheduler.policy), entries, inbox, outbox)
        self.batch, self.session = scheduler, session
        self.prefixes, self.pauses = prefixes, pauses
        self._away: list[tuple[float, int, Sequence]] = []
        self._paused = 0
        self.totals = dict.fromkeys(COUNTED, 0)
        self._idle = 0

    def run(self, origin: float) -> None:
        """Serve until the last request is announced and gone, or the run is stopped."""
        clock, inbox = time.monotonic, self.inbox
        self._origin, self._told, begun = origin, clock(), clock()
        while not inbox.stopped:
            for index in inbox.arrived():
                self._arrive(self.entries[index])
            self._take_back(clock())
            if self.batch.present:
                self._iterate()
            elif self._away:
                self._sleep(min(self._away[0][0] - clock(), REPORT_EVERY_S))
                self._tell(clock())  # a sign of life, however long they are away
            elif inbox.closed:
                break
            else:
                self._sleep()
        self.tally.span_s = clock() - begun
        evictions = getattr(self.session, "evictions", 0)
        self.tally.totals = {**self.totals, "preemptions": self.batch.preemptions, "evictions": evictions}
        if self.pauses:
            self.tally.totals |= {"pauses": self._paused, "swap_s": getattr(self.session, "swap_s", 0.0)}
        if self._finished:
            self._report()

    def close(self) -> None:
        """Give the session's memory back."""
        self.session.close()

    def _arrive(self, entry: Entry) -> None:
        service: Service = entry.payload
        sequence = sequence_of(entry, self.prefixes, self.pauses)
        try:
            self.session.add(sequence, service.work)
        except Exception as error:  # this request's failure, not the server's
            self._gone(entry, service, error)
            return
        self.batch.add(sequence)

    def _iterate(self) -> None:
        clock = time.monotonic
        begin = clock()
        try:
            computed = self.session.iterate(begin - self._origin)
        except InputError:
            raise  # a rank that is no number, say: the run cannot go on
        except Exception as error:
            self._fail_running(error)
            return
        now = clock()
        self.tally.steps += 1
        self.tally.busy_s += now - begin
        self._check_progress(computed)
        self._count(Computed.of(computed))
        for sequence, tokens in computed:
            self._advance(sequence, tokens, begin, now)
        self._tell(now)

    def _count(self, computed: Computed) -> None:
        sequences, totals = computed.decoding + computed.prefills, self.totals
        totals["sequences"] += sequences
        totals["context_tokens"] += computed.context_tokens
        totals["prefill_tokens"] += computed.prefill_tokens
        totals["query_keys"] += computed.query_keys
        totals["most_running"] = max(totals["most_running"], sequences)

    def _advance(self, sequence: Sequence, tokens: int, begin: float, now: float) -> None:
        entry = sequence.entry
        service: Service = entry.payload
        if service.done == 0:
            service.started = begin
        service.done += 1
        service.service_s += now - begin
        if sequence.advance(tokens):
            service.token_times.append(now)
        if sequence.generated == sequence.output:
            if sequence.comes_back:
                self._pause(sequence, now)
                return
            self.batch.finish(sequence)
            self._finished.append((entry, service, now, ""))

    def _pause(self, sequence: Sequence, now: float) -> None:
        """The request goes away; what its KV cache takes to be moved out is the engine's time."""
        assert sequence.comes_back is not None
        heappush(self._away, (now + sequence.comes_back.pause_s, sequence.number, sequence))
        self._paused += 1
        self.batch.pause(sequence)
        begin = time.monotonic()
        self.session.pause(sequence)
        self.tally.busy_s += time.monotonic() - begin

    def _take_back(self, now: float) -> None:
        """Those whose pause is over wait again."""
        while self._away and self._away[0][0] <= now:
            sequence = heappop(self._away)[2]
            self.batch.come_back(sequence, now - self._origin)
            self.session.come_back(sequence)

    def _fail_running(self, error: Exception) -> None:
        """An iteration failed: those who ran are gone, those who wait are served."""
        for sequence in list(self.batch.running):
            self.batch.finish(sequence)
            self.session.drop(sequence)
            self._gone(sequence.entry, sequence.entry.payload, error)

    def _gone(self, entry: Entry, service: Service, error: Exception) -> None:
        why = " ".join(str(error).split())
        name = type(error).__name__
        self._finished.append((entry, service, time.monotonic(), f"{name}: {why}" if why else name))

    def _check_progress(self, computed: Series[object]) -> None:
        """Raise InputError when the engine computes nobody again and again: a request does not fit."""
        self._idle = 0 if computed else self._idle + 1
        if self._idle > 100:
            fault = "computes nobody although requests wait: one does not fit into its memory"
            raise InputError(f"engine '{self.engine.name}'", fault, "raise kv_capacity_tokens")


def sequence_of(entry: Entry, prefixes: Series[int], pauses: Series[Pauses] = ()) -> Sequence:
    """The lengths of a request, its shorter output while the queue is long, the prefix it shares, its pauses."""
    service: Service = entry.payload
    work, long = service.work.levels, service.work_long
    return Sequence(
        entry,
        work["input_tokens"],
        work["output_tokens"],
        None if long is None else long.levels["output_tokens"],
        prefix=prefixes[entry.index] if prefixes else 0,
        pauses=pauses[entry.index] if pauses else NONE,
    )
