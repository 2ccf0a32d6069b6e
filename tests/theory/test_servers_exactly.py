"""Several servers and queues, part by part: brute force on small chains, interpolation, labels, shares."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, PS
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.dispatch import result_of
from qmodel.theory.servers.m_g_k import three_moment_phases
from qmodel.theory.servers.shortest_queue import MOST_SMALL, chain, refined, widest
from qmodel.workload import Exponential, Gamma, Lognormal

from .scenarios import request_class


def queues(load, law, policy=None, kind="jsq", transforms=(), **system):
    made = System(servers=2, routing=Routing(kind), **system)
    streams = [request_class("a", 2.0 * load / law.mean, law)]
    return Scenario(streams, policy=policy or FCFS(), transforms=transforms, system=made)


def shortest_of_two(load, longest=28):
    """E[T] in mean services by the chain of two queues of at most `longest`, all its states at once."""
    size = longest + 1
    rates = np.zeros((size * size, size * size))
    for a in range(size):
        for b in range(size):
            here = a * size + b
            for chosen in ((1, 0),) if a < b else ((0, 1),) if b < a else ((1, 0), (0, 1)):
                x, y = a + chosen[0], b + chosen[1]
                if max(x, y) < size:
                    rates[here, x * size + y] += 2.0 * load / (2 if a == b else 1)
            if a:
                rates[here, (a - 1) * size + b] += 1.0
            if b:
                rates[here, a * size + b - 1] += 1.0
    balance = np.diag(rates.sum(axis=1)) - rates
    balance[:, 0] = 1.0
    law = np.linalg.solve(balance.T, np.eye(size * size)[0]).reshape(size, size)
    number = np.add.outer(np.arange(size), np.arange(size))
    return float((law * number).sum()) / (2.0 * load)


def test_the_shorter_of_two_queues_by_brute_force():
    mean, exact = 3.0, shortest_of_two(0.5)
    for policy in (FCFS(), PS()):
        found = analyse(queues(0.5, Exponential(mean), policy), percentiles=())["a"]
        assert found.mean_response_s == pytest.approx(mean * exact, rel=1e-7)


def test_slowdown_of_results_out_before_their_service_ends():
    """Under PS a result at a share of the service takes that share of the response."""
    early = EarlyExit(fractions=(0.25, 1.0), probabilities=(0.4, 0.6), delivery="release")
    law = Exponential(3.0)
    plain = analyse(queues(0.5, law, PS()), percentiles=())["a"]
    out = analyse(queues(0.5, law, PS(), transforms=(early,)), percentiles=())["a"]
    assert out.mean_slowdown == pytest.approx((0.4 * 0.25 + 0.6) * plain.mean_slowdown, rel=1e-9)


@pytest.mark.parametrize(
    ("given", "told"), [({"batching": "dynamic", "max_batch": 4}, "batching"), ({"buffer": 5}, "buffer")]
)
def test_what_a_routed_queue_cannot_be_is_told(given, told):
    refusal = result_of(queues(0.5, Exponential(1.0), kind="round-robin", **given))
    assert isinstance(refusal, NotAnalysable)
    assert told in refusal.reason


@pytest.mark.parametrize("servers", [3, 4])
def test_the_refined_mean_field_goes_through_the_small_systems(servers):
    def mean(law):
        return float(law @ (1 + np.arange(len(law))))

    exact = mean(np.array(chain(servers, 0.9, 2, widest(servers, 0.9, 2, MOST_SMALL))[0]))
    assert mean(refined(servers, 0.9, 2)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("law", "alike"), [(Exponential(1.0), False), (Lognormal(1.0, 2.0), True)])
def test_only_approximations_are_called_alike(law, alike):
    found = result_of(Scenario([request_class("a", 1.2, law)], system=System(servers=2)))
    assert (found.method == "approximation") == alike
    assert any("like service law" in each for each in found.assumptions) == alike


@pytest.mark.parametrize("law", [Lognormal(2.0, 4.0), Gamma(0.5, 3.0)], ids=str)
def test_two_phases_have_three_moments(law):
    phases = three_moment_phases(law)
    for k, factorial in ((1, 1.0), (2, 2.0), (3, 6.0)):
        found = sum(factorial * p / rate**k for p, rate in zip(phases.start, phases.rates, strict=True))
        assert found == pytest.approx(law.moment(k), rel=1e-9)
