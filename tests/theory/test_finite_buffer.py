"""Finite buffers: chains by hand, insensitive cases, limits, simulation."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, SRPT, RandomOrder
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.state import finite_buffer
from qmodel.theory.state.finite_buffer import birth_and_death, embedded_law
from qmodel.workload import (
    Deterministic,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Poisson,
    Renewal,
    RequestClass,
)
from tests.theory import special_queues
from tests.theory.queues import Estimate
from tests.theory.scenarios import means, several

H2 = Hyperexponential(1.0, 4.0)


def scenario(buffer, *classes, servers=1, policy=None, slo=None):
    made = [
        RequestClass(f"c{i}", arrivals=Poisson(rate), service=law, slo=slo or {})
        for i, (rate, law) in enumerate(classes)
    ]
    return Scenario(made, policy=policy or FCFS(), system=System(servers=servers, buffer=buffer))


@pytest.mark.parametrize("load", [0.3, 1.0, 4.0])
def test_m_m_1_k(load):
    p = np.array([load**n for n in range(6)])
    p /= p.sum()
    found = analyse(scenario(5, (load, Exponential(1.0))), percentiles=())
    assert found["all"].rejected_share == pytest.approx(p[5], rel=1e-12)
    assert found["all"].mean_response_s == pytest.approx(p @ np.arange(6) / (load * (1 - p[5])), rel=1e-12)
    assert found.utilisation == pytest.approx(1 - p[0]) and found.method == "exact"
    assert embedded_law(load, Exponential(1.0), 5) == pytest.approx(p, rel=1e-10)


@pytest.mark.parametrize("law", [Deterministic(1.0), H2, Gamma(1.0, 0.3)], ids=repr)
@pytest.mark.parametrize("load", [0.2, 0.9, 2.0])
def test_m_g_1_2_by_hand(law, load):
    """K = 2: pi_0 = a_0, and a_0 = E[exp(-lambda S)]."""
    none = float(law.lst(np.array(load)).real)
    unit = none + load
    found = analyse(scenario(2, (load, law)), percentiles=())["all"]
    assert found.rejected_share == pytest.approx(1 - 1 / unit, rel=1e-10)
    number = (1 - none) / unit + 2 * (1 - 1 / unit)
    assert found.mean_response_s == pytest.approx(number / (load / unit), rel=1e-10)


def test_erlangs_loss_is_insensitive():
    for law in (Exponential(1.0), H2, Deterministic(1.0)):
        found = analyse(scenario(4, (3.0, law), servers=4))["all"]
        assert found.rejected_share == pytest.approx(3.375 / (1 + 3 + 4.5 + 4.5 + 3.375), rel=1e-12)
        assert found.mean_wait_s == pytest.approx(0.0, abs=1e-12)
        assert found.p50_response_s == pytest.approx(float(law.quantile(0.5)), rel=1e-8)


def test_large_buffers_are_none():
    classes = [(0.3, H2), (0.3, Deterministic(1.0))]
    found = analyse(scenario(400, *classes), percentiles=())
    assert [part.mean_response_s for part in found.classes[1:]] == pytest.approx(
        means(several(classes, FCFS())), rel=1e-8
    )
    assert found["all"].rejected_share == pytest.approx(0.0, abs=1e-12)
    shared = analyse(scenario(300, (0.7, H2), policy=PS()), percentiles=())["all"]
    assert shared.mean_response_s == pytest.approx(1 / 0.3, rel=1e-10)


def test_heavy_overload_fills_the_buffer():
    found = analyse(scenario(10, (1e3, Deterministic(1.0))), percentiles=())
    assert found["all"].rejected_share == pytest.approx(0.999, rel=1e-9)
    assert found["all"].mean_response_s == pytest.approx(10.0 - 1e-3, rel=1e-6)
    assert found.utilisation == pytest.approx(1.0, rel=1e-9)


CASES = {
    "exponential, three servers": (6, 3, [(2.0, Exponential(1.0)), (1.5, Exponential(1.0))]),
    "constant": (4, 1, [(1.1, Deterministic(1.0))]),
    "two laws": (5, 1, [(0.5, H2), (0.5, Deterministic(0.5))]),
}


@pytest.mark.parametrize("name", CASES)
def test_against_simulation(name):
    buffer, servers, classes = CASES[name]
    found = analyse(scenario(buffer, *classes, servers=servers, slo={"response_s": 2.0}), percentiles=(50, 90))
    times, sizes, numbers = special_queues.stream(
        [Poisson(r) for r, _ in classes], [s for _, s in classes], 300_000, 9
    )
    waits = special_queues.bounded(times, sizes, servers, buffer)
    for k, part in enumerate(found.classes[1:]):
        own, size = waits[numbers == k], sizes[numbers == k]
        assert Estimate.of(np.isnan(own)).agrees(part.rejected_share)
        kept = (own + size)[~np.isnan(own)]
        assert Estimate.of(kept).agrees(part.mean_response_s)
        if part.p90_response_s is not None:
            assert Estimate.of(kept <= part.p90_response_s).agrees(0.9)
            assert Estimate.of(own + size <= 2.0).agrees(part.attainment)
    assert (found["all"].p90_response_s is not None) == (name == "exponential, three servers")


def test_sharing_is_insensitive():
    answers = [
        analyse(scenario(6, (1.4, law), policy=PS()), percentiles=())["all"] for law in (H2, Exponential(1.0))
    ]
    assert answers[0].mean_response_s == pytest.approx(answers[1].mean_response_s, rel=1e-12)
    law = birth_and_death(1, 1.4, 6)
    assert answers[0].mean_response_s == pytest.approx(law @ np.arange(7) / (1.4 * (1 - law[6])), rel=1e-12)


def test_shared_results_that_leave_early():
    exits = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    plain = scenario(6, (1.4, H2), policy=PS())
    early, whole = (analyse(asked, percentiles=())["all"] for asked in (plain.with_transforms(exits), plain))
    assert early.mean_slowdown == pytest.approx(0.5 * whole.mean_slowdown)
    assert early.mean_response_s == pytest.approx(0.5 * whole.mean_response_s)


@pytest.mark.parametrize("policy", [LCFS(), RandomOrder()], ids=lambda p: p.name)
def test_blind_orders_have_the_mean_of_fcfs(policy):
    plain, other = (analyse(scenario(4, (0.9, Exponential(1.0)), policy=p))["all"] for p in (FCFS(), policy))
    assert other.mean_response_s == plain.mean_response_s and other.p50_response_s is None
    assert plain.p50_response_s > 0


def test_refusals():
    bursty = RequestClass("b", arrivals=Renewal(0.5, 4.0), service=H2)
    cases = [
        (scenario(4, (0.5, H2), policy=SRPT()), "srpt"),
        (scenario(4, (0.5, H2), servers=2), "several servers"),
        (scenario(1, (0.5, H2), servers=2), "idle"),
        (scenario(finite_buffer.MOST + 1, (0.5, H2)), "beyond"),
        (Scenario([bursty], system=System(buffer=4)), "not-poisson"),
    ]
    for asked, word in cases:
        refusal = analyse(asked)
        assert isinstance(refusal, NotAnalysable) and (word in refusal.reason or "Poisson" in refusal.reason), (
            refusal
        )


@pytest.mark.parametrize("load", [0.5, 5.0])
def test_large_buffers_neither_overflow_nor_lose_digits(load):
    law = embedded_law(load, Exponential(1.0), 300)
    assert law == pytest.approx(birth_and_death(1, load, 300), rel=1e-6, abs=1e-13)


def test_nothing_infinite():
    found = analyse(scenario(20, (1.5, Lognormal(1.0, 50.0))), percentiles=())["all"]
    assert math.isfinite(found.mean_response_s) and 1 / 3 < found.rejected_share < 1


@pytest.mark.parametrize(("rate", "law"), [(0.7, H2), (1.5, Deterministic(1.0)), (60.0, Exponential(1.0))])
def test_the_embedded_chain_balances(rate, law):
    """The numbers left at departures are stationary for the chain of arrivals in services, cut at K - 1."""
    buffer = 12
    found = embedded_law(rate, law, buffer)
    left = found[:-1] / found[:-1].sum()
    counts = count_probabilities(law.lst, rate, 64)
    after = np.zeros(buffer)
    for n, mass in enumerate(left):
        base = max(n, 1) - 1
        after[base : buffer - 1] += mass * counts[: buffer - 1 - base]
    after[-1] = 1.0 - after[:-1].sum()
    assert after == pytest.approx(left, abs=1e-13)
    assert (1.0 - found[-1]) * rate * law.mean == pytest.approx(1.0 - found[0], rel=1e-10)


def test_a_server_far_too_slow_is_always_full():
    """So many arrivals in a service that none is never: each departure leaves K - 1 behind."""
    found = embedded_law(2000.0, Deterministic(1.0), 5)
    assert found == pytest.approx([0.0, 0.0, 0.0, 0.0, 1 / 2000, 1 - 1 / 2000], abs=1e-12)


@pytest.mark.parametrize("buffer", [20, 1000])
@pytest.mark.parametrize("rate", [1e-9, 1e-4])
def test_tiny_rates_leave_digits_of_the_wait(buffer, rate):
    found = analyse(scenario(buffer, (rate, Deterministic(1.0))), percentiles=())["all"]
    assert found.mean_wait_s == pytest.approx(rate / 2 / (1 - rate), rel=1e-5)
