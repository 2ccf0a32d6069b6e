"""Service chosen by the queue's length: FCFS and two priorities."""

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, PS, SRPT, NonPreemptivePriority, PreemptivePriority
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.theory.state import threshold_wait
from qmodel.theory.state.threshold import threshold_chain
from qmodel.theory.state.threshold_begun import Step
from qmodel.theory.state.threshold_wait import TaggedWait
from qmodel.workload import BoundedPareto, Deterministic, Exponential, Gamma, Hyperexponential, Mixture
from tests.theory import queues
from tests.theory.scenarios import ORACLES, means, one, request_class, several

BOTH = [NonPreemptivePriority(), PreemptivePriority()]


def swap(factor, above, below=None, swap_time_s=0.0):
    return ModelSwap(when=QueueCondition(above, below, swap_time_s), service_factor=factor)


def test_oracle():
    answer = analyse(one(1.1, Deterministic(1.0), FCFS(), transforms=[swap(0.4, 4)]))
    mean, share = ORACLES[
        "model swap at queue threshold 4: arrival rate 1.1, service 1.0 or 0.4 deterministic, "
        "mean T and share on the small model"
    ]
    assert answer["all"].mean_response_s == pytest.approx(mean, abs=5e-5)
    assert answer["all"].share_reduced == pytest.approx(share, abs=5e-5)
    assert answer.utilisation == pytest.approx(1.1 * ((1 - 0.2391580662) * 1.0 + 0.2391580662 * 0.4), rel=1e-9)


@pytest.mark.parametrize("policy", [FCFS(), *BOTH], ids=lambda p: p.name)
def test_equal_modes_are_the_plain_queue(policy):
    classes = [(0.3, Hyperexponential(1.0, 3.0)), (0.4, Gamma(1.0, 0.1))]
    plain = means(several(classes, policy))
    assert means(several(classes, policy, transforms=[swap(1.0, 3)])) == pytest.approx(plain, rel=1e-10)


@pytest.mark.parametrize("policy", [FCFS(), *BOTH, PS()], ids=lambda p: p.name)
def test_threshold_zero_is_always_long(policy):
    classes = [(0.6, Exponential(1.0)), (0.7, Deterministic(1.0))]
    always = [(rate, law.scaled(0.5)) for rate, law in classes]
    assert means(several(classes, policy, transforms=[swap(0.5, 0)])) == pytest.approx(
        means(several(always, policy)), rel=1e-12
    )


@pytest.mark.parametrize("policy", [FCFS(), *BOTH], ids=lambda p: p.name)
def test_threshold_out_of_reach_is_the_plain_queue(policy):
    classes = [(0.1, Exponential(1.0)), (0.2, Exponential(1.0))]
    plain = means(several(classes, policy))
    assert means(several(classes, policy, transforms=[swap(0.5, 40)])) == pytest.approx(plain, rel=1e-9)


def test_identical_classes_make_priority_fcfs_overall():
    classes = [(0.5, Deterministic(1.0)), (0.6, Deterministic(1.0))]
    orders = [analyse(several(classes, p, transforms=[swap(0.4, 4)]), percentiles=()) for p in (FCFS(), BOTH[0])]
    for metric in ("mean_response_s", "share_reduced"):
        assert orders[1]["all"].metrics[metric] == pytest.approx(orders[0]["all"].metrics[metric], rel=1e-10)


def test_exponential_services_make_preemption_invisible_overall():
    """Memoryless and alike in both modes per class: total number as under FCFS when the modes are equal."""
    classes = [(0.3, Exponential(1.0)), (0.4, Exponential(1.0))]
    found = analyse(several(classes, PreemptivePriority(), transforms=[swap(1.0, 2)]), percentiles=())
    assert found["all"].mean_response_s == pytest.approx(1 / 0.3, rel=1e-10)


FCFS_CASES = [
    (1.1, Deterministic(1.0), 0.4, QueueCondition(4)),
    (0.9, Exponential(1.0), 0.5, QueueCondition(4, 2)),
    (0.6, Hyperexponential(1.0, 3.0), 0.7, QueueCondition(3, None, 0.2)),
    (0.9, Gamma(1.0, 0.01), 0.5, QueueCondition(5, 2, 0.3)),
]


@pytest.mark.parametrize(("rate", "law", "factor", "condition"), FCFS_CASES, ids=str)
def test_fcfs_against_simulation(rate, law, factor, condition):
    arriving = queues.jobs([(rate, law, law.scaled(factor))], 200_000, seed=11)
    served, swaps = queues.fcfs_queue(arriving, condition.above, condition.below, condition.swap_time_s)
    transform = ModelSwap(when=condition, service_factor=factor)
    answer = analyse(one(rate, law, FCFS(), transforms=[transform]), percentiles=())["a"]
    assert queues.Estimate.of(queues.responses(served)).agrees(answer.mean_response_s, within=0.03)
    assert queues.Estimate.of(queues.reduced(served)).agrees(answer.share_reduced, within=0.03)
    chain = threshold_chain(rate, law, law.scaled(factor), condition)
    assert chain.swapped == pytest.approx(swaps, rel=0.03)


def test_fcfs_classes_differ_by_their_service_alone():
    classes = [(0.5, Exponential(1.0)), (0.3, Deterministic(2.0))]
    answer = analyse(several(classes, FCFS(), transforms=[swap(0.5, 2)]), percentiles=())
    assert answer["c0"].mean_wait_s == pytest.approx(answer["c1"].mean_wait_s, rel=1e-12)
    short = 1 - answer["all"].share_reduced
    assert answer["c1"].mean_service_s == pytest.approx(2 * short + 1 * (1 - short), rel=1e-12)


PRIORITY_CASES = [
    pytest.param((0.3, Exponential(1.0)), (0.5, Exponential(1.0)), 0.5, 4, marks=pytest.mark.slow),
    pytest.param((0.4, Deterministic(0.8)), (0.6, Deterministic(1.2)), 0.45, 3, marks=pytest.mark.slow),
    ((0.3, Gamma(1.0, 0.01)), (0.6, Mixture((0.5, 0.5), (Gamma(0.5, 0.01), Gamma(1.5, 0.01)))), 0.5, 1),
    ((0.5, Hyperexponential(0.8, 3.0)), (0.2, Hyperexponential(1.0, 3.0)), 0.6, 2),
]


@pytest.mark.parametrize("policy", BOTH, ids=lambda p: p.name)
@pytest.mark.parametrize(("high", "low", "factor", "above"), PRIORITY_CASES, ids=str)
def test_two_priorities_against_simulation(high, low, factor, above, policy):
    arriving = queues.jobs([(r, law, law.scaled(factor)) for r, law in (high, low)], 200_000, seed=3)
    served = queues.priority_queue(arriving, policy.preemptive, above)
    answer = analyse(several([high, low], policy, transforms=[swap(factor, above)]), percentiles=())
    for k in (0, 1):
        part = answer[f"c{k}"]
        assert queues.Estimate.of(queues.responses(served, k)).agrees(part.mean_response_s, within=0.03)
        assert queues.Estimate.of(queues.reduced(served, k)).agrees(part.share_reduced, within=0.03)


def test_two_classes_of_the_low_priority_under_preemption():
    """Interrupted services of different length inside one priority."""
    laws = [(0.3, Exponential(1.0)), (0.3, Deterministic(0.5)), (0.2, Deterministic(1.5))]
    names = ["high", "brief", "lengthy"]
    classes = [request_class(n, r, law, min(k, 1)) for k, (n, (r, law)) in enumerate(zip(names, laws, strict=True))]
    answer = analyse(Scenario(classes, policy=PreemptivePriority(), transforms=[swap(0.5, 2)]), percentiles=())
    arriving = queues.jobs([(r, law, law.scaled(0.5)) for r, law in laws], 250_000, seed=9)
    for job in arriving:
        job.kind, job.number = job.number, min(job.number, 1)
    served = queues.priority_queue(arriving, True, 2)
    for k, name in enumerate(names):
        times = [job.done - job.arrival for job in served if job.kind == k]
        assert queues.Estimate.of(times).agrees(answer[name].mean_response_s, within=0.03)


def test_early_release_under_preemption():
    """Delivery at half the service: less of the own service, prolonged as much per second."""
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    classes = [(0.3, Exponential(1.0)), (0.4, Exponential(1.0))]
    found = means(several(classes, PreemptivePriority(), transforms=[release, swap(1.0, 2)]))
    assert found == pytest.approx([0.5 + 0.3 / 0.7, 0.5 / 0.7 + 0.7 / (0.7 * 0.3)], rel=1e-10)


@pytest.mark.parametrize("policy", [FCFS(), *BOTH], ids=lambda p: p.name)
def test_stability_is_judged_by_the_long_service(policy):
    classes = [(0.8, Deterministic(1.0)), (0.7, Deterministic(1.0))]
    assert analyse(several(classes, policy, transforms=[swap(0.4, 4)]), percentiles=()).stable
    assert not analyse(several(classes, policy, transforms=[swap(0.7, 4)])).stable
    calm = analyse(
        several([(0.2, Deterministic(1.0)), (0.2, Deterministic(1.0))], policy, transforms=[swap(3.0, 4)])
    )
    assert not calm.stable and calm.utilisation == pytest.approx(1.2)


def test_refusals_say_why():
    classes = [(0.3, Exponential(1.0)), (0.3, Exponential(1.0)), (0.2, Exponential(1.0))]
    three = analyse(several(classes, BOTH[0], transforms=[swap(0.5, 2)]))
    assert isinstance(three, NotAnalysable) and "two priorities" in three.reason
    hysteresis = analyse(several(classes[:2], BOTH[1], transforms=[swap(0.5, 2, 1)]))
    assert isinstance(hysteresis, NotAnalysable) and "hysteresis" in hysteresis.reason
    srpt = analyse(several(classes[:2], SRPT(), transforms=[swap(0.5, 2)]))
    assert isinstance(srpt, NotAnalysable) and "srpt" in srpt.reason
    far = analyse(several(classes[:2], BOTH[0], transforms=[swap(0.5, 100)]))
    assert isinstance(far, NotAnalysable) and "64" in far.reason


def quantiles_agree(times, answer):
    """Percentiles within four standard errors of the simulated probability of staying below them."""
    for percent in (50, 95, 99):
        below = queues.Estimate.of(times <= answer.metrics[f"p{percent}_response_s"])
        assert below.agrees(percent / 100, within=0.02)


@pytest.mark.parametrize(("rate", "law", "factor", "condition"), FCFS_CASES, ids=str)
def test_fcfs_percentiles_against_simulation(rate, law, factor, condition):
    arriving = queues.jobs([(rate, law, law.scaled(factor))], 200_000, seed=23)
    served, _ = queues.fcfs_queue(arriving, condition.above, condition.below, condition.swap_time_s)
    answer = analyse(one(rate, law, FCFS(), transforms=[ModelSwap(when=condition, service_factor=factor)]))
    quantiles_agree(queues.responses(served), answer["a"])


def test_percentiles_of_equal_modes_are_the_plain_ones():
    plain = analyse(one(0.7, Exponential(1.0), FCFS()))["a"]
    found = analyse(one(0.7, Exponential(1.0), FCFS(), transforms=[swap(1.0, 3)]))["a"]
    for name in ("p50_response_s", "p95_response_s", "p99_response_s"):
        assert found.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-6)


def test_percentiles_differ_between_classes_and_respect_jumps():
    answer = analyse(
        several([(0.4, Deterministic(1.0)), (0.2, Deterministic(2.0))], FCFS(), transforms=[swap(0.5, 1)])
    )
    assert answer["c0"].p50_response_s < answer["c1"].p50_response_s
    idle = 1.0 - answer.utilisation
    transforms = [swap(0.5, 1)]
    scenario = several([(0.4, Deterministic(1.0)), (0.2, Deterministic(2.0))], FCFS(), transforms)
    low = analyse(scenario, percentiles=(100 * idle * 0.999,))
    name = next(metric for metric in low["c0"].metrics if metric.startswith("p"))
    assert low["c0"].metrics[name] <= 1.0 + 1e-7


def test_percentiles_out_of_reach_are_left_to_simulation():
    heavy = analyse(one(0.5, Hyperexponential(1.0, 50.0), FCFS(), transforms=[swap(0.5, 3)]))
    assert heavy["a"].mean_response_s is not None and heavy["a"].p95_response_s is None
    far = analyse(one(0.5, Exponential(1.0), FCFS(), transforms=[swap(0.5, 20)]))
    assert far["a"].mean_response_s is not None and far["a"].p95_response_s is None


def test_thousands_present():
    """At 0.998, mean and percentiles of M/M/1; nearer to 1 the mean alone."""
    answer = analyse(one(0.998, Exponential(1.0), FCFS(), transforms=[swap(1.0, 4)]))
    assert answer["all"].mean_response_s == pytest.approx(500.0, rel=1e-8)
    for percent in (50, 95, 99):
        expected = -500.0 * math.log(1.0 - percent / 100)
        assert answer["all"].metrics[f"p{percent}_response_s"] == pytest.approx(expected, rel=1e-6)
    nearer = analyse(one(0.99995, Exponential(1.0), FCFS(), transforms=[swap(1.0, 4)]))
    assert nearer["all"].mean_response_s == pytest.approx(2e4, rel=1e-6) and nearer["all"].p95_response_s is None


@pytest.mark.parametrize(
    ("law", "condition"),
    [
        (Exponential(1.0), QueueCondition(1)),
        (Deterministic(1.0), QueueCondition(4)),
        (Gamma(1.0, 2.0), QueueCondition(4, 2, 0.1)),
        (Mixture((0.5, 0.5), (Deterministic(0.5), Exponential(1.5))), QueueCondition(12, 6)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("load", [0.1, 0.7, 0.97])
def test_transform_of_the_wait(law, condition, load):
    """At 0 the probability of finding somebody, by modes as the chain has them; its slope is the mean wait."""
    rate, long = load / 0.6, law.scaled(0.6)
    chain = threshold_chain(rate, law, long, condition)
    wait = TaggedWait(rate, (law, long), condition, chain)
    idle = [sum(p for (_, own), p in wait.idle.items() if own == mode) for mode in (0, 1)]
    scale = chain.mean_number / rate
    h = 1e-3 / scale
    at = wait.busy(np.array([1e-9, h, 2 * h]) + 0j).real
    assert at[:, 0] + idle == pytest.approx(chain.started, abs=1e-7)
    swaps = sum(p for (last, own), p in wait.idle.items() if last != own) * condition.swap_time_s
    service = chain.started[0] * law.mean + chain.started[1] * long.mean
    slope = (4 * at.sum(axis=0)[1] - at.sum(axis=0)[2] - 3 * at.sum(axis=0)[0]) / (2 * h)
    assert swaps - slope == pytest.approx(scale - service, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("rate", [1e-9, 1e-5])
@pytest.mark.parametrize("policy", [FCFS(), *BOTH], ids=lambda p: p.name)
@pytest.mark.parametrize("above", [4, 20])
@pytest.mark.parametrize("high", [Hyperexponential(1.0, 3.0), BoundedPareto(0.1, 100.0, 1.86)], ids=repr)
def test_tiny_rates_leave_digits_of_the_wait(policy, rate, above, high):
    """lambda E[S^2] / 2 of those who are before one, in first order."""
    laws = [high, Exponential(1.0)]
    answer = analyse(several([(rate, law) for law in laws], policy, transforms=[swap(0.6, above)]), percentiles=())
    plain = analyse(several([(rate, law) for law in laws], policy), percentiles=())
    for part, other in zip(answer.classes, plain.classes, strict=True):
        assert part.mean_wait_s == pytest.approx(other.mean_wait_s, rel=1e-4, abs=1e-15)


@pytest.mark.parametrize("policy", BOTH, ids=lambda p: p.name)
def test_a_rare_lower_priority(policy):
    """What a single request of the lower priority meets, whatever its rate; none is said where digits are lost."""
    found = [
        analyse(several([(0.9, Exponential(1.0)), (rate, Exponential(1.0))], policy, transforms=[swap(0.6, 4)]))
        for rate in (2e-4, 1e-4, 1e-7)
    ]
    first, second = (answer["c1"].mean_response_s for answer in found[:2])
    assert first == pytest.approx(second, rel=1e-3) and second < 20.0
    assert isinstance(found[2], NotAnalysable) and "rare" in found[2].reason
    rare_high = several([(1e-7, Exponential(1.0)), (0.9, Exponential(1.0))], policy, transforms=[swap(0.6, 4)])
    alone = analyse(one(0.9, Exponential(1.0), FCFS(), transforms=[swap(0.6, 4)]), percentiles=())
    assert means(rare_high)[1] == pytest.approx(alone["a"].mean_response_s, rel=1e-6)


def test_the_table_of_rests_by_either_route():
    """One i from the other, or all from a circle: the same, where the first still has its digits."""
    step = Step(Exponential(1.0), 1.5)
    s = np.array([0.01, 0.4 + 2j, 1.49, 1.5, 1.6 + 0.1j, 8.0 - 3j])
    alphas = threshold_wait.alpha(step, s, 4)
    slowly = threshold_wait._one_by_one(step, s, alphas)
    at_once = threshold_wait._around(step, s, 4)
    np.testing.assert_allclose(at_once, slowly, atol=1e-10)


def test_a_large_model_that_is_hopeless_alone():
    """Five times its capacity, threshold 10: its percentiles were once 20 % short, at the edge of the recursion.

    Every part of the transform is positive and falls along real s; simulation of 4e5 requests has
    P(T <= 5) = 0.933 within 0.003.
    """
    asked = one(5.0, Exponential(1.0), FCFS(), transforms=[swap(0.08, 10)])
    slo = replace(asked.classes[0], slo={"response_s": 5.0})
    found = analyse(replace(asked, classes=(slo,)), percentiles=(95,))["all"]
    assert found.attainment == pytest.approx(0.9333, abs=0.003)
    assert found.p95_response_s == pytest.approx(5.29, abs=0.03)
