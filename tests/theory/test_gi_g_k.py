"""Renewal arrivals at several servers, by two moments."""

import heapq

import numpy as np
import pytest

from qmodel.policy import FCFS
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.theory.result import Unstable
from qmodel.theory.servers.gi_g_k import gi_g_k
from qmodel.theory.servers.m_g_k import exponential_wait
from qmodel.workload import Deterministic, Exponential, Gamma, Hyperexponential, Renewal, RequestClass
from tests.theory.queues import Estimate


def renewal(scv, law, rate, servers):
    return Scenario(
        [RequestClass("a", Renewal(rate, scv), service=law)], policy=FCFS(), system=System(servers=servers)
    )


@pytest.mark.parametrize(
    ("scv", "law", "load", "stated"),
    [
        (0.25, Deterministic(1.0), 0.8, 0.11),
        (0.25, Hyperexponential(1.0, 4.0), 0.5, 0.11),
        (4.0, Gamma(1.0, 0.5), 0.8, 0.17),
    ],
    ids=str,
)
def test_stated_error(scv, law, load, stated):
    rng = np.random.default_rng(5)
    n, rate = 300_000, 2 * load
    free, waits = [0.0, 0.0], []
    arrivals = np.cumsum(rng.gamma(1 / scv, scv / rate, n)).tolist()
    for arrival, size in zip(arrivals, law.sample(rng, n).tolist(), strict=True):
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + size)
    estimate = Estimate.of(waits)
    assert estimate.error < 0.03 * (1 + estimate.mean)
    answer = analyse(renewal(scv, law, rate, 2), percentiles=())
    assert answer.method == "approximation" and "stated error" in answer.notes[0]
    assert answer["a"].mean_response_s == pytest.approx(1 + estimate.mean, rel=stated, abs=3 * estimate.error)


def test_exponential_services_and_gaps_are_m_m_k():
    served = renewal(1.0, Exponential(1.0), 2.4, 3).served
    assert gi_g_k(served, 3).classes[0].mean_response == pytest.approx(1 + exponential_wait(3, 2.4, 1.0), rel=1e-12)


def test_unstable():
    assert gi_g_k(renewal(2.0, Deterministic(1.0), 2.5, 2).served, 2) == Unstable(1.25)
