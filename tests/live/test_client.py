from __future__ import annotations

import gc
import os
import struct
import time

import numpy as np
import pytest

from qmodel.live.client import no_garbage_collection, send_all, write
from qmodel.live.punctual import punctual
from qmodel.live.session import lags, not_sent
from qmodel.live.wire import pack_index


@pytest.fixture
def pipe():
    read, write_end = os.pipe()
    os.set_blocking(write_end, False)
    yield read, write_end
    os.close(read)
    os.close(write_end)


def test_every_request_is_sent_at_its_time_and_never_before(pipe):
    scheduled, sent, looks = np.array([0.0, 0.01, 0.01, 0.05]), not_sent(4), []
    origin = time.monotonic() + 0.02
    send_all(scheduled, sent, origin, pipe[1], lambda count, left: looks.append((count, left)))
    assert time.monotonic() >= origin + 0.05
    assert struct.unpack("<4i", os.read(pipe[0], 100)) == (0, 1, 2, 3)
    assert (lags(sent, scheduled) >= 0).all()
    assert {count for count, _ in looks} <= {0, 1, 3}
    assert all(left <= 0.05 for _, left in looks)


def test_a_late_start_is_seen_as_lag(pipe):
    """Nothing waits for answers, and nothing is skipped: what is overdue goes out at once, its lag on record."""
    scheduled, sent = np.array([0.0, 0.1, 0.2]), not_sent(3)
    send_all(scheduled, sent, time.monotonic() - 10.0, pipe[1], lambda count, left: None)
    assert (lags(sent, scheduled) >= 9.8).all()


def test_looking_can_end_the_run(pipe):
    def stop(count, left):
        raise InterruptedError

    sent = not_sent(1)
    with pytest.raises(InterruptedError):
        send_all(np.array([5.0]), sent, time.monotonic(), pipe[1], stop)
    assert lags(sent, np.array([5.0])).size == 0


def test_long_waits_are_broken_to_look(pipe):
    looks = []
    send_all(np.array([0.5]), not_sent(1), time.monotonic(), pipe[1], lambda count, left: looks.append(left))
    assert len(looks) >= 3


def test_a_full_pipe_is_looked_at_and_tried_again(pipe):
    room = 0
    try:
        while True:
            room += os.write(pipe[1], pack_index(0))
    except BlockingIOError:
        pass
    looks = []

    def look(count, left):
        looks.append(count)
        os.read(pipe[0], 65536)

    write(pipe[1], 9, 7, look)
    assert looks == [7]


def test_a_server_that_is_gone():
    read, write_end = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        write(write_end, 0, 0, lambda count, left: None)
    os.close(write_end)


@pytest.mark.parametrize("was", [True, False])
def test_garbage_is_not_collected_in_mid_run(was):
    before = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        with no_garbage_collection():
            assert not gc.isenabled()
        assert gc.isenabled() is was
    finally:
        (gc.enable if before else gc.disable)()


class TestPunctual:
    def test_says_what_it_got_and_gives_it_back(self):
        policy = os.sched_getscheduler(0)
        with punctual() as waking:
            assert waking in ("real-time priority", "short slice", "no timer slack")
            assert (os.sched_getscheduler(0) == os.SCHED_RR) == (waking == "real-time priority")
        assert os.sched_getscheduler(0) == policy

    def test_without_permission_for_real_time(self, monkeypatch):
        def refuse(*arguments):
            raise PermissionError

        monkeypatch.setattr(os, "sched_setscheduler", refuse)
        with punctual() as waking:
            assert waking in ("short slice", "no timer slack")

    def test_on_an_unknown_processor(self, monkeypatch):
        monkeypatch.setattr("qmodel.live.punctual._real_time", lambda on: False)
        monkeypatch.setattr("qmodel.live.punctual.platform.machine", lambda: "vax")
        with punctual() as waking:
            assert waking == "no timer slack"

    def test_elsewhere(self, monkeypatch):
        monkeypatch.setattr("qmodel.live.punctual.sys.platform", "darwin")
        with punctual() as waking:
            assert waking == "as the system does"
