"""MAP/M/k: Erlang C, one server, the chain as it stands, simulation."""

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.theory.arrivals.map_g_1 import mean_waits
from qmodel.theory.premises import driven
from qmodel.theory.servers.map_m_k import Levels
from qmodel.theory.servers.several_servers import erlang_c, exponential_wait
from qmodel.workload import Exponential, Hyperexponential, Mmpp, Poisson, Renewal, RequestClass
from tests.theory import special_queues
from tests.theory.queues import Estimate

BURSTY = Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.3, -0.3)))


def scenario(servers, *streams):
    classes = [RequestClass(f"c{i}", arrivals=process, service=law) for i, (process, law) in enumerate(streams)]
    return Scenario(classes, system=System(servers=servers))


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.99), (2, 0.4), (3, 2.7), (50, 49.5)])
def test_poisson_is_erlang_c(servers, rate):
    levels = Levels(driven([Poisson(rate)]), servers, 1.0)
    assert levels.waiting(0) == pytest.approx(erlang_c(servers, rate), rel=1e-9)
    assert levels.mean_wait(0) == pytest.approx(exponential_wait(servers, rate, 1.0), rel=1e-9)


@pytest.mark.parametrize("load", [0.1, 0.9, 0.99])
def test_one_server_is_map_g_1(load):
    processes = [BURSTY.at_rate(0.8 * load), Renewal(0.2 * load, 0.25)]
    levels = Levels(driven(processes), 1, 1.0)
    expected = mean_waits(processes, [Exponential(1.0)] * 2)
    assert [levels.mean_wait(k) for k in (0, 1)] == pytest.approx(expected, rel=1e-8)


def test_the_chain_as_it_stands():
    process, servers, most = BURSTY.at_rate(2.2), 3, 300
    d0, d1 = process.matrices
    q = np.zeros((2 * most, 2 * most))
    for n in range(most):
        here = slice(2 * n, 2 * n + 2)
        q[here, here] += d0
        q[here, slice(2 * n + 2, 2 * n + 4) if n + 1 < most else here] += d1
        if n:
            down = min(n, servers) * np.eye(2)
            q[here, 2 * n - 2 : 2 * n] += down
            q[here, here] -= down
    q[:, 0] = 1.0
    law = np.linalg.solve(q.T, np.eye(2 * most)[0]).reshape(most, 2)
    levels = Levels(driven([process]), servers, 1.0)
    waiting = law.sum(axis=1) @ np.maximum(np.arange(most) - servers, 0)
    assert levels.mean_wait(0) == pytest.approx(waiting / 2.2, rel=1e-8)
    assert levels.waiting(0) == pytest.approx((law[servers:] @ d1.sum(axis=1)).sum() / 2.2, rel=1e-9)


def test_against_simulation():
    streams = [(BURSTY.at_rate(1.2), Exponential(1.0)), (Renewal(1.2, 0.5), Exponential(1.0))]
    found = analyse(scenario(3, *streams), percentiles=(50, 95))
    assert found.method == "exact" and found.utilisation == pytest.approx(0.8)
    times, sizes, numbers = special_queues.stream(*zip(*streams, strict=True), 500_000, seed=8)
    responses = special_queues.impatient(times, sizes, np.full(times.size, np.inf), 3) + sizes
    for k, part in enumerate(found.classes[1:]):
        own = responses[numbers == k]
        assert Estimate.of(own).agrees(part.mean_response_s)
        for percent in (50, 95):
            assert Estimate.of(own <= part.metrics[f"p{percent}_response_s"]).agrees(percent / 100)


def test_gamma_gaps_by_phases():
    streams = [(Renewal(2.0, 4.0), Exponential(1.0))]
    found = analyse(scenario(3, *streams))
    assert found.method == "approximation" and "same moments" in found.result
    times, sizes, _ = special_queues.stream(*zip(*streams, strict=True), 500_000, seed=9)
    responses = special_queues.impatient(times, sizes, np.full(times.size, np.inf), 3) + sizes
    assert found["all"].mean_response_s == pytest.approx(responses.mean(), rel=0.06)


def test_refusals():
    two = scenario(2, (BURSTY.at_rate(0.5), Hyperexponential(1.0, 4.0)))
    many = scenario(2, *[(BURSTY.at_rate(0.1), Exponential(1.0))] * 8)
    for asked in (two, many):
        refusal = analyse(asked)
        assert isinstance(refusal, NotAnalysable) and "several servers" in refusal.reason
    assert not analyse(scenario(2, (BURSTY.at_rate(2.0), Exponential(1.0)))).stable
    assert not analyse(scenario(2, (Renewal(2.0, 4.0), Exponential(1.0)))).stable
