"""The serving loop, in a process of its own: `python -m qmodel.live.server CONTROL ARRIVALS RECORDS` (descriptors).

The engine is loaded and warmed here once and serves run after run. At every step boundary the loop takes what has
arrived, asks the scheduler who goes next, and lets the engine do one step; when nobody is there it sleeps until
somebody comes. Times are `time.monotonic`, the same clock in every process of the machine, from an origin that the
load generator names. When the load generator goes away, this process ends.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from qmodel.engine_process import settle
from qmodel.errors import InputError
from qmodel.live.engine import Engine, Job, Work, make_engine, warm_up
from qmodel.live.scheduler import Entry, Scheduler
from qmodel.live.wire import Inbox, Outbox, Record, RunOrder, unpack_policy

REPORT_EVERY_S = 0.5
"""So often finished requests are told of while the server is busy."""
_WARM_SETTINGS = 64


@dataclass(slots=True)
class Service:
    """One request's way through the server; times are on the clock, `service_s` sums its steps."""

    work: Work
    work_long: Work | None
    delivered_at: float
    serving: Work = field(init=False)
    job: Job | None = None
    size_s: float = 0.0
    total: int = 0
    done: int = 0
    deliver_after: int = 0
    tokens: int = 0
    started: float = math.nan
    delivered: float = math.nan
    service_s: float = 0.0
    token_times: list[float] = field(default_factory=list)


@dataclass
class Tally:
    """What the loop says of itself: steps, seconds in the engine, asleep, reporting, and in all."""

    steps: int = 0
    busy_s: float = 0.0
    asleep_s: float = 0.0
    reporting_s: float = 0.0
    span_s: float = 0.0
    wakes: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """With the loop's own time for each step: what is neither engine, nor sleep, nor reporting."""
        own = self.span_s - self.busy_s - self.asleep_s - self.reporting_s
        return {**vars(self), "overhead_per_step_s": own / self.steps if self.steps else 0.0}


class Loop:
    """Serves one run to its end, one request at a time."""

    def __init__(
        self, engine: Engine, scheduler: Scheduler, entries: Sequence[Entry], inbox: Inbox, outbox: Outbox
    ) -> None:
        self.engine, self.scheduler, self.entries = engine, scheduler, entries
        self.inbox, self.outbox = inbox, outbox
        self.tally = Tally()
        self._finished: list[tuple[Entry, Service, float, str]] = []
        self._origin = self._told = 0.0

    def run(self, origin: float) -> None:
        """Serve until the last request is announced and gone, or the run is stopped."""
        clock, arrived, scheduler, entries = time.monotonic, self.inbox.arrived, self.scheduler, self.entries
        add, choose, step = scheduler.add, scheduler.next, self._step
        self._origin, self._told, begun = origin, clock(), clock()
        timed, before = scheduler.policy.timed, self._counted()
        while not self.inbox.stopped:
            for index in arrived():
                add(entries[index])
            entry = choose(clock() - origin) if timed else choose()
            if entry is not None:
                step(entry)
            elif self.inbox.closed:
                break
            else:
                self._sleep()
        self.tally.span_s = clock() - begun
        self.tally.totals = {name: count - before[name] for name, count in self._counted().items()}
        if self._finished:
            self._report()

    def _counted(self) -> dict[str, int]:
        """What the engine has counted since it was built (warm-up included), where it counts anything."""
        return dict(getattr(self.engine, "totals", {}))

    def close(self) -> None:
        """Release what was opened for this run; the engine stays."""

    def _sleep(self, most_s: float | None = None) -> None:
        if self._finished:
            self._report()
        asleep = time.monotonic()
        self.inbox.wait(most_s)
        self.tally.asleep_s += time.monotonic() - asleep
        self.tally.wakes += 1

    def _step(self, entry: Entry) -> None:
        """One step of the request's work; the scheduler is told of it, the load generator of the request's end."""
        service: Service = entry.payload
        clock = time.monotonic
        begin = clock()
        try:
            job = service.job
            if job is None:
                job = self._begin(entry, service, begin)
            job.step()
        except Exception as error:  # whatever an engine raises is this request's failure, not the server's
            self._fail(entry, service, error, clock())
            return
        now = clock()
        spent = now - begin
        service.service_s += spent
        service.done += 1
        tally = self.tally
        tally.steps += 1
        tally.busy_s += spent
        if job.tokens > service.tokens:
            service.token_times += [now] * (job.tokens - service.tokens)
            service.tokens = job.tokens
        if service.done == service.deliver_after:
            # a job that releases its last token before it is through with it was delivered then
            service.delivered = service.token_times[-1] if getattr(job, "released", False) else now
        if job.remaining:
            self.scheduler.credit(entry, service.size_s * service.serving.share_done(service.done, service.total))
        else:
            self._leave(entry, service, now)
        self._tell(now)

    def _tell(self, now: float) -> None:
        """Report when it is time to."""
        if now - self._told > REPORT_EVERY_S:
            self._report()

    def _report(self) -> None:
        """Tell of the requests finished since the last report, or give a sign of life."""
        begin = time.monotonic()
        finished, self._finished = self._finished, []
        self.outbox.send([_record(*each, self._origin) for each in finished])
        self._told = time.monotonic()
        self.tally.reporting_s += self._told - begin

    def _begin(self, entry: Entry, service: Service, now: float) -> Job:
        service.started = now
        work = service.work_long if entry.reduced and service.work_long is not None else service.work
        service.serving = work
        job = service.job = self.engine.start(work)
        service.size_s, service.total = entry.request.size, job.remaining
        service.deliver_after = max(1, math.ceil(service.delivered_at * job.remaining - 1e-9))
        return job

    def _leave(self, entry: Entry, service: Service, now: float, failure: str = "") -> None:
        """The request is gone; what is to be told of it waits until there is time."""
        self.scheduler.finish(entry)
        service.job = None
        self._finished.append((entry, service, now, failure))

    def _fail(self, entry: Entry, service: Service, error: Exception, now: float) -> None:
        why = " ".join(str(error).split())
        self._leave(entry, service, now, f"{type(error).__name__}: {why}" if why else type(error).__name__)


def _record(entry: Entry, service: Service, left: float, failure: str, origin: float) -> Record:
    """What the load generator is told of a request; one that ends before its delivery is due is delivered then."""
    delivered = left if math.isnan(service.delivered) else service.delivered
    return Record(
        entry.index,
        service.started - origin,
        delivered - origin,
        left - origin,
        service.service_s,
        entry.attained,
        service.done,
        entry.reduced,
        tuple(t - origin for t in service.token_times),
        failure,
    )


def entries_of(order: RunOrder) -> list[Entry]:
    """The requests of an order as the scheduler takes them."""
    services = map(Service, order.works, order.works_long, order.delivered)
    rows = zip(order.requests, order.size_long, services, strict=True)
    return [Entry(i, request, size_long, payload=service) for i, (request, size_long, service) in enumerate(rows)]


def serve_order(engine: Engine, order: RunOrder, control: Connection, inbox: Inbox, outbox: Outbox) -> None:
    """Warm the engine to the order's settings, say so, wait for the origin of time, and serve."""
    try:
        loop = make_loop(engine, order, inbox, outbox)
    except Exception as error:
        control.send(("refused", *_told_as(error)))
        return
    inbox.reset()
    control.send(("warm",))
    origin = control.recv()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        loop.run(origin)
        outbox.end(loop.tally.report())
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        outbox.fault(*_told_as(error))
    finally:
        loop.close()
        gc.enable()
        gc.unfreeze()


def make_loop(engine: Engine, order: RunOrder, inbox: Inbox, outbox: Outbox) -> Loop:
    """The loop that serves this order, its engine warm for it."""
    policy, entries = unpack_policy(order.policy), entries_of(order)
    if order.batches is not None:
        from qmodel.live.batching import batching_loop

        return batching_loop(engine, order, policy, entries, inbox, outbox)
    warm_up(engine, _settings(order))
    return Loop(engine, Scheduler(policy, order.condition), entries, inbox, outbox)


def _settings(order: RunOrder) -> list[Work]:
    """The first work of each distinct setting, not more than an engine can warm up to in moderate time."""
    distinct: dict[tuple[tuple[str, int], ...], Work] = {}
    for work in (*order.works, *(work for work in order.works_long if work)):
        distinct.setdefault(tuple(sorted((k, v) for k, v in work.levels.items() if k != "steps")), work)
    return list(distinct.values())[:_WARM_SETTINGS]


def _told_as(error: Exception) -> tuple[str, str, str]:
    if isinstance(error, InputError):
        return error.place, error.fault, error.remedy
    return "server", f"{type(error).__name__}: {error}", "mend the policy or the engine"


def main(control_fd: int, arrivals_fd: int, records_fd: int) -> None:
    """Build the engine that the first message names, then serve orders until the other end closes."""
    own_cores = settle()
    control, outbox = Connection(control_fd), Outbox(Connection(records_fd))
    inbox = Inbox(arrivals_fd, polls=own_cores)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        setup = control.recv()
        try:
            engine = make_engine(setup["kind"], threads=setup["threads"], **setup["options"])
        except Exception as error:
            control.send(("refused", *_told_as(error)))
            return
        try:
            control.send(("ready", introduction(engine)))
            while True:
                serve_order(engine, control.recv(), control, inbox, outbox)
        finally:
            engine.close()


def introduction(engine: Engine) -> dict[str, Any]:
    """What the load generator needs to know of the engine."""
    return {
        "name": engine.name,
        "device": engine.device,
        "emulated": engine.emulated,
        "factors": tuple(engine.factors),
        "leaves_early": bool(getattr(engine, "leaves_early", False)),
        "batching": ("none", *getattr(engine, "batching", ())),
        "versions": engine.versions(),
    }


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
