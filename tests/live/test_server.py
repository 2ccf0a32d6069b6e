"""The serving loop in this process, with an engine that counts."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from multiprocessing.connection import Connection

import pytest

from qmodel.errors import InputError
from qmodel.live import server
from qmodel.live.engine import WARM_UP_S, Work, make_engine, warm_up
from qmodel.live.scheduler import Scheduler
from qmodel.live.wire import (
    DONE,
    END,
    FAULT,
    NO_MORE,
    STOP,
    Inbox,
    RunOrder,
    pack_index,
    pack_policy,
    unpack,
)
from qmodel.policy import FCFS, SRPT, Rank, Request
from qmodel.service.transform import QueueCondition
from tests.live.own_engines import Counting, CountingJob, Streaming

KIND = "tests.live.own_engines:Counting"


class Kept:
    """An outbox that keeps everything."""

    def __init__(self):
        self.records, self.sent = [], 0

    def send(self, records):
        self.records += records
        self.sent += 1


def order(steps, policy=None, condition=None, steps_long=None, delivered=None, arrivals=None):
    n = len(steps)
    works_long = (
        [None] * n if steps_long is None else [Work({"steps": s}, s * 1e-3, i) for i, s in enumerate(steps_long)]
    )
    return RunOrder(
        pack_policy(policy or FCFS()),
        condition,
        [Request(arrivals[i] if arrivals else float(i), s * 1e-3, s * 1e-3) for i, s in enumerate(steps)],
        [Work({"steps": s}, s * 1e-3, i) for i, s in enumerate(steps)],
        works_long,
        [None if work is None else work.size_s for work in works_long],
        delivered or [1.0] * n,
    )


def run(engine, made, indices=None, word=NO_MORE):
    read, write = os.pipe()
    for index in range(len(made.requests)) if indices is None else indices:
        os.write(write, pack_index(index))
    os.write(write, pack_index(word))
    outbox = Kept()
    loop = server.Loop(
        engine,
        Scheduler(server.unpack_policy(made.policy), made.condition),
        server.entries_of(made),
        Inbox(read),
        outbox,
    )
    loop.run(time.monotonic())
    os.close(read)
    os.close(write)
    return loop.tally, {record.index: record for record in outbox.records}, outbox


def test_every_step_of_every_request_is_done():
    tally, records, _ = run(Counting(KIND), order([3, 1, 2]))
    assert [records[i].steps for i in range(3)] == [3, 1, 2]
    assert tally.steps == 6
    assert records[0].left_s < records[1].left_s < records[2].left_s
    for record in records.values():
        assert record.started_s < record.delivered_s == record.left_s
        assert record.service_s <= record.left_s - record.started_s
    assert sum(record.service_s for record in records.values()) == pytest.approx(tally.busy_s, rel=1e-9)
    assert records[0].attained_s == pytest.approx(2e-3)


def test_the_policy_chooses():
    _, records, _ = run(Counting(KIND), order([30, 1, 20], SRPT()))
    assert records[1].left_s < records[2].left_s < records[0].left_s


def test_a_long_queue_means_fewer_steps():
    """More than 2 in the system at the start of a service: the first of 4 is reduced, the last two are not."""
    made = order([6] * 4, condition=QueueCondition(2), steps_long=[2] * 4)
    _, records, _ = run(Counting(KIND), made)
    assert [(records[i].reduced, records[i].steps) for i in range(4)] == [
        (True, 2),
        (True, 2),
        (False, 6),
        (False, 6),
    ]


def test_released_results_are_out_before_the_server_is_free():
    _, records, _ = run(Counting(KIND, step_s=1e-3), order([4, 3], delivered=[0.5, 0.34]))
    for index, (before, after) in enumerate(((2, 2), (2, 1))):
        record = records[index]
        assert record.delivered_s - record.started_s >= before * 1e-3
        assert record.left_s - record.delivered_s >= after * 1e-3


def test_a_job_that_ends_early_is_delivered_then():
    class Early(Counting):
        def start(self, work):
            job = CountingJob(work.levels["steps"])
            step = job.step

            def one():
                step()
                job.remaining = 0

            job.step = one
            return job

    _, records, _ = run(Early(KIND), order([5]))
    assert records[0].steps == 1
    assert records[0].delivered_s == records[0].left_s


def test_output_tokens_are_stamped():
    _, records, _ = run(Streaming(KIND, step_s=1e-3), order([4]))
    times = records[0].token_times_s
    assert len(times) == 4
    assert times == tuple(sorted(times))
    assert times[-1] == records[0].left_s


def test_a_failing_request_is_told_and_the_others_go_on():
    _, records, _ = run(Counting(KIND, trouble="raise", at=2), order([2, 2, 2]))
    assert [records[i].failure for i in range(3)] == ["", "", "RuntimeError: cannot do that"]
    assert records[2].steps == 0
    assert math.isfinite(records[2].started_s)


def test_an_error_without_words():
    class Mute(Counting):
        def start(self, work):
            raise MemoryError

    _, records, _ = run(Mute(KIND), order([2]))
    assert records[0].failure == "MemoryError"


def test_a_stopped_run_leaves_the_rest():
    tally, records, _ = run(Counting(KIND), order([2, 2]), word=STOP)
    assert (tally.steps, records) == (1, {})  # it stops at the next step boundary


def test_an_idle_server_sleeps_until_somebody_comes():
    read, write = os.pipe()
    made, outbox = order([2]), Kept()
    loop = server.Loop(Counting(KIND), Scheduler(FCFS()), server.entries_of(made), Inbox(read), outbox)

    def come():
        time.sleep(0.05)
        os.write(write, pack_index(0))
        time.sleep(0.05)
        os.write(write, pack_index(NO_MORE))

    thread = threading.Thread(target=come)
    thread.start()
    loop.run(time.monotonic())
    thread.join()
    assert loop.tally.asleep_s >= 0.08
    assert loop.tally.wakes == 2
    assert outbox.sent == 1
    report = loop.tally.report()
    assert report["overhead_per_step_s"] * report["steps"] == pytest.approx(
        report["span_s"] - report["busy_s"] - report["asleep_s"] - report["reporting_s"]
    )
    os.close(read)
    os.close(write)


def test_long_services_report_now_and_then(monkeypatch):
    monkeypatch.setattr(server, "REPORT_EVERY_S", 0.005)
    _, _, outbox = run(Counting(KIND, step_s=2e-3), order([10]))
    assert outbox.sent >= 3


def ends():
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


class Serving:
    """`server.main` in a thread, with the other ends of its connections."""

    def __init__(self):
        self.control, control = ends()
        self.records, records = ends()
        read, self.arrivals = os.pipe()
        descriptors = (os.dup(control.fileno()), read, os.dup(records.fileno()))
        control.close()
        records.close()
        self.thread = threading.Thread(target=server.main, args=descriptors)
        self.thread.start()

    def close(self):
        self.control.close()
        os.close(self.arrivals)
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.records.close()


@pytest.fixture
def serving():
    made = Serving()
    yield made
    made.close()


def setup(kind=KIND, **options):
    return {"kind": kind, "threads": 1, "options": options}


def test_a_server_serves_run_after_run(serving):
    serving.control.send(setup(step_s=0.0))
    word, introduction = serving.control.recv()
    assert word == "ready"
    assert introduction == {
        "name": KIND,
        "device": "test bench",
        "emulated": False,
        "factors": ("steps",),
        "versions": {"counting": "1"},
        "leaves_early": False,
        "batching": ("none",),
    }
    for steps in ([2, 3], [1]):
        serving.control.send(order(steps))
        assert serving.control.recv() == ("warm",)
        serving.control.send(time.monotonic())
        for index in range(len(steps)):
            os.write(serving.arrivals, pack_index(index))
        os.write(serving.arrivals, pack_index(NO_MORE))
        found = []
        while not found or found[-1][0] != END:
            found += unpack(serving.records.recv_bytes())
        assert [content.steps for kind, content in found if kind == DONE] == steps
        assert found[-1][1]["steps"] == sum(steps)


def test_a_policy_that_raises_is_a_fault_of_the_run(serving):
    class Broken(Rank):
        name = "broken"

        def rank(self, request, attained):
            raise KeyError("size")

    serving.control.send(setup())
    serving.control.recv()
    serving.control.send(order([1], Broken()))
    assert serving.control.recv() == ("warm",)
    serving.control.send(time.monotonic())
    os.write(serving.arrivals, pack_index(0))
    ((kind, content),) = unpack(serving.records.recv_bytes())
    assert kind == FAULT
    assert content[:2] == ["server", "KeyError: 'size'"]


def test_an_order_that_cannot_be_warmed_is_refused(serving):
    serving.control.send(setup(trouble="raise"))
    serving.control.recv()
    serving.control.send(order([4]))
    word, place, fault, _ = serving.control.recv()
    assert (word, place) == ("refused", "server")
    assert "cannot" in fault


@pytest.mark.parametrize(
    ("kind", "options", "place"),
    [
        (KIND, {"trouble": "build"}, "server"),
        (KIND, {"colour": "red"}, f"engine '{KIND}'"),
        ("emulatd", {}, "engine"),
        ("no.such:Module", {}, "engine 'no.such:Module'"),
        ("tests.live.own_engines:Missing", {}, "engine 'tests.live.own_engines:Missing'"),
    ],
)
def test_an_engine_that_cannot_be_built_is_refused(kind, options, place):
    serving = Serving()
    serving.control.send(setup(kind, **options))
    word, where, *_ = serving.control.recv()
    assert (word, where) == ("refused", place)
    serving.close()


def test_emulated_steps_take_their_time():
    engine = make_engine("emulated", step_s=5e-4)
    job = engine.start(Work({}, 2e-3))
    assert job.remaining == 4
    begin = time.monotonic()
    while job.remaining:
        job.step()
    assert time.monotonic() - begin >= 2e-3
    assert engine.start(Work({"steps": 7}, 2e-3)).remaining == 7
    assert engine.start(Work({}, 1e-6)).remaining == 1
    assert (engine.versions(), engine.emulated) == ({}, True)
    with pytest.raises(InputError, match="step_s"):
        make_engine("emulated", step_s=0.0)


def test_warming_up_touches_every_setting_and_takes_its_time():
    class Noting(Counting):
        seen = ()

        def start(self, work):
            self.seen = (*self.seen, work.levels["steps"])
            return CountingJob(work.levels["steps"], 1e-3)

    engine = Noting(KIND)
    begin = time.monotonic()
    warm_up(engine, [Work({"steps": s}, 1.0) for s in (3, 5)])
    assert set(engine.seen) == {3, 5}
    assert time.monotonic() - begin >= WARM_UP_S
    warm_up(engine, [])
