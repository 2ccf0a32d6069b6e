"""The law of the response under processor sharing."""

import math

import numpy as np
import pytest

from qmodel.policy import PS
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.sharing_law import SharingLaw
from qmodel.workload import Deterministic, Exponential, Gamma, Hyperexponential, Mixture, Pareto
from tests.theory import queues
from tests.theory.scenarios import ORACLES, one, several


def test_hyperexponential_oracles():
    law = Hyperexponential(1.0, 4.0)
    exact = ORACLES["M/H2/1 (scv 4) at 0.8, P(T<=5) and P(T<=20)"]["ps"]
    found = SharingLaw(law, 0.8, law)
    assert [found.cdf(5.0), found.cdf(20.0)] == pytest.approx(exact, abs=2e-5)


def coffman_muntz_trotter(s, x, rate):
    """E[exp(-s V(x))] of M/M/1 with unit mean service (J. ACM 17 (1970) 123-130)."""
    r = (rate + 1 + s - np.sqrt((rate + 1 + s) ** 2 - 4 * rate)) / (2 * rate)
    upper = (1 - rate) * (1 - rate * r * r) * np.exp(-(rate * (1 - r) + s) * x)
    return upper / ((1 - rate * r) ** 2 - rate * (1 - r) ** 2 * np.exp(-x * (1 / r - rate * r)))


@pytest.mark.parametrize("rate", [0.3, 0.9])
@pytest.mark.parametrize("x", [0.3, 2.0, 8.0])
@pytest.mark.parametrize("u", [0.5, 10.0])
def test_conditional_transform_of_m_m_1(rate, x, u):
    s = (11 + 1j * np.pi * np.arange(20)) / u
    law = SharingLaw(Exponential(1.0), rate, Exponential(1.0))
    found = law._excess_transform(s[None, :], np.array([x]))[0]
    np.testing.assert_allclose(found, coffman_muntz_trotter(s, x, rate) * np.exp(s * x), atol=2e-6)


LAWS = {
    "exponential": Exponential(1.0),
    "deterministic": Deterministic(1.0),
    "fitted": Mixture((0.5, 0.5), (Gamma(0.5, 1e-3), Gamma(1.5, 1e-3))),
    "heavy": Pareto(1.0, 1.6),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("load", [pytest.param(0.3, marks=pytest.mark.slow), 0.8])
def test_law_against_simulation(name, load):
    law = LAWS[name]
    served = queues.sharing_queue(queues.sized_jobs([(load, law, lambda rng, s: s)], 150_000, seed=2))
    times = np.array([job.done - job.arrival for job in served])
    found = SharingLaw(law, load, law)
    for t in np.quantile(times, [0.1, 0.5, 0.9, 0.99]) * 1.003:
        estimate = queues.Estimate.of(times <= t)
        assert estimate.error < 0.02
        assert found.cdf(float(t)) == pytest.approx(estimate.mean, abs=4 * estimate.error + 1e-4)


def test_classes_have_their_own_percentiles():
    classes = [(0.3, Gamma(0.5, 0.01)), (0.3, Exponential(1.0))]
    answer = analyse(several(classes, PS()))
    jobs = queues.sized_jobs([(r, law, lambda rng, s: s) for r, law in classes], 150_000, seed=3)
    served = queues.sharing_queue(jobs)
    for k in (0, 1):
        times = np.array([job.done - job.arrival for job in served if job.number == k])
        for percent in (50, 95, 99):
            below = queues.Estimate.of(times <= answer[f"c{k}"].metrics[f"p{percent}_response_s"])
            assert below.agrees(percent / 100, within=0.02)


def test_point_masses_of_constant_sizes():
    """Alone: (1 - rho) exp(-lambda). With one other that stays to the end: never, since its residual is shorter."""
    law = SharingLaw(Deterministic(1.0), 0.5, Deterministic(1.0))
    assert law.cdf(1.0) == pytest.approx(0.5 * math.exp(-0.5), rel=1e-9)
    assert law.cdf(1.0 - 1e-9) == 0.0 and law.cdf(0.0) == 0.0
    assert law.cdf(2.0 + 1e-9) - law.cdf(2.0 - 1e-9) == pytest.approx(0.0, abs=1e-6)


def test_point_masses_at_multiples():
    """Size 1 among longer ones: V = 2 exactly if one other is met that stays, and nobody comes for 2 s."""
    everyone = Mixture((0.5, 0.5), (Deterministic(1.0), Deterministic(4.0)))
    law = SharingLaw(Deterministic(1.0), 0.2, everyone)
    residual = 1 - (0.5 * 1 + 0.5 * 1) / 2.5
    assert law.cdf(2.0) - law.cdf(2.0 - 1e-9) == pytest.approx(0.5 * 0.5 * residual * math.exp(-0.4), rel=1e-6)


def test_early_release_sees_the_smaller_size():
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    early = analyse(one(0.6, Deterministic(1.0), PS(), transforms=[release]))["a"]
    law = SharingLaw(Deterministic(0.5), 0.6, Deterministic(1.0))
    assert law.cdf(early.p95_response_s) == pytest.approx(0.95, abs=1e-5)


def test_very_long_requests_take_the_fluid_limit():
    law = SharingLaw(Deterministic(1000.0), 0.5, Deterministic(1.0))
    assert law.cdf(1999.0) == pytest.approx(0.0, abs=1e-9)
    assert law.cdf(2001.0) == pytest.approx(1.0, abs=1e-9)
    assert law.percentile(50.0) == pytest.approx(2000.0, rel=1e-6)
