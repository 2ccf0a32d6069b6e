"""Who joins a batch: against qmodel's iteration-level simulation, by hand, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.live.batch_scheduler import BatchScheduler
from qmodel.live.engines.emulated import seconds, within
from qmodel.live.scheduler import Entry
from qmodel.live.sequence import Sequence
from qmodel.policy import FCFS, PS, SRPT, Rank, Request, make_policy
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.service.token_worth import TokenWorth, token_worth
from qmodel.service.transform import QueueCondition
from qmodel.simulation.iterations.replaying import replay_by
from qmodel.simulation.iterations.rules import Rules
from qmodel.workload import Deterministic, Poisson, RequestClass

TAKEN = IterationTime(0.01, per_sequence=5e-4, per_context_token=2e-6, per_prefill_token=1e-4, per_query_key=1e-7)
BUDGET, CAP, REQUESTS = 48, 4, 150


def classes():
    made = {"urgent": (0, 0.3), "normal": (1, 2.0)}
    factors = {"input_tokens": Deterministic(1.0), "output_tokens": Deterministic(1.0)}
    return tuple(
        RequestClass(name, Poisson(1.0), factors=factors, priority=priority, slo={"response_s": limit})
        for name, (priority, limit) in made.items()
    )


@pytest.fixture(scope="module")
def requests():
    rng = np.random.default_rng(5)
    return {
        "arrival_s": np.cumsum(rng.exponential(0.025, REQUESTS)),
        "input_tokens": rng.integers(4, 90, REQUESTS),
        "output_tokens": rng.integers(1, 20, REQUESTS),
        "class_index": rng.integers(0, 2, REQUESTS),
    }


def served(policy, requests, worth):
    """First and last token of each request, in virtual time."""
    scheduler = BatchScheduler(policy, CAP, worth)
    sequences = []
    for i, (arrival, prompt, output, which) in enumerate(zip(*requests.values(), strict=True)):
        size, each = worth.size(prompt, output), classes()[which]
        request = Request(arrival, size, size, each.priority, 1.0, arrival + each.slo["response_s"])
        sequences.append(Sequence(Entry(i, request), int(prompt), int(output)))
    first, last = np.full(REQUESTS, math.nan), np.full(REQUESTS, math.nan)
    now, coming = 0.0, 0
    while coming < REQUESTS or scheduler.present:
        if not scheduler.present:
            now = max(now, requests["arrival_s"][coming])
        while coming < REQUESTS and requests["arrival_s"][coming] <= now:
            scheduler.add(sequences[coming])
            coming += 1
        computed = within(scheduler.choose(BUDGET, now), BUDGET)
        scheduler.took([sequence for sequence, _ in computed])
        now += seconds(TAKEN, computed)
        for sequence, tokens in computed:
            index = sequence.entry.index
            if sequence.advance(tokens) and sequence.generated == 1:
                first[index] = now
            if sequence.generated == sequence.output:
                scheduler.finish(sequence)
                last[index] = now
    return first, last


@pytest.mark.parametrize(
    "name", ["fcfs", "lcfs", "np-priority", "pr-priority", "sjf", "psjf", "srpt", "sprpt", "las", "mlfq", "edf"]
)
def test_the_same_tokens_at_the_same_times_as_the_simulation(name, requests):
    policy = make_policy(name) if name != "mlfq" else make_policy(name, thresholds=(0.05, 0.1, 0.15))
    rules = Rules(TAKEN, Engine(max_batched_tokens=BUDGET), CAP)
    context = float(requests["input_tokens"].mean() + 0.5 * requests["output_tokens"].mean())
    worth = TokenWorth(*rules.alone_s(context))
    first, last = served(policy, requests, worth)
    expected = replay_by(
        rules, policy, classes(), requests["arrival_s"], requests["input_tokens"], requests["output_tokens"],
        class_index=requests["class_index"], tell=None,
    ).outcome  # fmt: skip
    np.testing.assert_allclose(last, expected.done_s, rtol=1e-9)
    np.testing.assert_allclose(first, expected.first_s, rtol=1e-9)


def test_policies_differ_on_these_requests(requests):
    worth = TokenWorth(1e-4, 0.01)
    ends = {name: served(make_policy(name), requests, worth)[1] for name in ("fcfs", "srpt", "lcfs")}
    means = {name: (end - requests["arrival_s"]).mean() for name, end in ends.items()}
    assert means["srpt"] < 0.9 * means["fcfs"]
    assert means["lcfs"] != means["fcfs"]


def test_worth_is_the_unit_of_the_simulation(in_lengths):
    scenario = in_lengths()
    rules = Rules(scenario.system.iteration_time, scenario.system.engine, scenario.system.max_batch)
    worth = token_worth(scenario)
    assert (worth.prompt_s, worth.output_s) == pytest.approx(rules.alone_s(20 + 0.5 * 6), rel=1e-12)


def sequence(index, prompt=10, output=4, output_long=None, arrival=0.0, size=0.1):
    return Sequence(Entry(index, Request(arrival, size, size)), prompt, output, output_long)


def test_who_was_offered_and_not_taken_keeps_its_place():
    scheduler = BatchScheduler(FCFS(), 4, TokenWorth(1e-4, 0.01))
    first, second, third = (sequence(i) for i in range(3))
    for each in (third, first, second):
        scheduler.add(each)
    assert scheduler.choose(25) == [first, second, third]
    assert scheduler.took([first]) == [first]
    assert (scheduler.waiting, scheduler.running) == (2, [first])
    first.advance(10)
    assert scheduler.choose(25) == [first, second, third]
    assert scheduler.took([first, second]) == [second]


def test_an_evicted_request_computes_anew_what_it_had():
    scheduler = BatchScheduler(FCFS(), 4, TokenWorth(1e-4, 0.01))
    one = sequence(0)
    scheduler.add(one)
    scheduler.took(scheduler.choose(100))
    assert one.advance(10)
    assert one.advance(1)
    assert one.decoding
    scheduler.evicted(one)
    assert (one.pending, one.generated, scheduler.waiting, scheduler.present) == (12, 2, 1, 1)
    assert scheduler.choose(100) == [one]
    assert scheduler.took([one]) == []


def test_fewer_tokens_while_the_queue_is_long():
    scheduler = BatchScheduler(SRPT(), 2, TokenWorth(1e-3, 0.01), QueueCondition(above=2))
    sequences = [sequence(i, output=8, output_long=2, size=0.09) for i in range(3)]
    for each in sequences:
        scheduler.add(each)
    scheduler.took(scheduler.choose(100))
    assert [each.output for each in sequences] == [2, 2, 8]
    assert [each.entry.reduced for each in sequences] == [True, True, False]
    assert sequences[0].entry.request.size == pytest.approx(0.03)
    assert sequences[0].entry.request.predicted_size == pytest.approx(0.03)


def test_ranks_that_change_with_the_time_are_asked_for_again():
    class Aging(Rank):
        name, timed = "aging", True

        def rank_at(self, request, attained, now_s):
            return request.size - now_s * (request.arrival_s == 1.0)

    scheduler = BatchScheduler(Aging(), 1, TokenWorth(1e-4, 0.01))
    small, ageing = sequence(0, size=0.1), sequence(1, size=0.5, arrival=1.0)
    scheduler.add(small)
    scheduler.add(ageing)
    assert scheduler.choose(10, now_s=0.2) == [small]
    scheduler.took([])
    assert scheduler.choose(10, now_s=0.6) == [ageing]


def test_what_does_not_say_who_joins_a_batch():
    for policy in (PS(), make_policy("round-robin")):
        with pytest.raises(InputError, match=policy.name):
            BatchScheduler(policy, 4, TokenWorth(1e-4, 0.01))

    class NoNumber(Rank):
        name = "no-number"

        def rank(self, request, attained):
            return math.nan

    with pytest.raises(InputError, match="not a number"):
        BatchScheduler(NoNumber(), 4, TokenWorth(1e-4, 0.01)).add(sequence(0))


def test_worth_needs_lengths_and_an_iteration_time(in_lengths, in_steps):
    with pytest.raises(InputError, match="iteration_time"):
        token_worth(in_steps())
