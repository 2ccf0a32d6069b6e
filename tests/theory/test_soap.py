"""Any rank of facts and age: SOAP reproduces each special case, and a simulation where there is none."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import (
    EDF,
    FCFS,
    LAS,
    MLFQ,
    PSJF,
    PSPJF,
    SJF,
    SPRPT,
    SRPT,
    TRAIL,
    NonPreemptivePriority,
    PreemptivePriority,
    Rank,
)
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.rank.rank_order import by_rank, facts_read
from qmodel.theory.rank.rank_path import path_of
from qmodel.theory.rank.sample import sample_of
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    PredictedSize,
)
from tests.theory import queues
from tests.theory.laws import SPREAD, UNIT
from tests.theory.scenarios import means, one, request_class, several

LAWS = {
    "exponential": UNIT,
    "hyperexponential": SPREAD,
    "two sizes": Discrete((0.5, 2.0), (0.6, 0.4)),
    "mixed": Mixture((0.5, 0.5), (Gamma(0.5, 0.01), Deterministic(1.5))),
}


def soap_means(policy, scenario):
    return [part.mean_response for part in by_rank(policy, scenario.served).classes]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("policy", [LAS(), MLFQ((0.5, 1.0, 3.0))], ids=lambda p: p.name)
def test_blind_orders_are_reproduced(law, policy):
    scenario = several([(0.5 / law.mean, law), (0.3, Exponential(1.0))], policy)
    assert soap_means(policy, scenario) == pytest.approx(means(scenario), rel=1e-9)


@pytest.mark.parametrize("thresholds", [(0.5, 1.0, 3.0), (0.1, 7.3), (2.0,)])
def test_any_levels_of_exponential_sizes_have_the_mean_of_fcfs(thresholds):
    """Nobody who does not know sizes can do better or worse with memoryless ones; the response jumps at a level."""
    scenario = one(0.8, Exponential(1.0), MLFQ(thresholds))
    assert means(scenario) == pytest.approx([5.0], rel=1e-9)
    assert soap_means(scenario.policy, scenario) == pytest.approx([5.0], rel=1e-9)


@pytest.mark.parametrize("policy", [NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_priorities_are_reproduced(policy):
    scenario = several([(0.3, Exponential(1.0)), (0.5, Hyperexponential(1.0, 4.0))], policy)
    assert soap_means(policy, scenario) == pytest.approx(means(scenario), rel=1e-12)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("policy", [SJF(), PSJF(), SRPT()], ids=lambda p: p.name)
def test_orders_by_size_are_reproduced(law, policy):
    scenario = several([(0.5 / law.mean, law), (0.3, Exponential(1.0))], policy)
    assert soap_means(policy, scenario) == pytest.approx(means(scenario), rel=1.5e-3)


@pytest.mark.parametrize("policy", [PSPJF(), SPRPT(), TRAIL(limit=0.6)], ids=lambda p: p.name)
def test_orders_by_prediction_are_reproduced(policy):
    scenario = one(0.8, Exponential(1.0), policy, predicted_size=PredictedSize("exponential"))
    result = by_rank(policy, scenario.served)
    assert result.classes[0].mean_response == pytest.approx(means(scenario)[0], rel=1e-3)
    assert any("estimated relative error" in note for note in result.notes)


class ShortestRemainingPrompt(Rank):
    """The design's own example."""

    preemptive = True

    def rank(self, request, attained):
        return request.predicted_size - attained


def test_the_users_own_policy_needs_nothing_but_its_rank():
    answer = analyse(one(0.8, Exponential(1.0), ShortestRemainingPrompt()))
    assert "SOAP" in answer.result and answer.method == "exact"
    assert answer["a"].mean_response_s == pytest.approx(2.35277327, rel=1e-4)
    assert answer["a"].p95_response_s is None


class LongWay(Rank):
    """Worse between ages 0.5 and 1, then better again: not monotone."""

    name = "long-way"
    preemptive = True

    def rank(self, request, attained):
        return 0.0 if attained < 0.5 else 2.0 if attained < 1.0 else 1.0


class ClassThenSize(Rank):
    """Nested: the class first, then the remaining size; after half of it no interruption from the own class."""

    name = "class-then-size"
    preemptive = True

    def rank(self, request, attained):
        rest = request.size - attained
        return 100.0 * request.priority + (rest if attained < 0.5 * request.size else -1.0)


class Steps(Rank):
    """Preempted at step boundaries alone: inside a step of 0.25 nothing goes before it."""

    name = "steps"
    preemptive = True

    def rank(self, request, attained):
        inside = attained % 0.25 > 1e-9
        return -math.inf if inside else float(request.priority)


CLASSES = [(0.4, Gamma(0.8, 0.3)), (0.25, Exponential(1.5))]


def simulated(policy, classes, turns, n=150_000):
    arriving = queues.sized_jobs([(rate, law, lambda rng, s: s) for rate, law in classes], n, seed=12)

    class View:
        pass

    def rank(job):
        view = View()
        view.size, view.predicted_size, view.priority = job.size, job.predicted, job.number
        return policy.rank(view, job.attained)

    return queues.rank_queue(arriving, rank, policy.preemptive, turns)


@pytest.mark.parametrize(
    ("policy", "turns"),
    [(LongWay(), lambda job: (0.5, 1.0)), (ClassThenSize(), lambda job: (0.5 * job.size,))],
    ids=["long-way", "class-then-size"],
)
def test_ranks_without_a_formula_against_simulation(policy, turns):
    served = simulated(policy, CLASSES, turns)
    answer = analyse(several(CLASSES, policy), percentiles=())
    for k in (0, 1):
        times = [job.done - job.arrival for job in served if job.number == k]
        estimate = queues.Estimate.of(times)
        assert estimate.error < 0.02 * estimate.mean
        found = answer[f"c{k}"].mean_response_s
        assert found == pytest.approx(estimate.mean, abs=4 * estimate.error + 2e-3 * estimate.mean)


def test_step_boundaries_against_simulation():
    policy = Steps()
    classes = [(0.4, Deterministic(0.7)), (0.3, Deterministic(1.6))]
    ages = np.concatenate([(0.25 * k, 0.25 * k + 2e-9) for k in range(8)])[1:]
    served = simulated(policy, classes, lambda job: ages, n=60_000)
    answer = analyse(several(classes, policy), percentiles=())
    for k in (0, 1):
        times = [job.done - job.arrival for job in served if job.number == k]
        assert queues.Estimate.of(times).agrees(answer[f"c{k}"].mean_response_s, within=0.03)


class HeavierFirst(Rank):
    name = "heavier-first"

    def rank(self, request, attained):
        return -request.weight


class HeavierFirstPreemptive(HeavierFirst):
    name, preemptive = "heavier-first-pr", True


@pytest.mark.parametrize(
    ("policy", "plain"),
    [(HeavierFirst(), NonPreemptivePriority()), (HeavierFirstPreemptive(), PreemptivePriority())],
    ids=["patient", "preemptive"],
)
def test_an_order_of_classes_is_a_priority_with_percentiles(policy, plain):
    classes = [
        request_class("light", 0.3, Exponential(1.0), 0, weight=1.0),
        request_class("heavy", 0.3, Exponential(1.0), 1, weight=2.0),
    ]
    answer = analyse(Scenario(classes, policy=policy))
    swapped = [request_class("light", 0.3, Exponential(1.0), 1), request_class("heavy", 0.3, Exponential(1.0), 0)]
    exact = analyse(Scenario(swapped, policy=plain))
    for name in ("light", "heavy"):
        for metric in ("mean_response_s", "p99_response_s"):
            assert answer[name].metrics[metric] == pytest.approx(exact[name].metrics[metric], rel=1e-9)


class Shifting(Rank):
    name = "shifting"
    preemptive = True

    def rank(self, request, attained):
        return request.lottery - attained


def test_what_is_no_order_of_facts_and_age_is_refused():
    for policy in (EDF(), Shifting()):
        refusal = analyse(one(0.5, Exponential(1.0), policy))
        assert isinstance(refusal, NotAnalysable) and policy.name in refusal.reason
    silent = one(0.5, Exponential(1.0), ShortestRemainingPrompt(), predicted_size=PredictedSize("none"))
    assert isinstance(analyse(silent), NotAnalysable)
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    assert isinstance(analyse(one(0.5, Exponential(1.0), LongWay(), transforms=[release])), NotAnalysable)


def test_facts_are_found_by_asking():
    served = several(CLASSES, FCFS()).served
    assert facts_read(FCFS(), served) == {"arrival_s"}
    assert facts_read(SRPT(), served) == {"size"}
    assert facts_read(TRAIL(), served) == {"predicted_size"}
    assert facts_read(LAS(), served) == set()
    assert facts_read(EDF(), served) == {"deadline_s"}


def test_heavy_tails_keep_finite_means():
    assert isinstance(analyse(one(0.5, Pareto(1.0, 1.5), ClassThenSize())), NotAnalysable)
    found = analyse(one(0.5, Pareto(1.0, 1.5), LongWay()), percentiles=())["a"]
    assert found.mean_response_s is None  # the last level is FCFS with an infinite second moment
    las = soap_means(LAS(), one(0.5, Pareto(1.0, 1.5), LAS()))
    assert las == pytest.approx(means(one(0.5, Pareto(1.0, 1.5), LAS())), rel=1e-6)


# ---- the pieces ----


def test_path_finds_jumps_and_bends():
    path = path_of(lambda age: abs(age - 1.0) if age < 2.5 else 7.0, np.linspace(0.0, 4.0, 5))
    assert path.worst == pytest.approx(7.0)
    assert path.worst_upto(0.7) == pytest.approx(1.0)
    assert path.worst_upto(2.5) == pytest.approx(1.5)
    assert path.worst_upto(2.5 + 1e-6) == pytest.approx(7.0)
    np.testing.assert_allclose(path.at(np.array([0.25, 1.75, 3.0])), [0.75, 0.75, 7.0])
    assert len(path.start) < 12


def test_path_of_curves():
    path = path_of(lambda age: math.exp(-age), np.linspace(0.0, 5.0, 6))
    ages = np.linspace(0.0, 4.99, 200)
    np.testing.assert_allclose(path.at(ages), np.exp(-ages), atol=3e-7)


def test_path_of_infinite_ranks():
    path = path_of(lambda age: -math.inf if age >= 0.4 else 3.0 - age, np.array([0.0, 1.0]))
    assert path.first[-1] == -math.inf
    assert path.worst == pytest.approx(3.0)
    np.testing.assert_allclose(path.at_end(1.0)[0], 2.6, atol=1e-9)


def test_sample_keeps_mass_and_mean():
    for law in [*LAWS.values(), Lognormal(1.0, 3.0)]:
        sample = sample_of(law, 100, (0.7, 1e-13))
        masses = np.array(sample.masses(law))
        assert masses.sum() == pytest.approx(1.0, abs=1e-12)
        assert masses @ np.array(sample.sizes) == pytest.approx(law.mean, rel=1e-9)
        assert masses @ np.array(sample.sizes) ** 2 == pytest.approx(law.moment(2), rel=5e-3)
