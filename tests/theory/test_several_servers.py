"""M/M/k, M/G/k, priorities and sharing on several servers."""

import heapq
import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, SRPT, NonPreemptivePriority, PreemptivePriority, RandomOrder
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.theory.servers.m_g_k import erlang_c, exponential_wait, three_moment_phases, wait_of
from qmodel.theory.servers.m_ph_k import Phases, PhaseServers
from qmodel.workload import (
    Deterministic,
    Erlang,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Scaled,
    Uniform,
)
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


@pytest.mark.parametrize(
    "law", [Exponential(1.0), Deterministic(1.0), Gamma(1.0, 3.0), Gamma(1.0, 0.4), Hyperexponential(1.0, 3.0)]
)
def test_one_server_is_the_special_case(law):
    assert wait_of(1, 0.7, law).mean == pytest.approx(0.7 * (1 + law.scv) / (2 * 0.3), rel=1e-12)


def test_exact_laws_say_so():
    for law, word in (
        (Deterministic(1.0), "M/D/2"),
        (Hyperexponential(1.0, 4.0), "M/PH/2"),
        (Erlang(3, 1.0), "M/PH/2"),
    ):
        answer = analyse(on(2, [(1.6, law)]))
        assert answer.method == "exact" and word in answer.result


def test_classes_of_unlike_exponentials_are_exact():
    """Their wait is that of the mixture; each then adds its own service."""
    answer = analyse(on(2, [(0.8, Exponential(1.0)), (0.2, Exponential(3.0))]), percentiles=())
    mixed = PhaseServers(2, 1.0, Phases((0.8, 0.2), (1.0, 1 / 3), (None, None)))
    assert answer.method == "exact"
    assert answer["c0"].mean_wait_s == pytest.approx(mixed.mean_wait, rel=1e-12)
    assert answer["c1"].mean_response_s == pytest.approx(mixed.mean_wait + 3.0, rel=1e-12)


def simulated_waits(law, servers, rate, n, seed=1):
    rng = np.random.default_rng(seed)
    free, waits = [0.0] * servers, []
    arrivals = np.cumsum(rng.exponential(1 / rate, n)).tolist()
    sizes = law.sample(rng, n)
    for arrival, size in zip(arrivals, sizes.tolist(), strict=True):
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + size)
    return np.array(waits), sizes


@pytest.mark.parametrize("law", [Uniform(0.0, 2.0), Lognormal(1.0, 2.0)], ids=str)
@pytest.mark.parametrize("servers", [2, 5])
def test_m_g_k_within_its_stated_error(law, servers):
    """Against a simulation; the answer calls itself an approximation and names its error."""
    waits, sizes = simulated_waits(law, servers, 0.7 * servers, 300_000)
    estimate = Estimate.of(waits)
    answer = analyse(on(servers, [(0.7 * servers, law)]))
    assert answer.method == "approximation" and any("stated error" in note for note in answer.notes)
    assert estimate.error < 0.03 * (1 + estimate.mean)
    stated = 0.05 if law.scv > 1 else 0.01
    assert answer["c0"].mean_response_s == pytest.approx(1 + estimate.mean, rel=stated, abs=3 * estimate.error)
    assert answer["c0"].p95_response_s == pytest.approx(np.quantile(waits + sizes, 0.95), rel=0.1)


@pytest.mark.parametrize("phases", [2, 4])
def test_between_constant_and_exponential_within_its_stated_error(phases):
    for servers in (2, 6):
        for load in (0.5, 0.9):
            exact = wait_of(servers, load * servers, Erlang(phases, 1.0))
            near = wait_of(servers, load * servers, Gamma(1.0, 1.0 / phases + 1e-9))
            assert (exact.method, near.method) == ("exact", "approximation")
            assert near.mean == pytest.approx(exact.mean, rel=0.028)
            assert near.mean != pytest.approx(exact.mean, rel=1e-6)
            assert near.delayed == pytest.approx(exact.delayed, rel=0.021)


def test_three_moments_give_back_the_hyperexponential():
    made = three_moment_phases(Scaled(Hyperexponential(1.0, 4.0), 2.0))
    assert made.mean == pytest.approx(2.0, rel=1e-12)
    third = sum(6 * p / r**3 for p, r in zip(made.start, made.rates, strict=True))
    second = sum(2 * p / r**2 for p, r in zip(made.start, made.rates, strict=True))
    assert second == pytest.approx(4 * 5.0, rel=1e-12)
    assert third == pytest.approx(8 * Hyperexponential(1.0, 4.0).moment(3), rel=1e-12)


def test_without_a_third_moment_two_are_kept():
    made = three_moment_phases(Pareto(1.0, 2.2))
    second = sum(2 * p / r**2 for p, r in zip(made.start, made.rates, strict=True))
    assert made.mean == pytest.approx(1.0) and second == pytest.approx(1 + Pareto(1.0, 2.2).scv)


def test_more_servers_than_states():
    law = Gamma(1.0, 4.0)
    found = wait_of(150, 140.0, law)
    assert found.mean == pytest.approx(2.5 * exponential_wait(150, 140.0, 1.0), rel=1e-12)
    assert found.method == "approximation" and "upwards" in found.notes[0]
    assert analyse(on(150, [(140.0, Hyperexponential(1.0, 4.0))])).method == "approximation"


def test_priorities_on_several_servers():
    law = Exponential(1.0)
    classes = [(0.8, law), (0.6, law)]
    c = erlang_by_sums(2, 1.4)
    waiting = [c / 2 / (1 - 0.4), c / 2 / ((1 - 0.4) * (1 - 0.7))]
    assert means(on(2, classes, NonPreemptivePriority())) == pytest.approx([1 + w for w in waiting], rel=1e-12)
    plain = analyse(on(2, [(1.4, law)], NonPreemptivePriority()))
    fcfs = analyse(on(2, [(1.4, law)]))
    assert plain["c0"].p95_response_s == pytest.approx(fcfs["c0"].p95_response_s, rel=1e-6)
    high = 1 + erlang_by_sums(2, 0.8) / 1.2
    both = 1.4 * (1 + c / 0.6)
    assert means(on(2, classes, PreemptivePriority())) == pytest.approx(
        [high, (both - 0.8 * high) / 0.6], rel=1e-12
    )


@pytest.mark.parametrize("policy", [NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_priorities_on_one_server_as_elsewhere(policy):
    classes = [(0.3, Exponential(1.0)), (0.5, Exponential(1.0))]
    from qmodel.theory.servers.several_servers import several_servers

    found = several_servers(policy, several(classes, policy).served, 1)
    assert [part.mean_response for part in found.classes] == pytest.approx(
        means(several(classes, policy)), rel=1e-12
    )


def test_law_under_priorities_on_several_servers():
    """Its mean, by the tail, is the mean; the wait of the first class is the M/M/1 wait of the fast server."""
    law = Exponential(1.0)
    answer = analyse(on(2, [(0.8, law), (0.6, law)], NonPreemptivePriority()), percentiles=(95.0,))
    from qmodel.theory.servers.several_servers import several_servers

    scenario = on(2, [(0.8, law), (0.6, law)], NonPreemptivePriority())
    parts = several_servers(scenario.policy, scenario.served, 2).classes
    for part in parts:
        times = np.linspace(0.0, 60.0, 1201)
        tail = np.array([1 - part.law.cdf(t) for t in times])
        mean = 0.05 * (tail.sum() - 0.5 * tail[0])
        assert mean == pytest.approx(part.mean_response, rel=2e-3)
    assert answer["c0"].p95_response_s < answer["c1"].p95_response_s


@pytest.mark.parametrize("policy", [NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_scaled_priorities(policy):
    """One class: FCFS; one law for all: near the exact result; unlike ones: near a simulation, as stated."""
    law = Gamma(1.0, 0.5)
    alone = analyse(on(3, [(2.4, law)], policy), percentiles=())
    assert alone.method == "approximation"
    assert alone["c0"].mean_response_s == pytest.approx(means(on(3, [(2.4, law)]))[0], rel=1e-12)
    nearly = means(on(3, [(1.2, Exponential(1.0)), (1.2, Exponential(1.001))], policy))
    assert nearly == pytest.approx(
        means(on(3, [(1.2, Exponential(1.0)), (1.2, Exponential(1.0))], policy)), rel=0.06
    )
    scenario = on(2, [(0.7, Exponential(1.0)), (0.2, Exponential(3.0))], policy)
    answer, run = analyse(scenario, percentiles=()), simulate(scenario, requests=100_000, percentiles=())
    for name in ("c0", "c1"):
        assert answer[name].mean_response_s == pytest.approx(run[name].mean_response_s, rel=0.1)
    endless = analyse(on(2, [(0.5, Exponential(1.0)), (0.2, Pareto(1.0, 1.5))], policy), percentiles=())
    assert endless["c1"].mean_response_s is None


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
        on(2, two, SRPT()),
        on(2, two, FCFS(), [swap]),
        on(2, [(0.5, Exponential(1.0))], PreemptivePriority(), [release]),
    ):
        assert isinstance(analyse(scenario), NotAnalysable)
    assert not analyse(on(2, [(2.0, Exponential(1.0))])).stable
    assert analyse(on(2, [(1.9, Exponential(1.0))])).stable
