"""Loops that serve requests together, with engines that only let time pass or misbehave on purpose."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live import draw_schedule, server
from qmodel.live.engine import Work, make_engine
from qmodel.live.order import make_order
from qmodel.live.server import introduction, make_loop
from qmodel.live.wire import NO_MORE, STOP, Inbox, pack_index
from qmodel.policy import FCFS, PS, SJF, Rank, make_policy
from qmodel.scenario import Scenario, System
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import ClipOutput, EarlyExit, FewerSteps, QueueCondition
from qmodel.workload import Deterministic, Discrete, Poisson, RequestClass
from tests.live.test_server import Kept

TAKEN = IterationTime(base=2e-3, per_sequence=1e-3)


@pytest.fixture
def emulated():
    return make_engine("emulated")


def in_batches(policy=None, **system):
    """Dynamic batching: 2 ms and 1 ms a request."""
    one = RequestClass("one", Poisson(100.0), Deterministic(1e-3), priority=0)
    return Scenario((one,), policy or FCFS(), System(batching="dynamic", iteration_time=TAKEN, **system))


def order_of(scenario, engine, seconds=0.4, seed=1):
    schedule = draw_schedule(scenario, seconds, seed)
    return make_order(scenario, schedule, introduction(engine)), schedule


def run(engine, order, indices=None, word=NO_MORE):
    """All requests are there when the run begins."""
    read, write = os.pipe()
    for index in range(len(order.requests)) if indices is None else indices:
        os.write(write, pack_index(index))
    for each in dict.fromkeys((word, NO_MORE)):
        os.write(write, pack_index(each))
    outbox = Kept()
    loop = make_loop(engine, order, Inbox(read), outbox)
    try:
        loop.run(time.monotonic())
    finally:
        loop.close()
        os.close(read)
        os.close(write)
    return loop.tally, {record.index: record for record in outbox.records}


def test_a_batch_takes_all_that_wait_up_to_the_cap(emulated):
    made, _ = order_of(in_batches(max_batch=4), emulated)
    tally, records = run(emulated, made, range(10))
    assert tally.totals == {"batches": 3, "requests": 10}
    ends = sorted({record.left_s for record in records.values()})
    assert len(ends) == 3
    assert all(records[i].service_s >= least for i, least in ((0, 0.006), (5, 0.006), (9, 0.004)))
    assert tally.busy_s == pytest.approx(sum(records[i].service_s for i in (0, 5, 9)))
    assert records[0].delivered_s == records[3].left_s


def test_without_a_cap_all_go_together(emulated):
    made, _ = order_of(in_batches(), emulated)
    tally, _ = run(emulated, made, range(7))
    assert tally.totals == {"batches": 1, "requests": 7}


def test_who_joins_goes_by_rank(emulated):
    scenario = in_batches(SJF(), max_batch=1)
    made, _ = order_of(scenario, emulated)
    for request, size in zip(made.requests, (5.0, 1.0, 3.0), strict=False):
        request.size = size
    _, records = run(emulated, made, range(3))
    assert sorted(records, key=lambda i: records[i].left_s) == [1, 2, 0]


def test_a_batch_waits_for_its_smallest_size_until_nobody_comes(emulated):
    made, _ = order_of(in_batches(min_batch=3, max_batch=4), emulated)
    assert run(emulated, made, range(6))[0].totals == {"batches": 2, "requests": 6}
    assert run(emulated, made, range(6), STOP)[0].totals["batches"] == 1  # ends at the next boundary


def test_a_batch_that_fails_takes_its_requests_along(emulated, monkeypatch):
    class Broken:
        remaining, tokens = 1, 0

        def step(self):
            raise RuntimeError("no\nmore")

    monkeypatch.setattr(type(emulated), "start_batch", lambda *_: Broken())
    made, _ = order_of(in_batches(max_batch=2), emulated)
    _, records = run(emulated, made, range(3))
    assert {record.failure for record in records.values()} == {"RuntimeError: no more"}


def test_long_batches_report_now_and_then(emulated, monkeypatch):
    monkeypatch.setattr(server, "REPORT_EVERY_S", 0.0)
    made, _ = order_of(in_batches(max_batch=1), emulated)
    assert len(run(emulated, made, range(3))[1]) == 3


def test_a_rank_that_is_no_number_ends_the_run(emulated):
    class NoNumber(Rank):
        name = "no-number"

        def rank(self, request, attained):
            return float("nan")

    made, _ = order_of(in_batches(NoNumber(), max_batch=1), emulated)
    with pytest.raises(InputError, match="not a number"):
        run(emulated, made, [0])


def test_iterations_serve_many_at_once(emulated, in_lengths):
    made, schedule = order_of(in_lengths(), emulated)
    assert len(schedule) > 4
    tally, records = run(emulated, made)
    assert len(records) == len(schedule)
    for record in records.values():
        assert len(record.token_times_s) == 6
        assert (np.diff(record.token_times_s) > 0).all()
        assert record.token_times_s[-1] == record.delivered_s == record.left_s
        assert record.attained_s == pytest.approx(schedule.size_s[record.index])
    assert tally.totals["most_running"] == 4
    assert tally.totals["prefill_tokens"] == 20 * len(schedule)
    cut = tally.totals["sequences"] - 6 * len(schedule)  # prompts read in two pieces: 64 tokens are 3.2 of them
    assert 1 <= cut <= len(schedule) / 3


def test_context_is_what_decoding_requests_hold(emulated, in_lengths):
    made, _ = order_of(in_lengths(), emulated)
    tally, _ = run(emulated, made, [0])
    assert tally.totals == {
        "sequences": 6,
        "context_tokens": sum(range(21, 26)),
        "prefill_tokens": 20,
        "query_keys": 20 * 20 + sum(range(21, 26)),
        "most_running": 1,
        "preemptions": 0,
        "evictions": 0,
    }


def test_fewer_tokens_while_the_queue_is_long(emulated, in_lengths):
    clip = ClipOutput(max_tokens=2, when=QueueCondition(above=2))
    made, schedule = order_of(in_lengths(transforms=[clip]), emulated)
    assert (schedule.output_tokens_long == 2).all()
    _, records = run(emulated, made, range(4))
    assert [len(records[i].token_times_s) for i in range(4)] == [2, 2, 2, 2]
    assert all(records[i].reduced for i in range(4))
    _, alone = run(emulated, order_of(in_lengths(transforms=[clip]), emulated)[0], [0])
    assert len(alone[0].token_times_s) == 6


class Failing:
    """A session whose engine fails at one iteration, or computes nobody."""

    def __init__(self, session, at):
        self.session, self.at, self.count, self.dropped = session, at, 0, []

    def add(self, sequence, work):
        if work.seed == 3:
            raise ValueError("too long")
        self.session.add(sequence, work)

    def iterate(self, now_s):
        self.count += 1
        if self.at is None:
            return []
        if self.count == self.at:
            self.session._scheduler.took(self.session._scheduler.choose(64))
            raise RuntimeError("kernel died")
        return self.session.iterate(now_s)

    def drop(self, sequence):
        self.dropped.append(sequence.entry.index)

    def close(self):
        pass


def failing(monkeypatch, emulated, at):
    opened = type(emulated).open
    monkeypatch.setattr(type(emulated), "open", lambda self, *given: Failing(opened(self, *given), at))


def test_an_iteration_that_fails_takes_those_who_ran(emulated, in_lengths, monkeypatch):
    failing(monkeypatch, emulated, at=2)
    made, _ = order_of(in_lengths(system={"max_batch": 2}), emulated)
    _, records = run(emulated, made, range(5))
    failures = {index: record.failure for index, record in records.items()}
    assert failures[3] == "ValueError: too long"
    assert [failures[i] for i in (0, 1)] == ["RuntimeError: kernel died"] * 2
    assert [failures[i] for i in (2, 4)] == ["", ""]


def test_an_engine_that_computes_nobody_ends_the_run(emulated, in_lengths, monkeypatch):
    failing(monkeypatch, emulated, at=None)
    made, _ = order_of(in_lengths(), emulated)
    with pytest.raises(InputError, match="kv_capacity_tokens"):
        run(emulated, made, [0])


def test_nobody_comes(emulated, in_lengths):
    made, _ = order_of(in_lengths(), emulated)
    assert run(emulated, made, [])[1] == {}
    assert run(emulated, made, [], STOP)[0].steps == 0


REFUSED = [
    ({"policy": PS()}, "'ps'"),
    ({"policy": make_policy("round-robin")}, "round-robin"),
    ({"system": {"iteration_time": None}}, "iteration_time"),
    ({"engine": Engine(max_batched_tokens=64, prefill="first")}, "prefill"),
    ({"engine": Engine(max_batched_tokens=64, lookahead="reserve")}, "lookahead"),
    ({"engine": Engine(max_batched_tokens=64, speculative_tokens=2)}, "speculative_tokens"),
    ({"engine": Engine(max_batched_tokens=64, eviction="swap", swap_tokens_per_s=1e6)}, "eviction"),
    ({"system": {"kv_capacity_tokens": 4096}}, "kv_capacity_tokens"),
    ({"transforms": [EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5))]}, "EarlyExit"),
    ({"system": {"buffer": 5}}, "buffer"),
]


@pytest.mark.parametrize(("given", "word"), REFUSED, ids=[word for _, word in REFUSED])
def test_what_continuous_batching_refuses(given, word, in_lengths, emulated):
    with pytest.raises(InputError, match=word):
        order_of(in_lengths(**given), emulated)


def test_memory_of_a_real_engine_is_taken_chunk_by_chunk(in_lengths, emulated):
    real = introduction(emulated) | {"emulated": False, "factors": ("input_tokens", "output_tokens")}
    small = {"kv_capacity_tokens": 4096}
    scenario = in_lengths(system=small)
    with pytest.raises(InputError, match="whole_prompt"):
        make_order(scenario, draw_schedule(scenario, 0.2, 1), real)
    chunked = Engine(max_batched_tokens=64, whole_prompt=False)
    made = make_order(in_lengths(system=small, engine=chunked), draw_schedule(scenario, 0.2, 1), real)
    assert (made.batches.kv_capacity_tokens, made.batches.longest, made.batches.max_batch) == (4096, 26, 4)
    assert not (made.batches.drops or made.batches.shares)
    assert made.batches.all_tokens == 32 * len(made.requests)  # 26 tokens take two blocks


def test_who_is_displaced_gives_its_memory_up_where_there_is_a_bound(in_lengths, emulated):
    real = introduction(emulated) | {"emulated": False, "factors": ("input_tokens", "output_tokens")}
    chunked = Engine(max_batched_tokens=64, whole_prompt=False)
    scenario = in_lengths(make_policy("srpt"), system={"kv_capacity_tokens": 4 * 32}, engine=chunked)
    made = make_order(scenario, draw_schedule(scenario, 0.2, 1), real)
    assert made.batches.drops and made.batches.shares
    small = in_lengths(make_policy("srpt"), system={"kv_capacity_tokens": 4 * 32 - 1}, engine=chunked)
    with pytest.raises(InputError, match="whole batch of the longest requests, 128"):
        make_order(small, draw_schedule(small, 0.2, 1), real)


def test_a_share_of_each_prompt_is_found(in_lengths, emulated):
    scenario = in_lengths()
    shared = replace(scenario, classes=tuple(replace(each, prefix_hit=0.5) for each in scenario.classes))
    schedule = draw_schedule(shared, 0.5, 1)
    made = make_order(shared, schedule, introduction(emulated))
    assert made.batches.prefixes == (10,) * len(schedule) and made.batches.shares
    tally, _ = run(emulated, made)
    assert tally.totals["prefill_tokens"] == 10 * len(schedule)


def test_lengths_are_needed(in_lengths, emulated):
    scenario = in_lengths()
    lame = replace(scenario.classes[0], factors={}, service=Deterministic(1.0))
    with pytest.raises(InputError, match="input_tokens"):
        order_of(replace(scenario, classes=(lame,)), emulated)


def test_what_dynamic_batching_refuses(emulated, model):
    def asked(**given):
        return order_of(in_batches(**given), emulated)

    with pytest.raises(InputError, match="who joins"):
        asked(policy=PS())
    with pytest.raises(InputError, match="bins"):
        asked(bins=3, max_batch=4, min_batch=4)
    scenario = in_batches(max_batch=4)
    with pytest.raises(InputError, match="transform"):
        order_of(scenario.with_transforms(FewerSteps(fraction=0.5)), emulated)
    with pytest.raises(InputError, match="iteration_time"):
        order_of(replace(scenario, system=System(batching="dynamic")), emulated)


@pytest.mark.parametrize(
    ("factors", "word"),
    [
        ({"steps": Discrete((2.0, 4.0), (0.5, 0.5))}, "steps"),
        ({"steps": Deterministic(4), "batch_size": Deterministic(2)}, "batch_size"),
    ],
)
def test_a_real_batch_has_one_number_of_steps(factors, word, emulated, model):
    real = introduction(emulated) | {"emulated": False, "factors": ("steps", "batch_size")}
    one = RequestClass("one", Poisson(100.0), factors=factors)
    scenario = Scenario((one,), FCFS(), System(batching="dynamic", iteration_time=TAKEN, model=model))
    with pytest.raises(InputError, match=word):
        make_order(scenario, draw_schedule(scenario, 0.2, 1), real)


def test_an_engine_that_serves_one_at_a_time(in_lengths):
    counting = make_engine("tests.live.own_engines:Counting")
    with pytest.raises(InputError, match="continuous"):
        order_of(in_lengths(), counting)
    made, _ = order_of(in_lengths(), make_engine("emulated"))
    with pytest.raises(InputError, match="continuous"):
        make_loop(counting, made, None, None)


def test_an_emulated_batch_takes_the_time_of_its_number(emulated):
    made, _ = order_of(in_batches(max_batch=4), emulated)
    job = emulated.start_batch(made.works[:3], made.batches)
    begin = time.monotonic()
    job.step()
    assert time.monotonic() - begin >= TAKEN.seconds(3)
    assert emulated.start(Work({}, 0.001)).remaining == 1
