"""The serving loop of an engine that computes many requests in one iteration (continuous batching)."""

from __future__ import annotations

import time
from collections.abc import Sequence as Series
from typing import Protocol

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import Batches
from qmodel.live.engine import Engine, Work
from qmodel.live.scheduler import Entry, Scheduler
from qmodel.live.sequence import Sequence
from qmodel.live.server import Loop, Service
from qmodel.live.wire import Inbox, Outbox


class BatchSession(Protocol):
    """An engine that batches, ready for one run. It asks the scheduler it was opened with who goes next."""

    def add(self, sequence: Sequence, work: Work) -> None:
        """A request arrives."""

    def iterate(self, now_s: float) -> list[tuple[Sequence, int]]:
        """One iteration; returns who was computed, with tokens each. Raises what the computation raises."""

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
    who compare their time with a model: sequences, context tokens of the decoding ones, prompt tokens; how often a
    request was displaced, and how often one gave its KV cache up for want of memory.
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
    ) -> None:
        super().__init__(engine, Scheduler(scheduler.policy), entries, inbox, outbox)
        self.batch, self.session = scheduler, session
        self.prefixes = prefixes
        self.totals = {"sequences": 0, "context_tokens": 0, "prefill_tokens": 0, "most_running": 0}
        self._idle = 0

    def run(self, origin: float) -> None:
        """Serve until the last request is announced and gone, or the run is stopped."""
        clock, inbox = time.monotonic, self.inbox
        self._origin, self._told, begun = origin, clock(), clock()
        while not inbox.stopped:
            for index in inbox.arrived():
                self._arrive(self.entries[index])
            if self.batch.present:
                self._iterate()
            elif inbox.closed:
                break
            else:
                self._sleep()
        self.tally.span_s = clock() - begun
        evictions = getattr(self.session, "evictions", 0)
        self.tally.totals = self.totals | {"preemptions": self.batch.preemptions, "evictions": evictions}
        if self._finished:
            self._report()

    def close(self) -> None:
        """Give the session's memory back."""
        self.session.close()

    def _arrive(self, entry: Entry) -> None:
        service: Service = entry.payload
        sequence = sequence_of(entry, self.prefixes)
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
        for sequence, tokens in computed:
            self._advance(sequence, tokens, begin, now)
        self.totals["sequences"] += len(computed)
        self.totals["most_running"] = max(self.totals["most_running"], len(computed))
        self._tell(now)

    def _advance(self, sequence: Sequence, tokens: int, begin: float, now: float) -> None:
        entry = sequence.entry
        service: Service = entry.payload
        if service.done == 0:
            service.started = begin
        service.done += 1
        service.service_s += now - begin
        if sequence.decoding:
            self.totals["context_tokens"] += sequence.prompt + sequence.generated
        else:
            self.totals["prefill_tokens"] += tokens
        if sequence.advance(tokens):
            service.token_times.append(now)
        if sequence.generated == sequence.output:
            self.batch.finish(sequence)
            self._finished.append((entry, service, now, ""))

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


def sequence_of(entry: Entry, prefixes: Series[int]) -> Sequence:
    """The lengths of a request, of its shorter output while the queue is long, and of the prefix it shares."""
    service: Service = entry.payload
    work, long = service.work.levels, service.work_long
    return Sequence(
        entry,
        work["input_tokens"],
        work["output_tokens"],
        None if long is None else long.levels["output_tokens"],
        prefix=prefixes[entry.index] if prefixes else 0,
    )
