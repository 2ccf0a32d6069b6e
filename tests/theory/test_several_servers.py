"""M/M/k, M/G/k, priorities and sharing on several servers."""

import heapq
import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, SRPT, NonPreemptivePriority, PreemptivePriority, RandomOrder
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.theory import analyse
from qmodel.theory.several_servers import approximate_wait, erlang_c, exponential_wait
from qmodel.workload import Deterministic, Exponential, Gamma, Hyperexponential, Pareto
from tests.theory.queues import Estimate
from tests.theory.scenarios import means, request_class, several


def on(servers, classes, policy=None, transforms=()):
    made = [request_class(f"c{k}", rate, law, k) for k, (rate, law) in enumerate(classes)]
    return Scenario(made, policy=policy or FCFS(), system=System(servers=servers), transforms=transforms)


def erlang_by_sums(servers, offered):
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("servers", [1, 2, 5, 20])
@pytest.mark.parametrize("load", [0.1, 0.7, 0.95])
def test_erlang_c(servers, load):
    assert erlang_c(servers, servers * load) == pytest.approx(erlang_by_sums(servers, servers * load), rel=1e-12)


def test_m_m_k_law():
    answer = analyse(on(3, [(2.4, Exponential(1.0))]))
    c, drain = erlang_by_sums(3, 2.4), 0.6
    assert answer.method == "exact" and answer.utilisation == pytest.approx(0.8)
    assert answer["c0"].mean_response_s == pytest.approx(1 + c / drain, rel=1e-12)
    t = answer["c0"].p95_response_s
    tail = (1 - c) * math.exp(-t) + c * (math.exp(-drain * t) - drain * math.exp(-t)) / (1 - drain)
    assert tail == pytest.approx(0.05, rel=1e-5)


def test_one_server_is_the_special_case():
    for law in (Exponential(1.0), Deterministic(1.0), Gamma(1.0, 3.0)):
        assert approximate_wait(1, 0.7, 1.0, law.scv) == pytest.approx(0.7 * (1 + law.scv) / (2 * 0.3), rel=1e-12)
    assert exponential_wait(1, 0.7, 1.0) == pytest.approx(0.7 / 0.3, rel=1e-12)


@pytest.mark.parametrize("law", [Deterministic(1.0), Gamma(1.0, 0.3), Hyperexponential(1.0, 3.0)], ids=str)
@pytest.mark.parametrize("servers", [2, 5])
def test_m_g_k_within_its_stated_error(law, servers):
    """Against a simulation; the answer calls itself an approximation of a few per cent."""
    rng = np.random.default_rng(1)
    n, rate = 400_000, 0.7 * servers
    free, waits = [0.0] * servers, []
    for arrival, size in zip(
        np.cumsum(rng.exponential(1 / rate, n)).tolist(), law.sample(rng, n).tolist(), strict=True
    ):
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + size)
    estimate = Estimate.of(waits)
    answer = analyse(on(servers, [(rate, law)]), percentiles=())
    assert answer.method == "approximation"
    assert estimate.error < 0.04 * estimate.mean
    assert answer["c0"].mean_wait_s == pytest.approx(estimate.mean, abs=0.05 * estimate.mean + 3 * estimate.error)


def test_priorities_on_several_servers():
    law = Exponential(1.0)
    classes = [(0.8, law), (0.6, law)]
    c = erlang_by_sums(2, 1.4)
    waiting = [c / 2 / (1 - 0.4), c / 2 / ((1 - 0.4) * (1 - 0.7))]
    assert means(on(2, classes, NonPreemptivePriority())) == pytest.approx([1 + w for w in waiting], rel=1e-12)
    high = 1 + erlang_by_sums(2, 0.8) / 1.2
    both = 1.4 * (1 + c / 0.6)
    assert means(on(2, classes, PreemptivePriority())) == pytest.approx(
        [high, (both - 0.8 * high) / 0.6], rel=1e-12
    )


@pytest.mark.parametrize("policy", [NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_priorities_on_one_server_as_elsewhere(policy):
    classes = [(0.3, Exponential(1.0)), (0.5, Exponential(1.0))]
    from qmodel.theory.several_servers import several_servers

    found = several_servers(policy, several(classes, policy).served, 1)
    assert [part.mean_response for part in found.classes] == pytest.approx(
        means(several(classes, policy)), rel=1e-12
    )


def test_blind_orders_share_the_mean():
    classes = [(1.0, Exponential(1.0)), (0.5, Exponential(1.0))]
    plain = means(on(2, classes))
    for policy in (LCFS(), RandomOrder()):
        answer = analyse(on(2, classes, policy))
        assert [part.mean_response_s for part in answer.classes[1:]] == pytest.approx(plain, rel=1e-12)
        assert answer["c0"].p95_response_s is None


def test_sharing_is_insensitive():
    plain = means(on(3, [(2.0, Exponential(1.0))]))
    for law in (Deterministic(1.0), Pareto(1.0, 1.5)):
        answer = analyse(on(3, [(2.0, law)], PS()), percentiles=())
        assert answer["c0"].mean_response_s == pytest.approx(plain[0], rel=1e-12)
        assert answer["c0"].mean_slowdown == pytest.approx(plain[0], rel=1e-12)


def test_no_second_moment():
    answer = analyse(on(2, [(1.0, Pareto(1.0, 1.5))]))
    assert answer["c0"].mean_response_s is None and answer["c0"].p95_response_s is None


def test_refusals_and_instability():
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    two = [(0.5, Exponential(1.0)), (0.5, Exponential(2.0))]
    swap = ModelSwap(when=QueueCondition(2), service_factor=0.5)
    for scenario in (
        on(2, two, NonPreemptivePriority()),
        on(2, two, SRPT()),
        on(2, two, FCFS(), [swap]),
        on(2, [(0.5, Exponential(1.0))], PreemptivePriority(), [release]),
    ):
        assert isinstance(analyse(scenario), NotAnalysable)
    assert not analyse(on(2, [(2.0, Exponential(1.0))])).stable
    assert analyse(on(2, [(1.9, Exponential(1.0))])).stable
