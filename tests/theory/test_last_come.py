"""LCFS with and without preemption, and random order."""

import numpy as np
import pytest

from qmodel.policy import FCFS, LCFS, LCFSPreemptive, RandomOrder
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.last_come import last_come_first_served, preemptive_last_come
from qmodel.workload import Deterministic, Exponential, Gamma, Hyperexponential, Pareto
from tests.theory import queues
from tests.theory.scenarios import means, one, several

CLASSES = [(0.3, Exponential(1.0)), (0.2, Deterministic(2.0))]


@pytest.mark.parametrize("policy", [LCFS(), RandomOrder()], ids=lambda p: p.name)
def test_blind_orders_have_the_mean_of_fcfs(policy):
    assert means(several(CLASSES, policy)) == pytest.approx(means(several(CLASSES, FCFS())), rel=1e-12)


def test_random_order_has_no_percentiles():
    answer = analyse(one(0.5, Deterministic(1.0), RandomOrder()))
    assert answer["a"].p95_response_s is None and answer["a"].mean_slowdown == pytest.approx(1.5)


def test_preemptive_lcfs_is_insensitive():
    for law in (Deterministic(1.0), Hyperexponential(1.0, 9.0), Pareto(1.0, 1.2)):
        found = analyse(one(0.6, law, LCFSPreemptive()), percentiles=())["a"]
        assert found.mean_response_s == pytest.approx(2.5, rel=1e-12)
        assert found.mean_slowdown == pytest.approx(2.5, rel=1e-12)


def test_early_release_under_preemptive_lcfs():
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    assert means(one(0.5, Exponential(1.0), LCFSPreemptive(), transforms=[release])) == pytest.approx([1.0])


def test_preemptive_lcfs_response_is_the_busy_period():
    """One class: T is a busy period; that of M/M/1 has a density in Bessel functions (here integrated)."""
    from scipy.special import ive

    rate = 0.5
    root = np.sqrt(rate)
    law = preemptive_last_come(one(rate, Exponential(1.0), LCFSPreemptive()).served).classes[0].law
    for at in (1.0, 4.0, 10.0):
        t = np.linspace(1e-9, at, 200_001)
        density = ive(1, 2 * root * t) * np.exp(-((1 - root) ** 2) * t) / (t * root)
        assert law.cdf(at) == pytest.approx(np.trapezoid(density, t), abs=1e-7)


@pytest.mark.parametrize(
    "laws", [CLASSES, [(0.3, Gamma(1.0, 1e-3)), (0.2, Gamma(2.0, 1e-2))]], ids=["mixed", "fitted"]
)
@pytest.mark.parametrize("preemptive", [False, True])
def test_laws_against_simulation(laws, preemptive):
    arriving = queues.sized_jobs([(r, law, lambda rng, s: s) for r, law in laws], 120_000, seed=4)
    served = queues.rank_queue(arriving, lambda job: -job.arrival, preemptive)
    model = preemptive_last_come if preemptive else last_come_first_served
    for k, part in enumerate(model(several(laws, FCFS()).served).classes):
        times = np.array([job.done - job.arrival for job in served if job.number == k])
        assert queues.Estimate.of(times).agrees(part.mean_response, within=0.03)
        for t in np.quantile(times, [0.2, 0.5, 0.9, 0.99]) * 1.002:
            assert queues.Estimate.of(times <= t).agrees(part.law.cdf(float(t)), within=0.03)
