"""What the load generator and the server process say to each other.

Arrivals go through a pipe, four bytes each: the request's index, or one of two words. All else about requests is in
the order that the server gets before the run, so nothing is parsed while requests are served. Records of finished
requests, signs of life and the end of the run come back through a connection.

Orders are pickled: they travel only between a process and its own child, over a socket that no one else can open.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import select
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from qmodel.live.batches import Batches
from qmodel.live.engine import Work
from qmodel.policy.base import Policy, Request
from qmodel.service.transform import QueueCondition

NO_MORE, STOP = -1, -2
"""Words in the arrivals pipe: the last request was sent; end at the next step boundary, whoever is there."""
DONE, FAILED, ALIVE, END, FAULT = range(1, 6)
_INDEX = struct.Struct("<i")
_RECORD = struct.Struct("<Bi5dI?")
_HEAD = struct.Struct("<Bi")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class RunOrder:
    """One run: the policy (pickled), the queue condition, and for each request what policy and engine need.

    `works_long` replaces `works`, and `size_long` the request's size, for a service that starts while the condition
    holds (None: no difference); `delivered` is the share of the steps after which the result is out; `batches` says
    how requests are served together (None: one at a time).
    """

    policy: bytes
    condition: QueueCondition | None
    requests: list[Request]
    works: list[Work]
    works_long: Sequence[Work | None]
    size_long: Sequence[float | None]
    delivered: list[float]
    batches: Batches | None = None


def pack_policy(policy: Policy) -> bytes:
    """The policy as bytes; a class of the user's script goes along by value."""
    import cloudpickle  # type: ignore[import-untyped]

    data: bytes = cloudpickle.dumps(policy)
    return data


def unpack_policy(data: bytes) -> Policy:
    """Inverse of `pack_policy`."""
    policy: Policy = pickle.loads(data)  # noqa: S301 - from our own parent process
    return policy


@dataclass(frozen=True)
class Record:
    """A finished request as the server saw it: seconds from the start of the run, and steps done.

    `delivered_s` is when the result was out, `left_s` when the server was through with it; `token_times_s` holds a
    time for each output token of a request that delivers tokens.
    """

    index: int
    started_s: float
    delivered_s: float
    left_s: float
    service_s: float
    attained_s: float
    steps: int
    reduced: bool
    token_times_s: tuple[float, ...] = ()
    failure: str = ""


class Inbox:
    """The server's end of the arrivals pipe.

    `closed` once the last request was announced, `stopped` once the run is to end. One that `polls` does not sleep
    while it waits. Raises EOFError when the load generator is gone.
    """

    def __init__(self, descriptor: int, polls: bool = False) -> None:
        self._polls = polls
        os.set_blocking(descriptor, False)
        self._descriptor, self._rest = descriptor, b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.closed = self.stopped = False

    def reset(self) -> None:
        """Forget what an earlier run left."""
        self.closed = self.stopped = False
        self._rest = b""
        while self._read():
            pass

    def wait(self, most_s: float | None = None) -> None:
        """Wait until something arrives, at most so long."""
        if self._polls:
            end = math.inf if most_s is None else time.monotonic() + most_s
            while not self._poll.poll(0) and time.monotonic() < end:
                pass
        else:
            self._poll.poll(None if most_s is None else 1e3 * max(0.0, most_s))

    def arrived(self) -> list[int]:
        """Indices of the requests that have arrived since the last call; does not wait."""
        if not self._poll.poll(0):  # a quarter of the cost of a read that finds nothing
            return []
        data = os.read(self._descriptor, 65536)
        if not data:
            raise EOFError("the load generator is gone")
        return self._indices(self._rest + data)

    def _indices(self, data: bytes) -> list[int]:
        whole = len(data) - len(data) % _INDEX.size
        self._rest = data[whole:]
        found = [index for (index,) in _INDEX.iter_unpack(data[:whole])]
        if min(found, default=0) < 0:
            self.closed = self.closed or NO_MORE in found
            self.stopped = self.stopped or STOP in found
            found = [index for index in found if index >= 0]
        return found

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, 65536)
        except BlockingIOError:
            return b""


def pack_index(index: int) -> bytes:
    """One arrival, or one of the two words.

    >>> pack_index(1), pack_index(NO_MORE)
    (b'\\x01\\x00\\x00\\x00', b'\\xff\\xff\\xff\\xff')
    """
    return _INDEX.pack(index)


class Outbox:
    """The server's end of the records' connection.

    Sending wakes the load generator, which may take the core from the server for longer than a step, so records are
    sent many at a time, while the server would sleep anyway.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, records: Sequence[Record]) -> None:
        """Requests that are finished or have failed; without any, a sign of life."""
        self._send([_packed(record) for record in records] or [_HEAD.pack(ALIVE, 0)])

    def end(self, statistics: dict[str, Any]) -> None:
        """The run is over; what the loop says of itself."""
        self._send([_HEAD.pack(END, 0) + json.dumps(statistics).encode()])

    def fault(self, place: str, fault: str, remedy: str) -> None:
        """The run cannot go on."""
        self._send([_HEAD.pack(FAULT, 0) + json.dumps([place, fault, remedy]).encode()])

    def _send(self, messages: Sequence[bytes]) -> None:
        self._connection.send_bytes(b"".join(_LENGTH.pack(len(m)) + m for m in messages))


def _packed(record: Record) -> bytes:
    stamps = (record.started_s, record.delivered_s, record.left_s, record.service_s, record.attained_s)
    kind = FAILED if record.failure else DONE
    head = _RECORD.pack(kind, record.index, *stamps, record.steps, record.reduced)
    if record.failure:
        return head + record.failure.encode()
    return head + struct.pack(f"<{len(record.token_times_s)}d", *record.token_times_s)


def unpack(data: bytes) -> Iterator[tuple[int, Any]]:
    """Kind of each message, with its record (DONE, FAILED), statistics (END) or fault (FAULT)."""
    start = 0
    while start < len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        yield _message(data[start : start + length])
        start += length


def _message(data: bytes) -> tuple[int, Any]:
    kind, _ = _HEAD.unpack_from(data)
    if kind in (DONE, FAILED):
        return kind, _record(kind, data)
    return kind, json.loads(data[_HEAD.size :]) if len(data) > _HEAD.size else None


def _record(kind: int, data: bytes) -> Record:
    _, index, started, delivered, left, service, attained, steps, reduced = _RECORD.unpack_from(data)
    tail = data[_RECORD.size :]
    tokens = () if kind == FAILED else struct.unpack(f"<{len(tail) // 8}d", tail)
    failure = tail.decode() if kind == FAILED else ""
    return Record(index, started, delivered, left, service, attained, steps, reduced, tokens, failure)
