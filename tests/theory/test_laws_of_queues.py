"""Laws that hold whatever the numbers: conservation, insensitivity, optimality, limits, and special cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.policy import (
    DPS,
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    PSPJF,
    SJF,
    SPJF,
    SPRPT,
    SRPT,
    TRAIL,
    AccumulatingPriority,
    Gittins,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
    Rank,
)
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.theory.one_server.m_g_1 import fcfs
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    PredictedSize,
    Uniform,
    Weibull,
)
from tests.theory.scenarios import means, one, request_class, several

LAWS = st.sampled_from(
    [
        Exponential(1.0),
        Deterministic(0.7),
        Discrete((0.3, 2.0), (0.6, 0.4)),
        Hyperexponential(2.0, 3.0),
        Uniform(0.1, 1.5),
        Gamma(1.3, 0.1),
        Lognormal(0.4, 2.0),
        Weibull(0.9, 4.0),
    ]
)
PARTS = st.lists(st.tuples(st.floats(0.05, 1.0), LAWS), min_size=2, max_size=3)
LOADS = st.floats(0.05, 0.95)
ORDERLY = [FCFS(), LCFS(), RandomOrder(), NonPreemptivePriority(), AccumulatingPriority(rates=(3.0, 1.0, 0.5))]
BLIND = [*ORDERLY, PreemptivePriority(), PS(), LCFSPreemptive(), LAS(), MLFQ(thresholds=(0.5, 2.0))]
GUESSING = [SPJF(), PSPJF(), SPRPT(), TRAIL()]
NOISY = PredictedSize("exponential")


def named(policies):
    return pytest.mark.parametrize("policy", policies, ids=lambda policy: policy.name)


def at_load(parts, load):
    """The same mix of classes at this load."""
    scale = load / math.fsum(rate * law.mean for rate, law in parts)
    return [(rate * scale, law) for rate, law in parts]


def rates_for(policy, classes):
    """Accumulating priority has a rate for each class."""
    return AccumulatingPriority(rates=policy.rates[: len(classes)]) if policy.name == "accumulating" else policy


def mean(classes, policy):
    return analyse(several(classes, rates_for(policy, classes)), percentiles=())["all"].mean_response_s


@named(ORDERLY)
@settings(max_examples=12, deadline=None)
@given(parts=PARTS, load=LOADS)
def test_kleinrock_conserves_the_work(policy, parts, load):
    """sum rho_k W_k = rho W0 / (1 - rho) under every order that knows no sizes and interrupts nothing."""
    classes = at_load(parts, load)
    found = means(several(classes, rates_for(policy, classes)))
    total = math.fsum(rate * law.mean * (t - law.mean) for (rate, law), t in zip(classes, found, strict=True))
    residual = math.fsum(rate * law.moment(2) for rate, law in classes) / 2.0
    assert total == pytest.approx(load * residual / (1.0 - load), rel=1e-9)


@named([PS(), LCFSPreemptive()])
@settings(max_examples=12, deadline=None)
@given(parts=PARTS, load=LOADS)
def test_insensitivity(policy, parts, load):
    """Each class's mean is its mean size over the idle share, whatever the laws."""
    found = means(several(at_load(parts, load), policy))
    assert found == pytest.approx([law.mean / (1.0 - load) for _, law in parts], rel=1e-10)


@settings(max_examples=6, deadline=None)
@given(parts=PARTS, load=LOADS)
def test_nothing_beats_srpt(parts, load):
    classes = at_load(parts, load)
    best = mean(classes, SRPT())
    for policy in [*BLIND, SJF(), PSJF(), Gittins()]:
        assert best <= mean(classes, policy) * (1 + 1e-9), policy.name


@named(GUESSING)
@settings(max_examples=4, deadline=None)
@given(law=st.sampled_from([Exponential(1.0), Hyperexponential(1.0, 4.0), Lognormal(1.0, 0.5)]), load=LOADS)
def test_guesses_cost_time(policy, law, load):
    """Predictions with errors are worse than exact ones of the same order; exact ones are the order by size."""
    scenario = one(load, law, policy, predicted_size=NOISY)
    exact = one(load, law, policy, predicted_size=PredictedSize("exact"))
    assert means(scenario)[0] > means(exact)[0] >= means(one(load, law, SRPT()))[0] * (1 - 1e-9)


@settings(max_examples=8, deadline=None)
@given(law=LAWS, load=LOADS)
def test_gittins_is_best_of_those_that_know_no_sizes(law, load):
    classes = [(load / law.mean, law)]
    best = mean(classes, Gittins())
    for policy in (FCFS(), LAS(), PS(), MLFQ(thresholds=(0.5, 2.0))):
        assert best <= mean(classes, policy) * (1 + 1e-7), policy.name


@settings(max_examples=20, deadline=None)
@given(load=st.floats(0.01, 0.99), size=st.floats(1e-3, 1e3))
def test_exponential_sizes_make_all_blind_orders_alike(load, size):
    classes = [(load / size, Exponential(size))]
    for policy in [*BLIND, DPS(), Gittins()]:
        if policy.name != "mlfq":  # FCFS inside a level: `test_soap.py`
            assert mean(classes, policy) == pytest.approx(size / (1.0 - load), rel=1e-8), policy.name


@named([*BLIND, SJF(), PSJF(), SRPT(), Gittins()])
@settings(max_examples=5, deadline=None)
@given(law=LAWS, load=LOADS)
def test_one_class_in_two_is_one_class(policy, law, load):
    """Two classes of one law and one priority fare as one."""
    if policy.name == "accumulating":
        policy = AccumulatingPriority(rates=(2.0,))
    rate = load / law.mean
    classes = [request_class("a", 0.3 * rate, law), request_class("b", 0.7 * rate, law)]
    found = means(Scenario(classes, policy=policy))
    assert found == pytest.approx(means(one(rate, law, policy)) * 2, rel=1e-7)


@named([*BLIND, DPS(), SJF(), PSJF(), SRPT(), Gittins()])
def test_alone_at_load_zero(policy):
    """T = S + O(rho), and E[T] falls to it."""
    laws = [Exponential(1.0), Hyperexponential(2.0, 3.0)]
    found = [means(several([(load, law) for law in laws], rates_for(policy, laws))) for load in (1e-3, 1e-6, 1e-9)]
    for k, law in enumerate(laws):
        beyond = [each[k] - law.mean for each in found]
        assert 0.0 < beyond[0] < 0.1 and beyond[1] == pytest.approx(beyond[0] * 1e-3, rel=0.02)
        assert found[2][k] == pytest.approx(law.mean, rel=1e-7)


@named([*BLIND, SJF(), PSJF(), SRPT(), Gittins()])
@settings(max_examples=4, deadline=None)
@given(parts=PARTS, load=st.floats(0.05, 0.9))
def test_more_arrivals_more_time(policy, parts, load):
    assert mean(at_load(parts, load), policy) < mean(at_load(parts, load * 1.05), policy)


@settings(max_examples=20, deadline=None)
@given(servers=st.integers(1, 12), load=st.floats(0.05, 0.95))
def test_little(servers, load):
    """lambda E[T] is the mean number in the chain of M/M/k, summed over its states."""
    rate = load * servers
    weights = [1.0]
    while weights[-1] > 1e-18 * max(weights) or len(weights) <= servers:
        weights.append(weights[-1] * rate / min(len(weights), servers))
    number = math.fsum(n * weight for n, weight in enumerate(weights)) / math.fsum(weights)
    scenario = Scenario([request_class("a", rate, Exponential(1.0))], policy=FCFS(), system=System(servers=servers))
    assert rate * means(scenario)[0] == pytest.approx(number, rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(law=LAWS.filter(lambda law: not law.atoms() and not isinstance(law, Uniform)), load=LOADS)
def test_little_in_distribution(law, load):
    """FCFS: who leaves sees those who came meanwhile, so that nobody stays behind with probability 1 - rho."""
    rate = load / law.mean
    law_of_response = fcfs(one(rate, law, FCFS()).served).classes[0].law
    nodes, weights = np.polynomial.legendre.leggauss(8)
    near = np.geomspace(1e-6, 0.5, 16)
    ends = np.concatenate(([0.0], near, 1.0 - near[-2::-1], [1.0]))
    u = (ends[:-1, None] + np.diff(ends)[:, None] * 0.5 * (nodes + 1.0)).reshape(-1)
    du = (np.diff(ends)[:, None] * 0.5 * weights).reshape(-1)
    nobody = sum(w * law_of_response.cdf(-math.log(x) / rate) for x, w in zip(u, du, strict=True))
    assert nobody == pytest.approx(1.0 - load, abs=3e-6)


class Own(Rank):
    """A user's rank: what a preset does, said in one line."""

    name, preemptive = "own", True

    def __init__(self, say, preemptive=True):
        self._say, self.preemptive = say, preemptive

    def rank(self, request, attained):
        return self._say(request, attained)


SAID = {
    "np-priority": (NonPreemptivePriority(), Own(lambda r, a: r.priority, preemptive=False)),
    "pr-priority": (PreemptivePriority(), Own(lambda r, a: r.priority)),
    "las": (LAS(), Own(lambda r, a: a)),
    "mlfq": (MLFQ(thresholds=(0.5, 2.0)), Own(lambda r, a: (a >= 0.5) + (a >= 2.0))),
    "fcfs": (FCFS(), Own(lambda r, a: -a)),
}


@pytest.mark.parametrize("name", SAID)
@settings(max_examples=4, deadline=None)
@given(parts=PARTS, load=st.floats(0.1, 0.9))
def test_soap_reproduces_the_special_cases(name, parts, load):
    preset, own = SAID[name]
    classes = at_load(parts, load)
    assert means(several(classes, own)) == pytest.approx(means(several(classes, preset)), rel=1e-6)


@pytest.mark.parametrize("preset", [SJF(), PSJF(), SRPT()], ids=lambda policy: policy.name)
@pytest.mark.parametrize("law", [Exponential(1.0), Uniform(0.1, 1.5)], ids=lambda law: type(law).__name__)
def test_soap_reproduces_the_orders_by_size(preset, law):
    own = Own(lambda r, a: r.size - a if preset.name == "srpt" else r.size, preset.preemptive)
    classes = [(0.7 / law.mean, law)]
    assert mean(classes, own) == pytest.approx(mean(classes, preset), rel=1e-3)
