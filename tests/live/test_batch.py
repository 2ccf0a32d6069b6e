"""The batch without a clock against the compiled iteration-level simulation, which was written separately."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.batch import Batch, Bounds, Sequence, bounds_of
from qmodel.policy import FCFS, PS, Rank, make_policy
from qmodel.policy.base import Request
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import TokenWorth, prompt_token_s
from qmodel.simulation.iterations.replaying import replay_run
from qmodel.workload import Exponential, Poisson, RequestClass

TIME = IterationTime(0.02, 0.001, 1e-6, 2e-5, 1e-7)
CLASSES = [RequestClass(f"c{i}", Poisson(1), Exponential(1), priority=i) for i in range(2)]


def traffic(n, seed=1):
    rng = np.random.default_rng(seed)
    return (
        np.cumsum(rng.exponential(0.25, n)), rng.integers(10, 600, n), rng.geometric(1 / 40, n),
        rng.integers(0, 2, n),
    )  # fmt: skip


def by_batch(engine, kv, policy, arrivals, inputs, outputs, priorities, max_batch=8):
    bounds = bounds_of(engine, max_batch, kv)
    chunk, context = bounds.max_tokens, float(np.mean(inputs)) + 0.5 * float(np.mean(outputs))
    each = TokenWorth(prompt_token_s(TIME, chunk, context), TIME.seconds(1, context))
    batch = Batch(TIME, policy, bounds, each, prefill_first=engine.prefill == "first")
    first, done = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan)
    upcoming, now = 0, 0.0
    while True:
        while upcoming < len(arrivals) and arrivals[upcoming] <= now:
            prompt, output = int(inputs[upcoming]), int(outputs[upcoming])
            size = each.size(prompt, output)
            request = Request(arrivals[upcoming], size, size, priority=int(priorities[upcoming]))
            batch.add(Sequence(upcoming, request, prompt, output))
            upcoming += 1
        if batch.idle:
            if upcoming == len(arrivals):
                break
            now = arrivals[upcoming]
            continue
        iteration = batch.begin()
        assert len(batch.running) <= max_batch
        assert iteration.tokens <= engine.max_batched_tokens
        assert kv is None or batch.used <= kv // engine.kv_block_tokens
        now += iteration.seconds
        for one in batch.finish(iteration):
            if one.generated == 1:
                first[one.number] = now
            if one.gone:
                done[one.number] = now
    assert batch.used == 0
    assert batch.waiting == 0
    return first, done, batch.preemptions


@pytest.mark.parametrize("prefill", ["mixed", "first"])
@pytest.mark.parametrize(("kv", "caching"), [(None, True), (3000, True), (3000, False)])
@pytest.mark.parametrize("policy", ["fcfs", "np-priority", "pr-priority", "srpt", "sjf", "las", "lcfs"])
def test_every_token_time_is_the_simulations(policy, kv, caching, prefill):
    arrivals, inputs, outputs, priorities = traffic(250)
    engine = Engine(max_batched_tokens=256, prefill=prefill, prefix_caching=caching)
    first, done, preemptions = by_batch(engine, kv, make_policy(policy), arrivals, inputs, outputs, priorities)
    simulated = replay_run(
        TIME, arrivals, inputs, outputs, engine=engine, max_batch=8, kv_capacity_tokens=kv,
        policy=make_policy(policy), classes=CLASSES, class_index=priorities, tell=None,
    ).outcome  # fmt: skip
    np.testing.assert_allclose(first, simulated.first_s, rtol=0, atol=1e-9)
    np.testing.assert_allclose(done, simulated.done_s, rtol=0, atol=1e-9)
    assert preemptions == simulated.preemptions.sum()


def small(policy=None, max_batch=2, blocks=None, **more):
    return Batch(
        IterationTime(1.0), policy or FCFS(), Bounds(max_batch, 100, blocks, 16), TokenWorth(0.01, 1.0), **more
    )


def one(number, prompt=10, output=3, **more):
    size = 0.01 * prompt + output
    return Sequence(number, Request(float(number), size, size), prompt, output, **more)


def test_a_prefix_is_not_computed():
    batch = small()
    batch.add(one(0, prompt=50, prefix=40))
    assert batch.begin().tokens == 10


def test_who_leaves_frees_its_slot_and_its_memory_at_once():
    batch = small(max_batch=1, blocks=4)
    running, waiting, last = one(0), one(1), one(2)
    for each in (running, waiting, last):
        batch.add(each)
    iteration = batch.begin()
    assert batch.running == [running]
    assert batch.memory_used == 0.25
    batch.remove(running)
    batch.remove(running)  # twice is once
    batch.remove(waiting)
    assert batch.finish(iteration) == []
    assert (batch.used, batch.waiting) == (0, 1)
    batch.begin()
    assert batch.running == [last]


def test_one_that_leaves_in_the_middle_of_decoding_emits_nothing():
    batch = small()
    batch.add(one(0))
    batch.finish(batch.begin())
    iteration = batch.begin()
    batch.remove(iteration.decoding[0])
    assert batch.finish(iteration) == []
    assert batch.idle


def test_resuming_costs_what_it_costs():
    batch = small(make_policy("srpt"), max_batch=1, resume_s=0.5)
    long, short = one(0, output=9), one(1, output=1)
    batch.add(long)
    batch.finish(batch.begin())
    batch.add(short)
    iteration = batch.begin()
    assert batch.running == [short]
    assert iteration.seconds == 1.0
    batch.finish(iteration)
    assert batch.begin().seconds == 1.5
    assert (long.preemptions, batch.preemptions) == (1, 1)


def test_what_can_never_fit():
    batch = small(blocks=2)
    assert batch.fits(30, 3)
    assert not batch.fits(31, 3)
    assert small().fits(10**9, 10**9)


class NotANumber(Rank):
    def rank(self, request, attained):
        return float("nan")


def test_what_is_refused():
    with pytest.raises(InputError, match="not a number"):
        small(NotANumber()).add(one(0))
    with pytest.raises(InputError, match="shares a server among all"):
        small(PS())
    with pytest.raises(InputError, match="ranks change while requests wait"):
        small(make_policy("accumulating", None, rates=(1.0, 2.0)))
    for engine in (
        Engine(prefill="separate"), Engine(eviction="swap", swap_tokens_per_s=1e6), Engine(lookahead="reserve"),
        Engine(speculative_tokens=2, acceptance=0.5),
    ):  # fmt: skip
        with pytest.raises(InputError, match="is not served live"):
            bounds_of(engine, 4, None)
