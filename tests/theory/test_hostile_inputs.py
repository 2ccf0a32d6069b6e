"""Inputs at the edge of sense: each result is right, checked against a closed form, or refused in one line."""

import math

import pytest

from qmodel.answer import PolicyAnswer
from qmodel.errors import InputError
from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    SJF,
    SRPT,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
)
from qmodel.scenario import Scenario
from qmodel.theory import analyse
from qmodel.workload import (
    Deterministic,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Poisson,
    Uniform,
    Weibull,
)
from tests.theory.scenarios import one, request_class, several

BLIND = [FCFS(), LCFS(), RandomOrder(), NonPreemptivePriority()]
SHARING = [PS(), LCFSPreemptive()]
SIZED = [SJF(), PSJF(), SRPT(), LAS(), MLFQ(thresholds=(1.0, 2.0)), PreemptivePriority(), Gittins()]
EVERY = [*BLIND, *SHARING, DPS(), *SIZED]


def named(policies):
    return pytest.mark.parametrize("policy", policies, ids=lambda policy: policy.name)


def overall(scenario, percentiles=()):
    return analyse(scenario, percentiles=percentiles)["all"]


def in_one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 200


@named(EVERY)
@pytest.mark.parametrize("load", [1.0, 1.0 + 1e-12, 3.0, 1e12])
def test_no_finite_queue(policy, load):
    answer = analyse(one(load, Exponential(1.0), policy))
    assert isinstance(answer, PolicyAnswer) and not answer.stable
    assert answer.utilisation == pytest.approx(load, rel=1e-12)
    assert all(value is None for part in answer.classes for value in part.metrics.values())


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, -math.inf, None, "1", True])
def test_rates_that_are_none(rate):
    with pytest.raises(InputError) as error:
        Poisson(rate)
    assert in_one_line(error)


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan, math.inf, 1e-60, 1e60, "1", True])
@pytest.mark.parametrize(
    "law",
    [
        Exponential,
        Deterministic,
        *(lambda mean, law=law: law(mean, 2.0) for law in (Gamma, Hyperexponential, Lognormal, Weibull, Pareto)),
    ],
)
def test_means_that_are_none(law, mean):
    with pytest.raises(InputError) as error:
        law(mean)
    assert in_one_line(error)


@pytest.mark.parametrize("scv", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("law", [Gamma, Lognormal, Weibull])
def test_variations_that_are_none(law, scv):
    with pytest.raises(InputError) as error:
        law(1.0, scv)
    assert in_one_line(error)


@pytest.mark.parametrize("make", [
    lambda: Pareto(1.0, 1.0), lambda: Pareto(1.0, math.nan), lambda: Uniform(2.0, 1.0), lambda: Uniform(-1.0, 1.0),
    lambda: Uniform(0.0, math.inf), lambda: Scenario([]), lambda: Scenario([], policy=PS()),
    lambda: Scenario([request_class("a", 1.0, Exponential(1.0))] * 2),
    lambda: analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=(0.0,)),
    lambda: analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=(100.0,)),
    lambda: analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=(math.nan,)),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(InputError) as error:
        make()
    assert in_one_line(error)


@named(EVERY)
@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_of_time(policy, unit):
    """Rates of 1e12 and 1e-12 per second: everything scales."""
    scaled_policy = MLFQ(thresholds=(unit, 2 * unit)) if isinstance(policy, MLFQ) else policy
    plain = overall(one(0.6, Exponential(1.0), policy), (95.0,))
    scaled = overall(one(0.6 / unit, Exponential(unit), scaled_policy), (95.0,))
    for metric, exact in plain.metrics.items():
        assert (scaled.metrics[metric] is None) == (exact is None), metric
        if exact is not None:
            expected = exact * (unit if metric.endswith("_s") else 1.0)
            assert scaled.metrics[metric] == pytest.approx(expected, rel=1e-6, abs=0.0), metric


@named(EVERY)
def test_nobody_to_wait_for(policy):
    """At 1e-12 per second everyone is alone: T = S, and E[W] is of the order of the load."""
    alone = overall(one(1e-12, Exponential(1.0), policy), (50.0, 99.0))
    assert alone.mean_response_s == pytest.approx(1.0, rel=1e-11)
    assert 0.0 < alone.mean_wait_s < 1.01e-12
    if alone.std_response_s is not None:
        assert alone.std_response_s == pytest.approx(1.0, rel=1e-9)
    if alone.p50_response_s is not None:
        assert alone.p50_response_s == pytest.approx(math.log(2.0), rel=1e-4)
        assert alone.p99_response_s == pytest.approx(math.log(100.0), rel=2e-3)


@named([*BLIND, SJF(), MLFQ(thresholds=(1.0, 2.0)), PreemptivePriority()])
def test_without_a_second_moment_some_means_are_infinite(policy):
    answer = analyse(one(0.5, Pareto(1.0, 1.5), policy))
    assert answer.stable and answer["all"].mean_response_s is None and answer["all"].std_response_s is None
    assert any("mean response is infinite" in note for note in answer.notes)


@named(SHARING)
@pytest.mark.parametrize("alpha", [1.01, 1.5, 2.0, 2.5])
def test_and_some_do_not_care(policy, alpha):
    found = overall(one(0.5, Pareto(1.0, alpha), policy))
    assert (found.mean_response_s, found.mean_slowdown) == (pytest.approx(2.0, rel=1e-12),) * 2


def test_infinite_moments_that_sizes_hide():
    """SRPT, PSJF and LAS keep finite means: in order, and between those of no queue and of sharing."""
    found = [
        overall(one(0.5, Pareto(1.0, 1.5), p)).mean_response_s for p in (SRPT(), PSJF(), Gittins(), LAS(), PS())
    ]
    assert found == sorted(found) and found[0] > 1.0 and found[-1] == pytest.approx(2.0)


@named([FCFS(), LCFS(), RandomOrder(), NonPreemptivePriority(), PreemptivePriority(), SJF()])
def test_without_a_third_moment_the_wait_has_no_deviation(policy):
    answer = analyse(one(0.5, Pareto(1.0, 2.5), policy), percentiles=(50.0,))
    assert answer["all"].mean_response_s is not None and answer["all"].std_response_s is None
    assert any("standard deviation of the response is infinite" in note for note in answer.notes)
    if not isinstance(policy, SJF):
        assert answer["all"].mean_response_s == pytest.approx(1.0 + 0.5 * Pareto(1.0, 2.5).moment(2) / 2 / 0.5)


WILD = [Hyperexponential(1.0, 1e4), Gamma(1.0, 1e4), Lognormal(1.0, 1e4), Weibull(1.0, 1e4)]


@pytest.mark.parametrize("law", WILD, ids=lambda law: type(law).__name__)
def test_huge_variation(law):
    mean = 1.0 + 0.5 * (1.0 + 1e4) / (2.0 * 0.5)
    for policy in BLIND:
        assert overall(one(0.5, law, policy)).mean_response_s == pytest.approx(mean, rel=1e-9), policy.name
    for policy in SHARING:
        assert overall(one(0.5, law, policy)).mean_response_s == pytest.approx(2.0, rel=1e-12), policy.name
    found = [overall(one(0.5, law, policy)).mean_response_s for policy in (SRPT(), PSJF(), LAS(), PS(), SJF())]
    assert found == sorted(found) and found[0] > 1.0


@pytest.mark.parametrize("law", WILD[:3], ids=lambda law: type(law).__name__)
def test_percentiles_of_huge_variation(law):
    """Everyone who finds the server idle (half of them) is served at once: P(T <= t) >= P(S <= t) / 2."""
    found = overall(one(0.5, law, FCFS()), (50.0, 99.0))
    assert found.p99_response_s > found.p50_response_s > 0.0
    assert found.p99_response_s < found.mean_response_s + 10.0 * found.std_response_s  # Cantelli
    assert float(law.cdf(found.p99_response_s)) > 0.99


@pytest.mark.parametrize("law", [Gamma(1.0, 1e-4), Lognormal(1.0, 1e-4), Weibull(1.0, 1e-4)])
def test_next_to_no_variation(law):
    """Close to a constant: M/D/1."""
    constant = overall(one(0.7, Deterministic(1.0), FCFS()), (50.0, 99.0))
    found = overall(one(0.7, law, FCFS()), (50.0, 99.0))
    assert found.mean_response_s == pytest.approx(1.0 + 0.7 * 1.0001 / 0.6, rel=1e-9)
    assert found.p99_response_s == pytest.approx(constant.p99_response_s, rel=2e-3)


SIZES = [0.5 + k / 1000 for k in range(1000)]
RATE = 0.8 / 1000


def thousand(policy):
    return analyse(several([(RATE, Exponential(size)) for size in SIZES], policy), percentiles=())


@named([FCFS(), LCFS(), RandomOrder()])
def test_a_thousand_classes_in_one_queue(policy):
    wait = RATE * math.fsum(2.0 * size**2 for size in SIZES) / 2.0 / (1.0 - RATE * math.fsum(SIZES))
    answer = thousand(policy)
    assert [answer[f"c{k}"].mean_wait_s for k in (0, 500, 999)] == pytest.approx([wait] * 3, rel=1e-10)
    note = next(note for note in answer.notes if "slowdown" in note)
    assert note.endswith("c7 and 992 more")


@named([NonPreemptivePriority(), PreemptivePriority()])
def test_a_thousand_priorities(policy):
    """Cobham's and the preemptive formula, summed as they stand."""
    answer = thousand(policy)
    for k in (0, 1, 499, 999):
        above, upto = (RATE * math.fsum(SIZES[:n]) for n in (k, k + 1))
        seen = SIZES[: k + 1] if isinstance(policy, PreemptivePriority) else SIZES
        wait = RATE * math.fsum(size**2 for size in seen) / ((1.0 - above) * (1.0 - upto))
        stay = SIZES[k] / (1.0 - above) if isinstance(policy, PreemptivePriority) else SIZES[k]
        assert answer[f"c{k}"].mean_response_s == pytest.approx(wait + stay, rel=1e-10)


@named(SHARING)
def test_a_thousand_classes_that_share(policy):
    answer = thousand(policy)
    idle = 1.0 - RATE * math.fsum(SIZES)
    assert answer["c7"].mean_response_s == pytest.approx(SIZES[7] / idle, rel=1e-12)
    assert answer["all"].mean_slowdown == pytest.approx(1.0 / idle, rel=1e-12)


@named([FCFS(), NonPreemptivePriority(), PreemptivePriority(), PS(), LAS(), Gittins()])
@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_next_to_saturation(policy, gap):
    """Exponential sizes and no sizes known: every order has the mean of M/M/1."""
    found = overall(one(1.0 - gap, Exponential(1.0), policy))
    assert found.mean_response_s == pytest.approx(1.0 / gap, rel=max(1e-8, 1e-15 / gap * 10))


@named([SJF(), PSJF(), SRPT()])
def test_sizes_next_to_saturation(policy):
    """(1 - rho) E[T] falls towards 0 as the load goes to 1 (sizes without a bound), while E[T] grows."""
    found = [overall(one(1.0 - gap, Exponential(1.0), policy)).mean_response_s for gap in (1e-2, 1e-4, 1e-6)]
    assert found == sorted(found)
    assert found[0] * 1e-2 > found[1] * 1e-4 > found[2] * 1e-6 > 0.0


def test_classes_of_very_different_size():
    """Nine decades between two classes' sizes: percentiles of each on its own scale."""
    classes = [(0.3e6, Exponential(1e-6)), (0.3e-3, Exponential(1e3))]
    answer = analyse(several(classes, PreemptivePriority()), percentiles=(50.0, 99.0))
    assert answer["c0"].p50_response_s == pytest.approx(math.log(2.0) / (1e6 - 0.3e6), rel=1e-6)
    assert answer["c0"].p99_response_s == pytest.approx(math.log(100.0) / (1e6 - 0.3e6), rel=1e-6)
    slowed = 0.7  # the small ones only take a share of the server from the large
    assert answer["c1"].p99_response_s == pytest.approx(math.log(100.0) / (1e-3 * slowed - 0.3e-3), rel=1e-4)
