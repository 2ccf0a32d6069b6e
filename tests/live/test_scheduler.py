"""The scheduler against a reference that ranks everybody afresh at every step."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.live.scheduler import Entry, Scheduler, holds
from qmodel.policy import PRESETS, NonPreemptivePriority, PreemptivePriority, Rank, Request, make_policy
from qmodel.scenario import Scenario
from qmodel.service.transform import QueueCondition
from qmodel.workload import Lognormal, Poisson, RequestClass


class Oldest(Rank):
    """A user's policy that is not monotone: least attained first, until half of the size is done."""

    preemptive = True

    def rank(self, request, attained):
        return attained if attained < request.size / 2 else -request.size


class Reference:
    """Everybody present in a list; the rules of the module's docstring, spelled out."""

    def __init__(self, policy, condition=None):
        self.policy, self.condition, self.there, self.serving, self.long = policy, condition, [], None, False
        self.got, self.level, self.size = {}, {}, {}
        self.cycle, self.over = [], None

    def begin(self, entry):
        if self.condition:
            n = len(self.there)
            below = self.condition.below
            still = self.long and below is not None and n >= below
            self.long = n > self.condition.above or still
            if self.long and entry.size_long is not None:
                entry.request.predicted_size *= entry.size_long / entry.request.size
                entry.request.size = entry.size_long
                entry.reduced = True

    def add(self, entry):
        least = min((self.level[e.index] for e in self.there), default=0.0)
        self.there.append(entry)
        self.cycle.append(entry)
        self.got[entry.index], self.level[entry.index] = 0.0, least
        if self.policy.sharing:
            entry.started = True
            self.begin(entry)

    def rank(self, entry, now):
        if self.policy.sharing:
            return self.level[entry.index]
        if self.policy.name == "round-robin":
            return self.cycle.index(entry)
        return self.policy.rank_at(entry.request, self.got[entry.index], now)

    def next(self, now):
        if self.over:
            self.cycle.remove(self.over)
            self.cycle.append(self.over)
            self.over = None
        free = self.serving is None or self.policy.preemptive or self.policy.sharing
        if free and self.there:
            self.serving = min(self.there, key=lambda e: (self.rank(e, now), e.request.arrival_s, e.index))
        if self.serving is not None and not self.serving.started:
            self.serving.started = True
            self.begin(self.serving)
        return self.serving

    def credit(self, entry, attained):
        weight = entry.request.weight if self.policy.sharing == "weighted" else 1.0
        self.level[entry.index] += (attained - self.got[entry.index]) / weight
        if self.policy.name == "round-robin" and self.policy.turns(attained) > self.policy.turns(
            self.got[entry.index]
        ):
            self.over = entry
        self.got[entry.index] = attained

    def finish(self, entry):
        self.there.remove(entry)
        self.cycle.remove(entry)
        self.serving = None


def serve(scheduler, entries, steps):
    """Serve in steps of one second; returns (second, index) of every step."""
    now, coming, done, trace = 0.0, list(entries), dict.fromkeys(range(len(entries)), 0), []
    present = 0
    while coming or present:
        while coming and coming[0].request.arrival_s <= now:
            scheduler.add(coming.pop(0))
            present += 1
        entry = scheduler.next(now)
        if entry is None:
            now = coming[0].request.arrival_s
            continue
        trace.append((now, entry.index))
        now += 1.0
        done[entry.index] += 1
        if done[entry.index] == steps[entry.index][entry.reduced]:
            scheduler.finish(entry)
            present -= 1
        else:
            scheduler.credit(entry, entry.request.size * done[entry.index] / steps[entry.index][entry.reduced])
    return trace


def requests(seed, n=60, rate=0.35):
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    steps = rng.integers(1, 6, n)
    size = steps * rng.uniform(0.5, 2.0, n).round(2)
    less = np.maximum(1, steps // 2)
    entries = [
        Entry(
            i,
            Request(
                float(arrivals[i]), float(size[i]), float(size[i] * rng.exponential()), int(rng.integers(3)),
                float(rng.integers(1, 4)), float(arrivals[i] + rng.uniform(1, 20)), float(rng.random()),
            ),
            float(size[i] * less[i] / steps[i]),
        )
        for i in range(n)
    ]  # fmt: skip
    for entry in entries:
        entry.request.class_name = f"p{entry.request.priority}w{entry.request.weight:g}"
    return entries, [(int(s), int(k)) for s, k in zip(steps, less, strict=True)]


CLASSES = [
    RequestClass(f"p{p}w{w}", Poisson(1.0), Lognormal(1.0 + p, float(w)), priority=p, weight=float(w))
    for p in range(3)
    for w in (1, 2, 3)
]
OPTIONS = {"round-robin": {"quantum": 1.5}}
PLAIN = [*(make_policy(name, **OPTIONS.get(name, {})) for name in PRESETS), Oldest()]
NESTED = [NonPreemptivePriority(within="sjf"), PreemptivePriority(within="srpt")]
POLICIES = [Scenario(CLASSES, policy).policy for policy in (*PLAIN, *NESTED)]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name or "own")
@pytest.mark.parametrize("condition", [None, QueueCondition(2), QueueCondition(4, below=2)], ids=str)
def test_every_policy_serves_as_the_reference_does(policy, condition):
    for seed in range(6):
        entries, steps = requests(seed)
        ours = serve(Scheduler(policy, condition), copy.deepcopy(entries), steps)
        assert ours == serve(Reference(policy, condition), copy.deepcopy(entries), steps)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(POLICIES), st.floats(0.1, 2.0))
def test_work_is_conserved(seed, policy, rate):
    """Every step of every request is done exactly once, and the server never rests while somebody is there."""
    entries, steps = requests(seed, n=30, rate=rate)
    trace = serve(Scheduler(policy), entries, steps)
    assert len(trace) == sum(full for full, _ in steps)
    arrivals = sorted(entry.request.arrival_s for entry in entries)
    for (before, _), (now, _) in itertools.pairwise(trace):
        assert now == before + 1.0 or now in arrivals


def test_a_condition_without_a_smaller_size_changes_nothing():
    entry = Entry(0, Request(0.0, 3.0, 3.0))
    scheduler = Scheduler(make_policy("fcfs"), QueueCondition(0))
    scheduler.add(entry)
    assert scheduler.next() is entry
    assert (entry.reduced, scheduler.long_queue) == (False, True)


def test_reduction_is_seen_by_the_policy():
    """SRPT: a request of 4 that starts reduced to 1 is not preempted by a newcomer of 2."""
    first, second = Entry(0, Request(0.0, 4.0, 8.0), size_long=1.0), Entry(1, Request(1.0, 2.0, 2.0), size_long=0.5)
    scheduler = Scheduler(make_policy("srpt"), QueueCondition(0))
    scheduler.add(first)
    assert scheduler.next() is first
    assert (first.request.size, first.request.predicted_size) == (1.0, 2.0)
    scheduler.add(second)
    assert scheduler.next() is first


def test_newcomers_start_level_with_the_least_served():
    """PS: after 3 steps alone the first request is at level 3; the newcomer starts there and they alternate."""
    first, second = Entry(0, Request(0.0, 9.0, 9.0)), Entry(1, Request(2.5, 9.0, 9.0))
    trace = serve(Scheduler(make_policy("ps")), [first, second], [(9, 9), (9, 9)])
    assert [index for _, index in trace[:9]] == [0, 0, 0, 0, 1, 0, 1, 0, 1]


def test_weights_share_in_proportion():
    """DPS, weights 3 and 1: three of every four steps go to the first class."""
    entries = [Entry(0, Request(0.0, 400.0, 400.0, weight=3.0)), Entry(1, Request(0.0, 400.0, 400.0, weight=1.0))]
    trace = serve(Scheduler(make_policy("dps")), entries, [(400, 400), (400, 400)])
    assert sum(index == 0 for _, index in trace[:400]) == 300


def test_waiting_and_present():
    scheduler = Scheduler(make_policy("fcfs"))
    entries = [Entry(i, Request(float(i), 1.0, 1.0)) for i in range(3)]
    for entry in entries:
        scheduler.add(entry)
    assert scheduler.next() is entries[0]
    assert {entry.index for entry in scheduler.waiting()} == {1, 2}
    assert scheduler.present == 3
    scheduler.finish(entries[0])
    assert scheduler.present == 2


def test_a_rank_that_is_not_a_number():
    class Confused(Rank):
        def rank(self, request, attained):
            return math.nan

    with pytest.raises(InputError, match="rank that is not a number"):
        Scheduler(Confused()).add(Entry(0, Request(0.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    ("present", "before", "expected"),
    [(3, False, False), (4, False, True), (3, True, True), (2, True, True), (1, True, False), (2, False, False)],
)
def test_hysteresis(present, before, expected):
    assert holds(QueueCondition(3, below=2), present, before) is expected


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name or "own")
@pytest.mark.parametrize("condition", [None, QueueCondition(3)], ids=str)
def test_the_simulator_replays_the_same_decisions(policy, condition):
    """Two programs, one rule: completion times in virtual time agree with the step-grained replay."""
    from qmodel.service.transform import FewerSteps
    from qmodel.simulation import replay

    entries, steps = requests(5, n=300)
    rows = [entry.request for entry in entries]
    names = [each.name for each in CLASSES]
    rows_by_class = [names.index(r.class_name) for r in rows]
    if policy.name == "edf":
        pytest.skip("deadlines are the classes' in a replay")
    if policy.timed:
        pytest.skip("not replayed in steps")
    transforms = (FewerSteps(when=condition, fraction=0.5),) if condition else ()
    outcome = replay(
        Scenario(CLASSES, policy, transforms=transforms),
        arrival_s=[r.arrival_s for r in rows],
        service_s=[float(full) for full, _ in steps],
        service_long_s=[float(less) for _, less in steps],
        class_index=rows_by_class,
        size_s=[r.size for r in rows],
        size_long_s=[entry.size_long for entry in entries],
        predicted_s=[r.predicted_size for r in rows],
        lottery=[r.lottery for r in rows],
        grain_s=1.0,
        tell=None,
    )
    ends = {index: now + 1.0 for now, index in serve(Scheduler(policy, condition), entries, steps)}
    assert [ends[i] for i in range(len(rows))] == pytest.approx(outcome.done_s.tolist(), abs=1e-6)
