"""One request (or one turn of a sharing policy) at a time: the single server of queueing theory, in a thread.

The engine's steps are the points at which the policy object decides again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.endpoint.demand import Demand, Seen
from qmodel.live.endpoint.stream import Order, Stream
from qmodel.live.endpoint.threaded import Threaded, words
from qmodel.live.engine import Engine, Job, Work, make_engine
from qmodel.live.scheduler import Entry, Scheduler
from qmodel.service.token_service import TokenService

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

SERVES = ("emulated", "language-model")
"""Engines that make tokens."""


@dataclass(slots=True)
class Service:
    """A request in the thread: its stream, its work, and the job once it has begun."""

    stream: Stream
    work: Work
    job: Job | None = None
    steps: int = 0
    told: int = 0


class SingleServer(Threaded):
    """Serves a scenario without batching on a registered engine that makes tokens. Raises InputError.

    `options` are the engine's own.
    """

    memory_used = 0.0

    def __init__(self, scenario: Scenario, kind: str, threads: int = 1, seed: int = 0, **options: Any) -> None:
        if kind not in SERVES and ":" not in kind:
            raise InputError("--engine", f"'{kind}' makes no tokens", "one of " + ", ".join(SERVES))
        self._scenario = scenario
        self._model = scenario.system.model
        self._check_lengths()
        self.engine: Engine = make_engine(kind, threads=threads, **options)
        self._check_seconds()
        self.name, self.device, self.emulated = self.engine.name, self.engine.device, self.engine.emulated
        self.versions = self.engine.versions()
        self.running = self.preemptions = 0
        self._demand, self._scheduler = Demand(scenario, seed), Scheduler(scenario.policy)
        self._number = self._left = 0
        super().__init__("single-server")

    @property
    def waiting(self) -> int:
        """Requests present and not in service."""
        return self._number - self._left - self.running

    def admit(self, order: Order) -> Stream:
        """Put a request in the queue. Raises Refused for a class that does not exist."""
        seen = self._demand.seen(order)
        size_s, first_share = self._size(seen)
        stream = Stream(order, seen.output_tokens)
        levels = {"input_tokens": seen.prompt_tokens, "output_tokens": seen.output_tokens}
        work = Work(levels, size_s * self._demand.residual(self._model), self._demand.seed(), first_share)
        entry = Entry(self._number, self._demand.request(seen, size_s), payload=Service(stream, work))
        stream.backend_state = entry
        self._number += 1
        self._orders.put(entry)
        return stream

    def withdraw(self, stream: Stream) -> None:
        """Its remaining steps are skipped when its turn comes."""
        stream.withdrawn = True

    def _release(self) -> None:
        self.engine.close()

    def _check_lengths(self) -> None:
        for each in self._scenario.classes:
            place = f"class '{each.name}'"
            if each.service is None and self._model is None:
                raise InputError(place, "gives lengths but the system has no model", "set system.service")
            other = set(each.factors) - {"input_tokens", "output_tokens"}
            if other:
                raise InputError(f"{place}, {min(other)}", "cannot be asked for over HTTP", "leave it out")

    def _check_seconds(self) -> None:
        for each in self._scenario.classes:
            if each.service is not None and not self.engine.emulated:
                fault = f"engine '{self.engine.name}' does real work and takes no seconds"
                remedy = "give input_tokens, output_tokens and a fitted model"
                raise InputError(f"class '{each.name}', service", fault, remedy)

    def _size(self, seen: Seen) -> tuple[float, float | None]:
        """Seconds alone, and the share of them that the first token takes."""
        if seen.request_class.service is not None:
            return self._demand.service_s(seen.request_class), None
        levels: dict[str, float] = {"input_tokens": seen.prompt_tokens, "output_tokens": seen.output_tokens}
        model = self._model
        assert model is not None
        size_s = float(model.predict(levels))
        if isinstance(model, TokenService):
            return size_s, min(model.first_token(levels) / size_s, 1.0)
        return size_s, None

    @property
    def _idle(self) -> bool:
        return self._scheduler.present == 0

    def _accept(self, order: Entry) -> None:
        self._scheduler.add(order)

    def _turn(self) -> None:
        """Ask the policy, do one step."""
        entry = self._scheduler.next(time.monotonic())
        if entry is not None:
            self._step(entry)

    def _step(self, entry: Entry) -> None:
        service: Service = entry.payload
        if service.stream.withdrawn:
            self._leave(entry, "withdrawn")
            return
        if service.job is None:
            try:
                service.job = self.engine.start(service.work)
            except Exception as error:
                self._leave(entry, words(error))
                return
            service.steps = service.job.remaining
            service.stream.started_s = time.monotonic()
        self.running = 1
        job = service.job
        try:
            job.step()
        except Exception as error:  # this request's failure, not the server's
            self._leave(entry, words(error))
            return
        if job.tokens > service.told:
            self._tell(service.stream.put, job.tokens - service.told, time.monotonic())
            service.told = job.tokens
        if job.remaining:
            share = service.work.share_done(service.steps - job.remaining, service.steps)
            self._scheduler.credit(entry, entry.request.size * share)
        else:
            self._leave(entry)

    def _leave(self, entry: Entry, failure: str = "") -> None:
        self._scheduler.finish(entry)
        entry.payload.job = None
        self.running = 0
        self._left += 1
        self._tell(entry.payload.stream.end, failure)
