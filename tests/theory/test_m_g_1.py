"""M/G/1 FCFS: Pollaczek-Khinchine, its transform, percentiles."""

import math
from functools import lru_cache

import mpmath
import numpy as np
import pytest

from qmodel.policy import FCFS
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.m_g_1 import fcfs
from qmodel.workload import (
    Deterministic,
    Discrete,
    Erlang,
    Exponential,
    Gamma,
    Hyperexponential,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
)
from tests.theory.scenarios import ORACLES, one, request_class, several

NEAR_DETERMINISTIC = Mixture((0.3, 0.7), (Gamma(0.4, 1e-3), Gamma(1.2, 1e-4)))


def law_of(scenario):
    return fcfs(scenario.served).classes[0].law


def test_issue_example():
    answer = analyse(one(0.8, Exponential(1.0), FCFS()))["all"]
    assert answer.mean_response_s == pytest.approx(5.0, rel=1e-12)
    assert answer.p95_response_s == pytest.approx(14.97866137, abs=1e-6)
    assert answer.p99_response_s == pytest.approx(23.02585093, abs=1e-6)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("percent", [1.0, 50.0, 95.0, 99.0, 99.9])
def test_exponential_response_is_exponential(load, percent):
    found = law_of(one(load, Exponential(1.0), FCFS())).percentile(percent)
    assert found == pytest.approx(-math.log1p(-percent / 100) / (1 - load), rel=2e-6)


@pytest.mark.parametrize("load", ["0.5", "0.8"])
def test_oracle_means(load):
    rate = float(load)
    exact = ORACLES["M/M/1 mean T"][load]["fcfs"]
    assert analyse(one(rate, Exponential(1.0), FCFS()))["a"].mean_response_s == pytest.approx(exact, rel=1e-12)


def test_hyperexponential_oracles():
    h2 = Hyperexponential(1.0, 4.0)
    assert analyse(one(0.5, h2, FCFS()))["a"].mean_response_s == pytest.approx(3.5, rel=1e-12)
    law = law_of(one(0.8, h2, FCFS()))
    exact = ORACLES["M/H2/1 (scv 4) at 0.8, P(T<=5) and P(T<=20)"]["fcfs"]
    assert [law.cdf(5.0), law.cdf(20.0)] == pytest.approx(exact, abs=6e-8)


@lru_cache
def crommelin(rate, t):
    """P(W <= t) of M/D/1 with unit service (Erlang 1909; Crommelin 1932), in 60 digits."""
    with mpmath.workdps(60):
        rate, t = mpmath.mpf(rate), mpmath.mpf(t)
        terms = (
            (rate * (j - t)) ** j / mpmath.factorial(j) * mpmath.exp(-rate * (j - t)) for j in range(int(t) + 1)
        )
        return float((1 - rate) * mpmath.fsum(terms))


@pytest.mark.parametrize("load", [0.3, 0.8, 0.95])
def test_deterministic_service_against_crommelin(load):
    law = law_of(one(load, Deterministic(1.0), FCFS()))
    for t in (0.3, 1.2, 1.9, 2.5, 3.7, 5.5, 9.25):
        assert law.cdf(t) == pytest.approx(0.0 if t < 1 else crommelin(load, t - 1), abs=2e-6)


def test_deterministic_jump_is_exact():
    law = law_of(one(0.4, Deterministic(2.0), FCFS()))
    assert law.cdf(2.0) == pytest.approx(0.2, abs=1e-5)
    assert law.cdf(2.0 - 1e-9) == pytest.approx(0.0, abs=1e-5)
    assert law.percentile(15.0) == pytest.approx(2.0, rel=1e-9)


def lattice_bounds(law, rate, t, steps=400):
    """P(T <= t) bounded: W is a geometric sum of residual services, rounded up or down on a lattice."""
    h = 1.0 / steps
    n = round(t / h)
    edges = np.arange(n + 2) * h
    inside = edges[:-1, None] + (np.arange(16) + 0.5) * h / 16
    cell = law.sf(inside).mean(axis=1) * h / law.mean
    load = rate * law.mean
    bounds = []
    for shift in (1, 0):
        weights = np.concatenate((np.zeros(shift), cell))[: n + 1]
        wait = np.zeros(n + 1)
        wait[0] = (1 - load) / (1 - load * weights[0])
        for k in range(1, n + 1):
            wait[k] = load * (weights[1 : k + 1] @ wait[k - 1 :: -1][:k]) / (1 - load * weights[0])
        own = law.cdf(edges[: n + 1][::-1])
        bounds.append(float(wait @ own))
    return bounds


@pytest.mark.parametrize(
    "law", [Uniform(0.5, 1.5), NEAR_DETERMINISTIC, Gamma(1.0, 0.01), Weibull(1.0, 2.0), Erlang(4, 1.0)], ids=str
)
def test_cdf_within_lattice_bounds(law):
    found = law_of(one(0.7 / law.mean, law, FCFS()))
    for t in (0.8, 1.7, 4.0):
        low, high = lattice_bounds(law, 0.7 / law.mean, t)
        assert high - low < 0.012
        assert low < found.cdf(t) < high
        assert found.cdf(t) == pytest.approx(0.5 * (low + high), abs=0.02 * (high - low) + 1e-5)


@pytest.mark.parametrize(
    "law", [Hyperexponential(1.0, 4.0), NEAR_DETERMINISTIC, Discrete((0.5, 2.0), (0.6, 0.4))], ids=str
)
def test_law_has_the_mean_of_the_formula(law):
    result = fcfs(one(0.6, law, FCFS()).served).classes[0]
    t = np.arange(0.025, 120.0, 0.05)
    tail = np.array([1.0 - result.law.cdf(float(x)) for x in t])
    assert tail[-1] < 1e-6
    assert result.mean_response == pytest.approx(0.05 * tail.sum(), rel=2e-4)


def test_infinite_second_moment_leaves_percentiles():
    answer = analyse(one(0.5, Pareto(1.0, 1.8), FCFS()))
    assert answer["a"].mean_response_s is None
    assert answer["a"].mean_wait_s is None
    assert any("infinite" in note and "a" in note for note in answer.notes)
    assert answer["a"].p50_response_s < answer["a"].p95_response_s < answer["a"].p99_response_s


def test_slowdown():
    answer = analyse(one(0.5, Gamma(2.0, 0.5).scaled(0.5), FCFS()), percentiles=())
    wait = 0.5 * 1.5 / (2 * 0.5)
    assert answer["a"].mean_slowdown == pytest.approx(1 + wait * 2.0, rel=1e-12)
    exponential = analyse(one(0.5, Exponential(1.0), FCFS()), percentiles=())
    assert exponential["a"].mean_slowdown is None
    assert any("slowdown is infinite" in note for note in exponential.notes)


def test_early_release_moves_delivery_but_not_the_queue():
    release = EarlyExit(fractions=(0.25, 1.0), probabilities=(0.4, 0.6), delivery="release")
    plain = analyse(one(0.7, Exponential(1.0), FCFS()))
    early = analyse(one(0.7, Exponential(1.0), FCFS(), transforms=[release]))
    assert early["a"].mean_wait_s == pytest.approx(plain["a"].mean_wait_s, rel=1e-12)
    assert early["a"].mean_service_s == pytest.approx(0.4 * 0.25 + 0.6, rel=1e-12)
    assert early["a"].mean_response_s == pytest.approx(7 / 3 + 0.7, rel=1e-12)
    # W is 0 or exponential of rate 0.3; D = 0.25 S or S
    law = law_of(one(0.7, Exponential(1.0), FCFS(), transforms=[release]))
    for t in (0.2, 1.0, 6.0):
        exact = sum(
            p
            * (
                0.3 * -math.expm1(-m * t)
                + 0.7 * (1 - (m * math.exp(-0.3 * t) - 0.3 * math.exp(-m * t)) / (m - 0.3))
            )
            for p, m in ((0.4, 4.0), (0.6, 1.0))
        )
        assert law.cdf(t) == pytest.approx(exact, abs=1e-7)


def test_classes_share_the_wait():
    answer = analyse(several([(0.2, Exponential(1.0)), (0.1, Deterministic(4.0))], FCFS()), percentiles=(90.0,))
    wait = (0.2 * 2 + 0.1 * 16) / (2 * (1 - 0.6))
    assert answer["c0"].mean_response_s == pytest.approx(wait + 1, rel=1e-12)
    assert answer["c1"].mean_response_s == pytest.approx(wait + 4, rel=1e-12)
    assert answer["all"].mean_response_s == pytest.approx(wait + 2, rel=1e-12)
    p90 = [answer[name].metrics["p90_response_s"] for name in ("c0", "all", "c1")]
    assert p90 == sorted(p90) and p90[0] < p90[2]


def test_percentile_of_all_is_of_the_mixture():
    scenario = several([(0.2, Exponential(1.0)), (0.1, Deterministic(4.0))], FCFS())
    answer = analyse(scenario, percentiles=(90.0,))
    at = answer["all"].metrics["p90_response_s"]
    laws = [part.law for part in fcfs(scenario.served).classes]
    assert (0.2 * laws[0].cdf(at) + 0.1 * laws[1].cdf(at)) / 0.3 == pytest.approx(0.9, abs=1e-6)


def test_attainment_is_the_probability_of_the_limit():
    scenario = one(0.8, Exponential(1.0), FCFS(), slo={"response_p99_s": 20.0, "response_s": 10.0})
    answer = analyse(scenario, percentiles=())
    assert answer["a"].attainment == pytest.approx(-math.expm1(-2.0), abs=1e-7)
    assert answer["all"].attainment == answer["a"].attainment
    both = one(0.8, Exponential(1.0), FCFS(), slo={"response_s": 10.0, "ttft_s": 1.0})
    assert analyse(both, percentiles=())["a"].attainment is None  # limits on two times at once
    assert request_class("b", 1.0, Exponential(1.0)).slo == {}
