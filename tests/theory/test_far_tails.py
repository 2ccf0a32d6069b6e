"""Tails so heavy that double precision ends before them: what is told is right, and what cannot be is left out."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.policy import FCFS, LAS, PS, SRPT, NonPreemptivePriority
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.theory import analyse
from qmodel.theory.arrivals.modulated_work import ModulatedWork
from qmodel.workload import Exponential, Pareto, Weibull
from qmodel.workload.partial import limited_moment
from tests.theory.scenarios import one, request_class, several

STEADY = Environment((1.0, 1.0), ((-1.0, 1.0), (1.0, -1.0)))


@pytest.mark.parametrize("policy", [FCFS(), NonPreemptivePriority()], ids=lambda policy: policy.name)
def test_the_tail_of_the_wait_is_that_of_the_residual_service(policy):
    """P(W > t) ~ rho / (1 - rho) P(R > t): at alpha = 1.3 the 99th percentile is 10^5 services away."""
    law = Pareto(1.0, 1.3)
    found = analyse(one(0.5, law, policy), percentiles=(99.0, 99.9))["all"]
    least = 0.3 / 1.3
    for tail, t in ((0.01, found.p99_response_s), (1e-3, found.metrics["p99.9_response_s"])):
        assert least**1.3 / 0.3 * t**-0.3 == pytest.approx(tail, abs=1e-4)


@pytest.mark.parametrize("system", [System(), System(environment=STEADY)], ids=["FCFS", "environment"])
def test_percentiles_past_double_precision_are_left_out(system):
    """At alpha = 1.1 the 99th is near 3.5e18 s, where 1 - E[exp(-sS)] has no digit left; the median is there."""
    scenario = Scenario([request_class("a", 0.5, Pareto(1.0, 1.1))], system=system)
    answer = analyse(scenario, percentiles=(50.0, 99.0, 99.9))
    for part in answer.classes:
        assert part.p50_response_s == pytest.approx(0.67836, rel=1e-4)
        assert part.p99_response_s is None and part.metrics["p99.9_response_s"] is None
    assert any("beyond double precision" in note for note in answer.notes)


@pytest.mark.parametrize("policy", [PS(), SRPT()], ids=lambda policy: policy.name)
def test_and_kept_where_sizes_wait_for_less(policy):
    answer = analyse(one(0.5, Pareto(1.0, 1.1), policy), percentiles=(99.0,))
    assert answer["all"].p99_response_s is not None
    assert not any("double precision" in note for note in answer.notes)


def test_far_is_measured_by_the_services():
    """Light tails in any unit: nothing is left out."""
    for unit in (1e-9, 1.0, 1e15):
        answer = analyse(one(0.5 / unit, Exponential(unit), FCFS()), percentiles=(99.0,))
        assert answer["all"].p99_response_s == pytest.approx(2.0 * np.log(100.0) * unit, rel=1e-6)


def test_work_at_the_last_digits_of_zero_is_the_whole_law():
    rates = np.array([[-1.3, 1.0], [1.0, -1.3]])
    work = ModulatedWork(rates, (0.3 * np.eye(2),), (Exponential(1.0),), np.ones(2))
    found = work.transform(np.array([1e-300, 1e-18, 1e-6]))
    assert found[0].real.tolist() == found[1].real.tolist() == pytest.approx([0.5, 0.5], rel=1e-12)
    assert found[2].real.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_steep_density_far_beyond_its_law_is_zero():
    law = Weibull(1.0, 0.01)
    with np.errstate(all="raise", under="ignore"):
        assert law.pdf([1e4, 1e60, 1e300]).tolist() == [0.0, 0.0, 0.0]
        assert float(law.pdf(1.0)) == pytest.approx(
            float((law.cdf(1.0 + 1e-6) - law.cdf(1.0 - 1e-6)) / 2e-6), rel=1e-6
        )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_limited_moments_far_out(k):
    """E[min(S, x)^k] of a Pareto law from its closed form, though x^3 is beyond a double."""
    law, least, alpha = Pareto(1.0, 1.1), 0.1 / 1.1, 1.1
    x = 1e140
    exact = least**k * (1.0 + k / (k - alpha) * ((x / least) ** (k - alpha) - 1.0))
    with np.errstate(all="raise", under="ignore"):
        assert float(limited_moment(law, k, x)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("policy", [SRPT(), LAS()], ids=lambda policy: policy.name)
def test_a_steep_law_beside_one_without_an_end(policy):
    """Sums over the sizes of one class reach far beyond the other's: they are numbers, in between the two alone."""
    steep, endless = Weibull(1.0, 0.01), Pareto(1.0, 1.1)
    with np.errstate(over="raise", invalid="raise"):
        both = analyse(several([(0.3, steep), (0.3, endless)], policy), percentiles=())["all"].mean_response_s
        alone = [analyse(one(0.6, law, policy), percentiles=())["all"].mean_response_s for law in (endless, steep)]
    assert alone[0] < both < alone[1]
