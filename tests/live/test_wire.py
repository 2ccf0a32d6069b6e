from __future__ import annotations

import contextlib
import os
import socket
from multiprocessing.connection import Connection

import pytest

from qmodel.live.wire import (
    ALIVE,
    DONE,
    END,
    FAILED,
    FAULT,
    NO_MORE,
    STOP,
    Inbox,
    Outbox,
    Record,
    pack_index,
    pack_policy,
    unpack,
    unpack_policy,
)
from qmodel.policy import MLFQ, Rank


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_arrivals_come_in_order(pipe):
    inbox = Inbox(pipe[0])
    assert inbox.arrived() == []
    os.write(pipe[1], pack_index(7) + pack_index(8))
    assert inbox.arrived() == [7, 8]
    assert (inbox.closed, inbox.stopped) == (False, False)


def test_half_a_message_waits_for_its_rest(pipe):
    inbox = Inbox(pipe[0])
    os.write(pipe[1], pack_index(7) + pack_index(300)[:2])
    assert inbox.arrived() == [7]
    os.write(pipe[1], pack_index(300)[2:])
    assert inbox.arrived() == [300]


def test_the_two_words(pipe):
    inbox = Inbox(pipe[0])
    os.write(pipe[1], pack_index(3) + pack_index(NO_MORE))
    assert inbox.arrived() == [3]
    assert (inbox.closed, inbox.stopped) == (True, False)
    os.write(pipe[1], pack_index(STOP))
    assert inbox.arrived() == []
    assert (inbox.closed, inbox.stopped) == (True, True)
    os.write(pipe[1], pack_index(STOP))
    inbox.reset()
    assert inbox.arrived() == []
    assert (inbox.closed, inbox.stopped) == (False, False)


def test_one_that_polls_waits_for_arrivals_and_for_its_time(pipe, monkeypatch):
    inbox, looks = Inbox(pipe[0], polls=True), iter([*range(5)])
    os.write(pipe[1], pack_index(7))
    inbox.wait()
    assert inbox.arrived() == [7]
    monkeypatch.setattr("qmodel.live.wire.time.monotonic", lambda: next(looks))
    inbox.wait(3.0)
    assert next(looks) == 4  # begun at 0, looked at 1, 2 and 3


@pytest.mark.parametrize("polls", [False, True])
def test_a_closed_pipe_ends_the_run(pipe, polls):
    inbox = Inbox(pipe[0], polls)
    os.close(pipe[1])
    inbox.wait()
    with pytest.raises(EOFError):
        inbox.arrived()


def connections():
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


def test_records_come_whole():
    ours, theirs = connections()
    outbox = Outbox(ours)
    good = Record(5, 1.0, 2.0, 3.0, 0.5, 0.25, 12, True, (1.5, 2.0))
    bad = Record(6, 1.0, 2.0, 3.0, 0.5, 0.25, 0, False, (), "RuntimeError: é")
    outbox.send([good, bad])
    assert list(unpack(theirs.recv_bytes())) == [(DONE, good), (FAILED, bad)]


def test_signs_of_life_ends_and_faults():
    ours, theirs = connections()
    outbox = Outbox(ours)
    outbox.send([])
    assert list(unpack(theirs.recv_bytes())) == [(ALIVE, None)]
    outbox.end({"steps": 3})
    assert list(unpack(theirs.recv_bytes())) == [(END, {"steps": 3})]
    outbox.fault("policy 'x'", "is wrong", "mend it")
    assert list(unpack(theirs.recv_bytes())) == [(FAULT, ["policy 'x'", "is wrong", "mend it"])]


def test_policies_travel_with_their_options_and_by_value():
    assert unpack_policy(pack_policy(MLFQ((1.0, 3.0)))) == MLFQ((1.0, 3.0))

    class Mine(Rank):
        name = "mine"

        def rank(self, request, attained):
            return 42.0

    assert unpack_policy(pack_policy(Mine())).rank(None, 0.0) == 42.0
