"""Class first, then another order: degenerate cases, exact limits, simulation, and the simulator itself."""

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import (
    SJF,
    AccumulatingPriority,
    NonPreemptivePriority,
    PreemptivePriority,
    Rank,
    make_policy,
)
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.accumulating_priority import mean_waits
from qmodel.workload import Deterministic, Exponential, Gamma, Lognormal, Mixture, PredictedSize
from tests.theory import queues
from tests.theory.scenarios import means, request_class, several

NOISY = PredictedSize("exponential")
INNER = "fcfs lcfs random lcfs-pr sjf psjf srpt las mlfq gittins spjf pspjf sprpt trail".split()
UNINTERRUPTED = {
    "lcfs-pr": "fcfs",
    "psjf": "sjf",
    "srpt": "sjf",
    "las": "fcfs",
    "mlfq": "fcfs",
    "gittins": "fcfs",
} | dict.fromkeys(("pspjf", "sprpt", "trail"), "spjf")


def one_class(policy):
    law = Mixture((0.5, 0.5), (Lognormal(1.0, 2.0), Gamma(0.5, 0.2)))
    return Scenario([request_class("a", 0.9, law, predicted_size=NOISY)], policy=policy)


def classes(policy, **options):
    made = [
        request_class("a", 0.25, Exponential(1.0), 0, predicted_size=NOISY),
        request_class("b", 0.2, Lognormal(1.0, 2.0), 1, predicted_size=NOISY),
        request_class("c", 0.2, Gamma(1.5, 0.5), 1, predicted_size=NOISY),
    ]
    return Scenario(made, policy=policy, **options)


@pytest.mark.parametrize("name", INNER)
def test_one_class_has_the_inner_order(name):
    plain = means(one_class(make_policy(name)))
    assert means(one_class(PreemptivePriority(within=name))) == pytest.approx(plain, rel=1e-9)
    quiet = means(one_class(make_policy(UNINTERRUPTED.get(name, name))))
    assert means(one_class(NonPreemptivePriority(within=name))) == pytest.approx(quiet, rel=1e-9)


@pytest.mark.parametrize("name", ["lcfs", "random"])
@pytest.mark.parametrize("outer", [NonPreemptivePriority, PreemptivePriority])
def test_blind_orders_keep_the_mean_of_the_classes(outer, name):
    assert means(classes(outer(within=name))) == pytest.approx(means(classes(outer())), rel=1e-12)


@pytest.mark.parametrize("name", INNER)
def test_the_first_class_sees_its_own_order_alone(name):
    """Preemptive: the highest priority is a queue of its own."""
    alone = Scenario([request_class("a", 0.25, Exponential(1.0), predicted_size=NOISY)], policy=make_policy(name))
    assert means(classes(PreemptivePriority(within=name)))[0] == pytest.approx(means(alone)[0], rel=1e-9)


class Rest(Rank):
    """SRPT as a user would write it."""

    name, preemptive = "rest", True

    def rank(self, request, attained):
        return request.size - attained


class Shortest(Rank):
    name = "shortest"

    def rank(self, request, attained):
        return request.size


def test_ones_own_order_within_a_class():
    own, preset = (analyse(classes(PreemptivePriority(within=w)), percentiles=()) for w in (Rest(), "srpt"))
    for name in "abc":
        assert own[name].mean_response_s == pytest.approx(preset[name].mean_response_s, rel=2e-3)
    assert any("estimated relative error" in note for note in own.notes) and not preset.notes
    for within in (Rest(), Shortest()):
        quiet = means(classes(NonPreemptivePriority(within=within)))
        assert quiet == pytest.approx(means(classes(NonPreemptivePriority(within="sjf"))), rel=2e-3)


def simulated(policy, turns=lambda job: ()):
    laws = [Exponential(1.0), Lognormal(1.0, 2.0), Gamma(1.5, 0.5)]
    rates, numbers = (0.25, 0.2, 0.2), (0, 1, 1)
    arriving = queues.sized_jobs(
        [(r, law, lambda rng, s: s * rng.exponential(1.0, len(s))) for r, law in zip(rates, laws, strict=True)],
        150_000,
        seed=9,
    )

    def rank(job):
        inner = {
            "srpt": job.size - job.attained,
            "sjf": -1.0 if job.attained > 0 and policy.preemptive else job.size,
            "sprpt": job.predicted - job.attained,
            "lcfs-pr": -job.arrival,
            "mlfq": float(job.attained >= 1.0),
        }[policy.inner.name]
        return numbers[job.number], inner

    served = queues.rank_queue(arriving, rank, policy.preemptive, turns)
    return [queues.Estimate.of([j.done - j.arrival for j in served if j.number == k]) for k in range(3)]


@pytest.mark.parametrize(
    ("policy", "turns"),
    [
        (PreemptivePriority(within="srpt"), lambda job: ()),
        (PreemptivePriority(within="sjf"), lambda job: ()),
        (PreemptivePriority(within="sprpt"), lambda job: ()),
        (PreemptivePriority(within="lcfs-pr"), lambda job: ()),
        (PreemptivePriority(within={"preset": "mlfq", "options": {"thresholds": (1.0,)}}), lambda job: (1.0,)),
        (NonPreemptivePriority(within="sjf"), lambda job: ()),
    ],
    ids=lambda p: getattr(getattr(p, "inner", None), "name", ""),
)
def test_against_a_plain_simulation(policy, turns):
    for estimate, found in zip(simulated(policy, turns), means(classes(policy)), strict=True):
        assert estimate.agrees(found, within=0.03)


def test_the_simulator_serves_the_same_order():
    from qmodel.simulation import simulate

    policy = PreemptivePriority(within="srpt")
    found = simulate(classes(policy), requests=150_000, seed=3, percentiles=(), tell=None)
    for name, mean in zip("abc", means(classes(policy)), strict=True):
        low, high = found[name].ci95["mean_response_s"]
        assert abs(found[name].mean_response_s - mean) < 2.2 * (high - low) / 2 < 0.15 * mean


def test_point_masses_and_levels():
    laws = [(0.3, Deterministic(1.0)), (0.4, Mixture((0.5, 0.5), (Deterministic(0.5), Deterministic(1.5))))]
    for within in ("psjf", "srpt", "las", {"preset": "mlfq", "options": {"thresholds": (0.75,)}}):
        policy = PreemptivePriority(within=within)
        assert len(set(np.round(means(several(laws, policy)), 9))) == 2
    two = means(several(laws, NonPreemptivePriority(within="sjf")))
    assert two[0] == pytest.approx(means(several(laws, NonPreemptivePriority()))[0], rel=1e-12)
    assert two[1] < means(several(laws, NonPreemptivePriority()))[1]


def test_work_is_conserved_by_classes_ordered_within():
    """Gittins without interruptions is a priority by class: Kleinrock's conservation law."""
    for policy in (NonPreemptivePriority(within="gittins"), NonPreemptivePriority(within="las")):
        scenario = classes(policy)
        total = sum(s.load * (m - s.size.mean) for s, m in zip(scenario.served, means(scenario), strict=True))
        load, w0 = scenario.utilisation, sum(s.rate * s.size.moment(2) / 2 for s in scenario.served)
        assert total == pytest.approx(load * w0 / (1 - load), rel=1e-9)


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (NonPreemptivePriority(within="edf"), {}, "deadlines within a class"),
        (PreemptivePriority(within="edf"), {}, "deadlines within a class"),
        (
            PreemptivePriority(within="srpt"),
            {"transforms": [EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")]},
            "leave before",
        ),
    ],
)
def test_what_has_no_result_is_said(policy, options, words):
    answer = analyse(classes(policy, **options))
    assert isinstance(answer, NotAnalysable) and words in answer.reason


def test_a_class_without_predictions():
    silent = [request_class("a", 0.5, Exponential(1.0), predicted_size=PredictedSize("none"))]
    answer = analyse(Scenario(silent, policy=PreemptivePriority(within="sprpt")))
    assert isinstance(answer, NotAnalysable) and "makes no prediction" in answer.reason


class ByArrival(Rank):
    name, preemptive = "by-arrival", True

    def rank(self, request, attained):
        return -request.arrival_s


def test_an_inner_rank_of_the_arrival_has_none():
    answer = analyse(classes(PreemptivePriority(within=ByArrival())))
    assert isinstance(answer, NotAnalysable) and "time of arrival" in answer.reason


class TestAccumulating:
    """Time-dependent priority."""

    LOADS, RESIDUAL = [0.3, 0.2, 0.25], 0.9

    def test_equal_rates_are_fcfs_with_percentiles(self):
        answer, fcfs = (
            analyse(classes(policy)) for policy in (AccumulatingPriority((2.0, 2.0)), make_policy("fcfs"))
        )
        for name in "abc":
            assert answer[name].mean_response_s == pytest.approx(fcfs[name].mean_response_s, rel=1e-12)
            assert answer[name].p99_response_s == pytest.approx(fcfs[name].p99_response_s, rel=1e-9)

    def test_rates_far_apart_are_a_priority(self):
        far = means(classes(AccumulatingPriority((1e12, 1.0))))
        assert far == pytest.approx(means(classes(NonPreemptivePriority())), rel=1e-9)

    @pytest.mark.parametrize("rates", [(1.0, 2.0, 4.0), (3.0, 3.0, 1.0), (5.0, 1.0, 2.0)])
    def test_work_is_conserved(self, rates):
        waits = mean_waits(rates, self.LOADS, self.RESIDUAL)
        total = sum(load * wait for load, wait in zip(self.LOADS, waits, strict=True))
        assert total == pytest.approx(0.75 * self.RESIDUAL / 0.25, rel=1e-12)
        order = np.argsort(rates, kind="stable")[::-1]
        assert sorted(waits) == pytest.approx([waits[i] for i in order])

    def test_against_a_plain_simulation(self):
        """At each departure the most credit goes first."""
        rates, laws = (3.0, 1.0), (Exponential(1.0), Gamma(1.5, 2.0))
        arriving = queues.sized_jobs([(0.3, laws[0], lambda r, s: s), (0.3, laws[1], lambda r, s: s)], 200_000, 5)
        waiting = [[], []]
        now, i, last = 0.0, 0, len(arriving)
        while i < last or any(waiting):
            while i < last and (arriving[i].arrival <= now or not any(waiting)):
                now = max(now, arriving[i].arrival) if not any(waiting) else now
                waiting[arriving[i].number].append(arriving[i])
                i += 1
            first = max((k for k in (0, 1) if waiting[k]), key=lambda k: rates[k] * (now - waiting[k][0].arrival))
            job = waiting[first].pop(0)
            now += job.size
            job.done = now
        scenario = several([(0.3, laws[0]), (0.3, laws[1])], AccumulatingPriority(rates))
        for k, found in enumerate(means(scenario)):
            estimate = queues.Estimate.of([job.done - job.arrival for job in arriving if job.number == k])
            assert estimate.agrees(found, within=0.03)

    def test_ones_own_rank_of_the_time_is_not_taken_for_fcfs(self):
        class Aging(Rank):
            name = "aging"

            def rank_at(self, request, attained, now_s):
                return request.size - now_s + request.arrival_s

        answer = analyse(classes(Aging()))
        assert isinstance(answer, NotAnalysable) and "changes as time goes by" in answer.reason


def test_sjf_alone_is_unchanged():
    assert type(NonPreemptivePriority(within=SJF()).inner) is SJF
