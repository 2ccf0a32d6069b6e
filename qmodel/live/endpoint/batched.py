"""Continuous batching for real: an engine's own iterations under the policy object, in a thread.

Between two iterations arrivals join, those that are done leave, and those whose clients went away are taken out,
with their slot and their KV blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.batches import LENGTHS, check_continuous, make_batches
from qmodel.live.endpoint.demand import Demand
from qmodel.live.endpoint.stream import Order, Refused, Stream
from qmodel.live.endpoint.threaded import Threaded, words
from qmodel.live.engine import Work, make_engine
from qmodel.live.scheduler import Entry
from qmodel.live.sequence import Sequence
from qmodel.service.transform import ClipOutput

if TYPE_CHECKING:
    from qmodel.live.batches import Batches
    from qmodel.scenario import Scenario

USUAL = 0.999
"""The engine makes room for lengths up to this quantile of the classes' laws; longer ones come too, if they fit."""
FRUITLESS = 100
"""Iterations in a row that compute nobody before those present are given up."""


class BatchServer(Threaded):
    """Serves a scenario with batching = "continuous" on a registered engine that batches. Raises InputError.

    `options` are the engine's own.
    """

    def __init__(self, scenario: Scenario, kind: str, threads: int = 1, seed: int = 0, **options: Any) -> None:
        made: Any = make_engine(kind, threads=threads, **options)
        self.engine = made
        if "continuous" not in getattr(made, "batching", ()):
            raise InputError("--engine", f"'{kind}' has no continuous batching", "use emulated or transformers")
        check_continuous(scenario, {"name": made.name, "emulated": made.emulated})
        self.name, self.device, self.emulated = made.name, made.device, made.emulated
        self.versions = made.versions()
        self.preemptions = 0
        self._clips = Clips(scenario)
        self._demand = Demand(scenario, seed)
        batches = _batches(scenario)
        assert batches.worth is not None and batches.max_batch is not None
        self._worth = batches.worth
        self._scheduler = Leaving(
            scenario.policy, batches.max_batch, batches.worth, scenario.condition, batches.drops
        )
        self._session: Any = made.open(batches, self._scheduler)
        self._room: int | None = getattr(self._session, "capacity_tokens", None)
        self._streams: dict[Sequence, Stream] = {}
        self.memory_used = 0.0
        self._number = self._left = self._fruitless = 0
        self._new: list[Stream] = []
        self._ended: list[tuple[Stream, str]] = []
        super().__init__("batch-server")

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._scheduler.running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return max(0, self._number - self._left - self.running)

    def admit(self, order: Order) -> Stream:
        """Put a request in the queue. Raises Refused for one that the memory can never hold."""
        seen = self._demand.seen(order)
        output, output_long = self._clips.of(seen.output_tokens)
        tokens = seen.prompt_tokens + output
        if self._room is not None and tokens > self._room:
            raise Refused(400, f"{tokens} tokens exceed the KV memory of {self._room}")
        size_s = self._worth.size(seen.prompt_tokens, output)
        stream = Stream(order, output)
        levels = {"input_tokens": seen.prompt_tokens, "output_tokens": output}
        work = Work(levels, size_s, self._demand.seed())
        entry = Entry(self._number, self._demand.request(seen, size_s), payload=work)
        prefix = min(int(seen.request_class.prefix_hit * seen.prompt_tokens), seen.prompt_tokens - 1)
        stream.backend_state = Sequence(entry, seen.prompt_tokens, output, output_long, prefix=prefix)
        self._number += 1
        self._orders.put((self._join, stream))
        return stream

    def withdraw(self, stream: Stream) -> None:
        """Take a request out, wherever it is, before the next iteration."""
        stream.withdrawn = True
        self._orders.put((self._abandon, stream))

    def _release(self) -> None:
        self._session.close()
        self.engine.close()

    @property
    def _idle(self) -> bool:
        return self._scheduler.present == 0

    def _accept(self, order: Any) -> None:
        what, stream = order
        what(stream)

    def _join(self, stream: Stream) -> None:
        sequence: Sequence = stream.backend_state
        try:
            self._session.add(sequence, sequence.entry.payload)
        except Exception as error:  # this request's failure, not the server's
            self._gone(stream, words(error))
            self._hand_over()
            return
        self._streams[sequence] = stream
        self._scheduler.add(sequence)

    def _abandon(self, stream: Stream) -> None:
        """Its client went away; with nobody left, an iteration of nobody lets the engine free what it held."""
        if stream.backend_state not in self._streams:
            return  # it was just done
        self._take_out(stream.backend_state)
        if self._idle:
            self._session.iterate(time.monotonic())
        self._hand_over()

    def _turn(self) -> None:
        """One iteration."""
        begin, before = time.monotonic(), list(self._scheduler.running)
        try:
            computed = self._session.iterate(begin)
        except InputError:
            raise  # a rank that is no number, say: the server cannot go on
        except Exception as error:
            self._give_up(before or self._streams, words(error))
            return
        for sequence, tokens in computed:
            self._advance(sequence, tokens, begin)
        still = set(self._scheduler.running)
        self.preemptions += sum(each not in still and each in self._streams for each in before)
        self._hand_over()
        self._fruitless = 0 if computed else self._fruitless + 1
        if self._fruitless > FRUITLESS:
            self._give_up(self._streams, "the engine computes nobody: its memory is too small for those present")

    def _advance(self, sequence: Sequence, tokens: int, begin: float) -> None:
        stream = self._streams[sequence]
        if not sequence.generated and stream.started_s != stream.started_s:
            stream.started_s = begin
        if sequence.advance(tokens):
            self._new.append(stream)
        if sequence.generated == sequence.output:
            self._take_out(sequence)

    def _give_up(self, sequences: Iterable[Sequence], why: str) -> None:
        """An iteration failed: those who ran are gone, those who wait are served."""
        self._fruitless = 0
        for sequence in list(sequences):
            self._take_out(sequence, why)
        self._hand_over()

    def _take_out(self, sequence: Sequence, failure: str = "") -> None:
        self._scheduler.remove(sequence)
        self._session.drop(sequence)
        self._gone(self._streams.pop(sequence), failure)

    def _gone(self, stream: Stream, failure: str = "") -> None:
        self._left += 1
        self._ended.append((stream, failure))

    def _hand_over(self) -> None:
        """Tell the event loop, at once, of what an iteration made and of who left."""
        self.memory_used = float(getattr(self._session, "memory_used", 0.0))
        if self._new or self._ended:
            self._tell(self._deliver, self._new, self._ended, time.monotonic())
            self._new, self._ended = [], []

    def _deliver(self, new: list[Stream], ended: list[tuple[Stream, str]], now: float) -> None:
        for stream in new:
            stream.put(1, now)
        for stream, failure in ended:
            stream.end(failure)


class Leaving(BatchScheduler):
    """A scheduler whose requests may leave before they are done."""

    def remove(self, sequence: Sequence) -> None:
        """A request goes, from the batch or from the queue, which keeps its order."""
        if sequence in self.running:
            self.finish(sequence)
            return
        waiting = [self._line.pop() for _ in range(len(self._line))]
        for each in waiting:
            if each is not sequence:
                self._line.back(each)
        self.present -= 1


class Clips:
    """Output tokens that the scenario's transforms leave: always, and while its queue condition holds.

    Raises InputError for transforms other than clip-output.
    """

    def __init__(self, scenario: Scenario) -> None:
        clips = [each for each in scenario.transforms if isinstance(each, ClipOutput)]
        self._always = [each.max_tokens for each in clips if each.when is None]
        self._long = None if scenario.condition is None else [each.max_tokens for each in clips]

    def of(self, output: int) -> tuple[int, int | None]:
        """The tokens of a request that asks for so many; and when the queue is long, None where it never is."""
        long = None if self._long is None else min(output, *self._long)
        return min([output, *self._always]), long


def _batches(scenario: Scenario) -> Batches:
    """How batches are formed, with room for the lengths that the classes usually have."""
    usual: dict[str, list[Any]] = {
        name: [max(1, round(float(each.factors[name].quantile(USUAL)))) for each in scenario.classes]
        for name in LENGTHS
    }
    batches = make_batches(scenario, usual | {"class": [each.name for each in scenario.classes]})
    assert batches is not None
    return batches
