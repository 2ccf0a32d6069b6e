"""Both priorities: oracles, conservation, percentiles against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.policy import FCFS, NonPreemptivePriority, PreemptivePriority
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.m_g_1 import fcfs
from qmodel.theory.one_server.np_priority import non_preemptive
from qmodel.theory.one_server.preemptive_priority import preemptive_resume
from qmodel.workload import Deterministic, Exponential, Gamma, Hyperexponential, Lognormal, Mixture, Pareto, Uniform
from tests.theory import queues
from tests.theory.scenarios import ORACLES, means, one, request_class, several

POLICIES = [NonPreemptivePriority(), PreemptivePriority()]
MODELS = {"np-priority": non_preemptive, "pr-priority": preemptive_resume}


@pytest.mark.parametrize("kind", ["M/M/1 np-priority", "M/M/1 pr-priority", "M/H2/1 (scv 4) np-priority"])
def test_oracle_means(kind):
    law = Hyperexponential(1.0, 4.0) if "H2" in kind else Exponential(1.0)
    policy = PreemptivePriority() if kind.endswith("pr-priority") else NonPreemptivePriority()
    exact = ORACLES["two classes, arrival rates 0.3 and 0.5, class 1 first, mean T"][kind]
    assert means(several([(0.3, law), (0.5, law)], policy)) == pytest.approx(exact, rel=1e-11)


def test_preemptive_hyperexponential():
    law = Hyperexponential(1.0, 4.0)
    exact = [1 + 0.3 * 2.5 / 0.7, 1 / 0.7 + 0.8 * 2.5 / (0.7 * 0.2)]
    assert means(several([(0.3, law), (0.5, law)], PreemptivePriority())) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_one_priority_is_fcfs(policy):
    classes = [request_class("a", 0.3, Exponential(1.0)), request_class("b", 0.2, Deterministic(2.0))]
    found = MODELS[policy.name](Scenario(classes, policy=policy).served)
    plain = fcfs(Scenario(classes).served)
    for mine, theirs in zip(found.classes, plain.classes, strict=True):
        assert mine.mean_response == pytest.approx(theirs.mean_response, rel=1e-12)
        assert mine.mean_slowdown == pytest.approx(theirs.mean_slowdown, rel=1e-12)
        for t in (0.5, 2.5, 7.0):
            assert mine.law.cdf(t) == pytest.approx(theirs.law.cdf(t), abs=1e-6)


laws = st.sampled_from(
    [
        Exponential(1.0),
        Deterministic(0.7),
        Hyperexponential(2.0, 3.0),
        Uniform(0.1, 1.5),
        Gamma(1.3, 0.01),
        Lognormal(0.4, 2.0),
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1.0), laws), min_size=1, max_size=5), st.floats(0.05, 0.99))
def test_kleinrock_conservation(parts, load):
    """sum rho_k W_k is the same under every non-preemptive work-conserving order."""
    scale = load / sum(rate * law.mean for rate, law in parts)
    classes = [(rate * scale, law) for rate, law in parts]
    total = sum(
        rate * law.mean * (t - law.mean)
        for (rate, law), t in zip(classes, means(several(classes, NonPreemptivePriority())), strict=True)
    )
    residual = sum(rate * law.moment(2) for rate, law in classes) / 2
    assert total == pytest.approx(load * residual / (1 - load), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5), st.floats(0.05, 0.99))
def test_exponential_preemption_conserves_the_number(weights, load):
    """Equal exponential services: preemption leaves the mean number in the system as it is under FCFS."""
    rates = [w * load / sum(weights) for w in weights]
    found = means(several([(rate, Exponential(1.0)) for rate in rates], PreemptivePriority()))
    assert sum(r * t for r, t in zip(rates, found, strict=True)) == pytest.approx(load / (1 - load), rel=1e-9)


CASES = {
    "exponential": [(0.3, Exponential(1.0)), (0.45, Exponential(1.0))],
    "deterministic": [(0.3, Deterministic(1.0)), (0.2, Deterministic(2.0))],
    "fitted": [(0.3, Mixture((0.5, 0.5), (Gamma(0.5, 1e-3), Gamma(1.0, 1e-3)))), (0.2, Gamma(2.0, 1e-4))],
    "three": [(0.2, Uniform(0.2, 1.0)), (0.2, Exponential(1.0)), (0.2, Hyperexponential(1.5, 3.0))],
}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@pytest.mark.parametrize("case", CASES)
def test_law_against_simulation(case, policy):
    classes = CASES[case]
    arriving = queues.jobs([(rate, law, law) for rate, law in classes], 120_000, seed=7)
    served = queues.priority_queue(arriving, policy.preemptive)
    result = MODELS[policy.name](several(classes, policy).served)
    for k, part in enumerate(result.classes):
        times = queues.responses(served, k)
        assert queues.Estimate.of(times).agrees(part.mean_response, within=0.06)
        for t in np.quantile(times, [0.3, 0.6, 0.9, 0.98]) * 1.003:
            estimate = queues.Estimate.of(times <= t)
            assert estimate.agrees(part.law.cdf(float(t)), within=0.03)


def test_three_laws_have_the_means_of_the_formulas():
    """Independent of the series: the transforms' slope at 0 is Cobham's and the preemptive mean."""
    for model in MODELS.values():
        for part in model(several(CASES["three"], FCFS()).served).classes:
            theta = np.array([5e-5, 1e-4], dtype=complex)
            law = part.law
            s, found = law._path(theta)
            stretch = (law._path(theta + 1e-7)[0] - law._path(theta - 1e-7)[0]) / 2e-7
            tail = part.served.size.lst(s) * (1.0 - law._mass) if law._known(1e9) else 0.0
            slopes = ((1.0 - found * s / stretch - tail) / s).real
            at_zero = slopes[0] - (slopes[1] - slopes[0]) * (s[0] / (s[1] - s[0])).real
            assert at_zero == pytest.approx(part.mean_response, rel=1e-5)


def test_percentiles_of_the_highest_preemptive_class_ignore_the_others():
    alone = analyse(one(0.3, Deterministic(1.0), FCFS()))["a"]
    above = analyse(several([(0.3, Deterministic(1.0)), (0.3, Exponential(2.0))], PreemptivePriority()))["c0"]
    for metric in ("mean_response_s", "p50_response_s", "p95_response_s", "p99_response_s"):
        assert above.metrics[metric] == pytest.approx(alone.metrics[metric], rel=1e-5)


def test_preemptive_high_class_survives_a_low_one_without_second_moment():
    classes = [(0.3, Exponential(1.0)), (0.2, Pareto(1.0, 1.5))]
    preemptive, patient = (analyse(several(classes, policy), percentiles=()) for policy in reversed(POLICIES))
    assert preemptive["c0"].mean_response_s == pytest.approx(1 / 0.7, rel=1e-12)
    assert preemptive["c1"].mean_response_s is None and preemptive["all"].mean_response_s is None
    assert patient["c0"].mean_response_s is None


def test_preemptive_early_release():
    """The result is out at a share of the service; the rest of it still delays the class."""
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    classes = [(0.3, Exponential(1.0)), (0.4, Exponential(1.0))]
    found = means(several(classes, PreemptivePriority(), transforms=[release]))
    assert found == pytest.approx([0.5 + 0.3 / 0.7, 0.5 / 0.7 + 0.7 / (0.7 * 0.3)], rel=1e-12)


def test_jump_of_uninterrupted_services():
    """Deterministic 1 and 2: class 2 is out after exactly 2 s if it meets no work and no interruption."""
    result = preemptive_resume(several([(0.3, Deterministic(1.0)), (0.2, Deterministic(2.0))], FCFS()).served)
    law = result.classes[1].law
    jump = 0.3 * np.exp(-0.3 * 2)
    assert law.cdf(2.0) - law.cdf(2.0 - 1e-6) == pytest.approx(jump, abs=1e-5)
    once = 0.3 * (2 / 3) * np.exp(-0.3 * 3) * 0.3 * 3
    assert law.cdf(3.0) - law.cdf(3.0 - 1e-6) == pytest.approx(once, abs=2e-5)
