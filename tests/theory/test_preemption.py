"""Costs and grains of preemption: limits, other formulas, the simulator, and refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable, PolicyAnswer
from qmodel.policy import (
    FCFS,
    LAS,
    MLFQ,
    PS,
    PSJF,
    SJF,
    SRPT,
    TRAIL,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
)
from qmodel.policy.preemption import Preemption
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.preemption.preemption_cost import Busy, spent
from qmodel.theory.preemption.preemption_grain import Last
from qmodel.workload import Deterministic, Exponential, Gamma, Mixture, Pareto
from tests.theory import queues
from tests.theory.scenarios import means, request_class

LADDER = [
    request_class("a", 0.25, Exponential(1.0), 0),
    request_class("b", 0.15, Gamma(1.0, 2.0), 1),
    request_class("c", 0.15, Gamma(1.5, 0.5), 2),
]
SMOOTH = [request_class("a", 0.6, Gamma(1.0, 0.5)), request_class("b", 0.1, Exponential(1.0))]


def asked(classes, policy, cost=0.0, grain=0.0, **options):
    return Scenario(classes, policy=policy, preemption=Preemption(cost, grain), **options)


COSTED = [(PreemptivePriority(), LADDER), (PSJF(), SMOOTH), (SRPT(), SMOOTH), (LCFSPreemptive(), SMOOTH)]
GRAINED = [
    (PreemptivePriority(), LADDER),
    (PSJF(), SMOOTH),
    (SRPT(), SMOOTH),
    (LAS(), SMOOTH),
    (MLFQ((0.7, 2.0)), SMOOTH),
]


class TestCost:
    @pytest.mark.parametrize(("policy", "classes"), COSTED, ids=lambda x: getattr(x, "name", ""))
    def test_a_vanishing_cost_is_none(self, policy, classes):
        free = means(Scenario(classes, policy=policy))
        assert means(asked(classes, policy, cost=1e-9)) == pytest.approx(free, rel=1e-6)

    @pytest.mark.parametrize(("policy", "classes"), COSTED, ids=lambda x: getattr(x, "name", ""))
    @pytest.mark.parametrize("cost", [0.1, 0.3])
    def test_against_the_simulator(self, policy, classes, cost):
        from qmodel.simulation import simulate

        scenario = asked(classes, policy, cost=cost)
        found = simulate(scenario, requests=400_000, seed=5, percentiles=(), tell=None)
        for each, mean in zip(classes, means(scenario), strict=True):
            low, high = found[each.name].ci95["mean_response_s"]
            width = 0.5 * (high - low)
            assert abs(found[each.name].mean_response_s - mean) < 2.2 * width < 0.35 * mean

    def test_the_mean_grows_with_the_cost_and_the_highest_class_pays_nothing(self):
        found = np.array([means(asked(LADDER, PreemptivePriority(), cost=c)) for c in (0.0, 0.1, 0.2, 0.4)])
        assert np.ptp(found[:, 0]) < 1e-12 and (np.diff(found[:, 1:], axis=0) > 0).all()

    def test_two_priorities_by_hand(self):
        """E[C_2] = E[S_2] exp(lambda_1 c) / (1 - rho_1), and the load is rho_1 + rho_2 exp(lambda_1 c)."""
        c, classes = (
            0.5,
            [request_class("a", 0.3, Exponential(1.0), 0), request_class("b", 1e-9, Exponential(1.0), 1)],
        )
        low = means(asked(classes, PreemptivePriority(), cost=c))[1]
        assert low == pytest.approx(math.exp(0.3 * c) / 0.7 + 0.3 / 0.7**2, rel=1e-7)
        answer = analyse(asked(LADDER[:2], PreemptivePriority(), cost=c), percentiles=())
        assert answer.utilisation == pytest.approx(0.25 + 0.15 * math.exp(0.25 * c), rel=1e-9)
        assert any("resuming preempted requests" in note for note in answer.notes)

    def test_shortest_remaining_spends_what_is_known(self):
        """One class, load lambda int P(S > r) exp(lambda F(r) c) dr."""
        from scipy.integrate import quad

        answer = analyse(asked(SMOOTH[:1], SRPT(), cost=0.4), percentiles=())
        law = Gamma(1.0, 0.5)
        load = quad(lambda r: 0.6 * float(law.sf(r)) * math.exp(0.24 * float(law.cdf(r))), 0, 40, limit=200)[0]
        assert answer.utilisation == pytest.approx(load, rel=1e-7)

    @pytest.mark.parametrize(
        ("policy", "classes"),
        [(SRPT(), SMOOTH), (PSJF(), SMOOTH), (LCFSPreemptive(), SMOOTH), (PreemptivePriority(), LADDER)],
    )
    def test_too_high_a_cost_is_unstable(self, policy, classes):
        answer = analyse(asked(classes, policy, cost=40.0))
        assert isinstance(answer, PolicyAnswer) and not answer.stable and answer["all"].mean_response_s is None

    def test_overload(self):
        answer = analyse(asked([request_class("a", 1.2, Exponential(1.0))], SRPT(), cost=0.1))
        assert not answer.stable and answer.utilisation == pytest.approx(1.2)

    def test_interruptions_by_draws(self):
        rng = np.random.default_rng(2)
        rate, cost, busy = 0.7, 0.8, 0.5
        whole = np.zeros(200_000)
        open_ = np.arange(whole.size)
        while open_.size:
            next_one = rng.exponential(1 / rate, open_.size)
            whole[open_] += rng.exponential(busy, open_.size) + np.minimum(next_one, cost)
            open_ = open_[next_one < cost]
        first, second = Busy(rate, rate * busy, rate * 2 * busy**2).interruptions(cost)
        assert (first / rate, second / rate) == pytest.approx((whole.mean(), (whole**2).mean()), rel=0.02)
        assert spent(2.0, 1e9) == pytest.approx((1.0, 0.5, 0.5))


class TestGrain:
    @pytest.mark.parametrize(("policy", "classes"), GRAINED[:3], ids=lambda x: getattr(x, "name", ""))
    def test_at_both_ends(self, policy, classes):
        free = means(Scenario(classes, policy=policy))
        assert means(asked(classes, policy, grain=0.2)) == pytest.approx(free, rel=0.06)
        quiet = NonPreemptivePriority() if policy.name == "pr-priority" else SJF()
        whole = means(Scenario(classes, policy=quiet))
        assert means(asked(classes, policy, grain=1e4)) == pytest.approx(whole, rel=1e-9)

    def test_a_first_class_waits_for_half_a_step_more(self):
        """Two constant classes: the first meets rho_2 / (1 - rho_1) ... by the formula, step by step."""
        classes = [request_class("a", 0.3, Deterministic(1.0), 0), request_class("b", 0.2, Deterministic(2.5), 1)]
        top, low = means(asked(classes, PreemptivePriority(), grain=1.0))
        assert top == pytest.approx((0.3 + 0.2 * 2.25) / (2 * 0.7) + 1.0, rel=1e-12)
        assert low == pytest.approx((0.3 + 0.2 * 6.25) / (2 * 0.7 * 0.2) + 2.0 / 0.7 + 0.5, rel=1e-12)

    @pytest.mark.parametrize(("policy", "classes"), GRAINED, ids=lambda x: getattr(x, "name", ""))
    @pytest.mark.parametrize("grain", [0.5, 1.3])
    def test_against_a_plain_simulation(self, policy, classes, grain):
        made = [(each.rate, each.service, lambda rng, s: s) for each in classes]
        arriving = queues.sized_jobs(made, 60_000, seed=7)
        ranks = {
            "pr-priority": lambda job: job.number,
            "psjf": lambda job: job.size,
            "srpt": lambda job: job.size - job.attained,
            "las": lambda job: job.attained,
            "mlfq": lambda job: sum(job.attained >= t - 1e-9 for t in (0.7, 2.0)),
        }
        served = served_in_steps(arriving, ranks[policy.name], grain)
        for k, mean in enumerate(means(asked(classes, policy, grain=grain))):
            estimate = queues.Estimate.of([job.done - job.arrival for job in served if job.number == k])
            assert estimate.agrees(mean, within=0.05)

    def test_point_masses(self):
        classes = [request_class("a", 0.3, Deterministic(1.0)), request_class("b", 0.2, Deterministic(2.0))]
        for policy in (PSJF(), SRPT()):
            made = [(each.rate, each.service, lambda rng, s: s) for each in classes]
            arriving = queues.sized_jobs(made, 60_000, seed=7)
            rank = (lambda job: job.size) if policy.name == "psjf" else (lambda job: job.size - job.attained)
            served = served_in_steps(arriving, rank, 0.7)
            for k, mean in enumerate(means(asked(classes, policy, grain=0.7))):
                estimate = queues.Estimate.of([job.done - job.arrival for job in served if job.number == k])
                assert estimate.agrees(mean, within=0.05)

    def test_gittins_in_steps_lies_between(self):
        law = [request_class("a", 0.7, Mixture((0.7, 0.3), (Gamma(0.5, 0.1), Gamma(2.0, 0.1))))]
        free, steps = means(Scenario(law, policy=Gittins()))[0], means(asked(law, Gittins(), grain=0.5))[0]
        assert free < steps < means(Scenario(law, policy=FCFS()))[0]

    @settings(deadline=None, max_examples=25)
    @given(st.floats(0.2, 3.0), st.floats(0.1, 2.0))
    def test_the_last_step_of_an_exponential(self, mean, grain):
        """z is exponential cut at g: E[z] = mean - g / (exp(g / mean) - 1)."""
        z = mean - grain / math.expm1(grain / mean)
        square = 2 * mean**2 - (grain**2 + 2 * mean * grain) / math.expm1(grain / mean)
        last = Last.of(Exponential(mean), grain)
        assert last.mean == pytest.approx(z, rel=1e-8)
        assert last.squares == pytest.approx(grain * (mean - z) + square, rel=1e-8)

    def test_very_many_steps(self):
        assert Last.of(Pareto(1.0, 2.5), 1e-4).mean == pytest.approx(5e-5, rel=1e-3)


def served_in_steps(arriving, rank, grain):
    """Lowest rank first, ties to the earlier arrival; looked at when a step of service ends."""
    import heapq

    heap, now, i, done = [], 0.0, 0, []
    while i < len(arriving) or heap:
        if not heap:
            now = max(now, arriving[i].arrival)
        while i < len(arriving) and arriving[i].arrival <= now:
            heapq.heappush(heap, (rank(arriving[i]), arriving[i].arrival, i))
            i += 1
        index = heapq.heappop(heap)[2]
        job = arriving[index]
        step = min(grain, job.size - job.attained)
        now, job.attained = now + step, job.attained + step
        if job.size - job.attained < 1e-12:
            job.done = now
            done.append(job)
            continue
        while i < len(arriving) and arriving[i].arrival <= now:
            heapq.heappush(heap, (rank(arriving[i]), arriving[i].arrival, i))
            i += 1
        heapq.heappush(heap, (rank(job), job.arrival, index))
    return done


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (LAS(), {"cost": 0.1}, "no result for a cost of preemption under 'las'"),
        (PS(), {"cost": 0.1}, "no result for a cost of preemption under 'ps'"),
        (TRAIL(), {"grain": 0.5}, "no result for preemption at step boundaries under 'trail'"),
        (SRPT(), {"cost": 0.1, "grain": 0.5}, "a cost of preemption at step boundaries"),
        (SRPT(), {"grain": 1e-3}, "into more than 400"),
        (LAS(), {"grain": 1e-2}, "into more than 100"),
        (SRPT(), {"cost": 0.1, "system": System(servers=2)}, "for one server"),
        (
            SRPT(),
            {"cost": 0.1, "transforms": [EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")]},
            "leave before",
        ),
    ],
)
def test_what_has_no_result_is_said(policy, options, words):
    answer = analyse(asked(SMOOTH, policy, **options))
    assert isinstance(answer, NotAnalysable) and words in answer.reason


def test_sizes_of_point_masses_with_a_cost():
    few = [request_class("a", 0.5, Deterministic(1.0))]
    for policy in (PSJF(), SRPT()):
        answer = analyse(asked(few, policy, cost=0.1))
        assert isinstance(answer, NotAnalysable) and "point masses" in answer.reason


def test_orders_that_never_interrupt_pay_nothing():
    for policy in (FCFS(), SJF(), NonPreemptivePriority()):
        assert means(asked(LADDER, policy, cost=1.0, grain=0.5)) == means(Scenario(LADDER, policy=policy))
