"""Impatience: Erlang-A, deadlines, any law of patience; by chains, closed forms, simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, PS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.theory.one_server.m_g_1 import mean_wait
from qmodel.theory.state import impatience, offered_wait
from qmodel.theory.state.impatience import Memoryless
from qmodel.theory.state.offered_wait import OfferedWait, Stream, extrapolated, offered_waits
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Empirical,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Poisson,
    RequestClass,
    Uniform,
)
from tests.theory import special_queues
from tests.theory.queues import Estimate
from tests.theory.scenarios import ORACLES

H2 = Hyperexponential(1.0, 4.0)


def scenario(*classes, servers=1, policy=None, slo=None):
    """Classes as (rate, size, patience)."""
    made = [
        RequestClass(f"c{i}", arrivals=Poisson(rate), service=size, patience=patience, slo=slo or {})
        for i, (rate, size, patience) in enumerate(classes)
    ]
    return Scenario(made, policy=policy or FCFS(), system=System(servers=servers))


def test_oracle():
    queue = Memoryless(10, 1.0, (Stream(9.0, Exponential(1.0), Exponential(2.0)),))
    oracle = ORACLES["Erlang-A lambda 9 mu 1 theta 0.5 s 10 (one_route)"]
    assert 1 - queue.idle == pytest.approx(oracle["P(wait)"], abs=1e-9)
    found = analyse(scenario((9.0, Exponential(1.0), Exponential(2.0)), servers=10), percentiles=())
    assert found["all"].abandoned_share == pytest.approx(oracle["P(abandon)"], abs=1e-9)
    assert "Erlang-A" in found.result and found.utilisation == pytest.approx(0.9 * (1 - oracle["P(abandon)"]))


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.5), (1, 3.0), (3, 2.5), (20, 30.0), (400, 420.0)])
def test_erlang_a_by_its_chain(servers, rate):
    """Birth and death in the number: deaths at n mu, then k mu + (n - k) theta; the served wait by Little's law."""
    theta, most = 0.5, 4000
    n = np.arange(1, most)
    logs = np.append(0.0, np.cumsum(np.log(rate / (np.minimum(n, servers) + theta * np.maximum(n - servers, 0)))))
    law = np.exp(logs - logs.max())
    law /= law.sum()
    waiting = np.maximum(np.arange(most) - servers, 0)
    abandoned = theta * (law @ waiting) / rate
    found = analyse(scenario((rate, Exponential(1.0), Exponential(1 / theta)), servers=servers), percentiles=())[
        "all"
    ]
    assert found.abandoned_share == pytest.approx(abandoned, rel=1e-9)
    lost_wait = _lost_wait(law, servers, theta, rate)
    assert found.mean_wait_s == pytest.approx((law @ waiting / rate - lost_wait) / (1 - abandoned), rel=1e-7)


def _lost_wait(law, servers, theta, rate):
    """E[wait; abandons]: an arrival that finds j waiting moves up or leaves, stage by stage."""
    total = 0.0
    for found_waiting, p in enumerate(law[servers:]):
        if p < 1e-18 and found_waiting > rate:
            break
        stages = servers + theta * np.arange(found_waiting + 1, 0, -1)  # total rates, oneself included
        stay = np.cumprod(np.append(1.0, (stages - theta) / stages))
        elapsed = np.cumsum(1 / stages)
        total += p * float((stay[:-1] * theta / stages) @ elapsed)
    return total


@pytest.mark.parametrize("rate", [0.3, 0.9, 2.5])
def test_m_m_1_with_a_deadline(rate):
    """f(x) = lambda p_0 exp((lambda - 1) x) up to the deadline, then exp(lambda d - x)."""
    d, gap = 1.5, rate - 1
    inside, beyond = rate * math.expm1(gap * d) / gap, rate * math.exp(gap * d)
    idle = 1 / (1 + inside + beyond)
    weighed = rate * (math.exp(gap * d) * (d / gap - 1 / gap**2) + 1 / gap**2)
    found = analyse(scenario((rate, Exponential(1.0), Deterministic(d))), percentiles=())["all"]
    assert found.abandoned_share == pytest.approx(beyond * idle, rel=1e-9)
    assert found.mean_wait_s == pytest.approx(weighed * idle / (1 - beyond * idle), rel=1e-9)


@pytest.mark.parametrize(
    "patience", [Exponential(2.0), Deterministic(1.5), Uniform(0.5, 3.0), Gamma(1.0, 4.0)], ids=repr
)
@pytest.mark.parametrize("rate", [0.5, 1.6])
def test_integral_equation_for_exponential_service(patience, rate):
    stream = Stream(rate, Exponential(1.0), patience)
    exact, grids = Memoryless(1, 1.0, (stream,)), offered_waits([stream])
    for name, tolerance in (("served", 3e-6), ("mean_wait", 3e-6)):
        assert getattr(grids, name)(stream) == pytest.approx(getattr(exact, name)(stream), rel=tolerance)
    for t in (0.2, 1.0, 1.5, 2.0, 6.0):
        expected = exact.cdf(stream, Exponential(1.0), t)
        assert grids.law.cdf(stream, Exponential(1.0), t) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [Deterministic(1.0), H2, Lognormal(1.0, 2.0), Uniform(0.5, 1.5)], ids=repr)
def test_without_impatience_it_is_pollaczek_khinchine(size):
    stream = Stream(0.6, size, None)
    grids = offered_waits([stream])
    assert grids.mean_wait(stream) == pytest.approx(mean_wait(0.6, size), rel=1e-4)
    assert grids.served(stream) == pytest.approx(1.0) and grids.law.solved[0] == pytest.approx(0.4, rel=1e-3)


@pytest.mark.parametrize("patience", [Exponential(3.0), Deterministic(2.0)], ids=repr)
def test_values_of_data_are_all_points(patience):
    """Fifty values: two pairs of grids agree, which they do only if every jump is a point."""
    values = tuple(np.random.default_rng(1).lognormal(-0.3, 0.8, 50).round(4).tolist())
    stream = Stream(0.95, Empirical(values), patience)
    waits = offered_waits([stream]).waits[1:]
    finer = [OfferedWait(wait.streams, wait.end, 2 * wait.points) for wait in waits]
    pairs = [extrapolated([w.mean_wait(stream) for w in found]) for found in (waits, finer)]
    assert waits[0].grid[1].sum() >= 50 and pairs[0] == pytest.approx(pairs[1], rel=1e-5)


def test_every_law_balances_work():
    """Share of time busy = work of the served, whatever the laws."""
    for size in (Deterministic(1.0), H2, Mixture((0.5, 0.5), (Deterministic(0.2), Exponential(1.8)))):
        found = analyse(scenario((1.3, size, Discrete((0.5, 2.0), (0.4, 0.6)))), percentiles=())
        stream = Stream(1.3, size, Discrete((0.5, 2.0), (0.4, 0.6)))
        idle, error = offered_waits([stream]).told(lambda wait: wait.solved[0])
        assert found.utilisation == pytest.approx(1 - idle, rel=1e-5) and error < 1e-4


CASES = {
    "general": (1, [(0.9, H2, Uniform(0.5, 4.0))]),
    "constant": (1, [(1.2, Deterministic(1.0), Deterministic(2.0))]),
    "two classes": (1, [(0.6, Exponential(1.0), Exponential(1.0)), (0.5, Lognormal(0.8, 2.0), None)]),
    "two classes, three servers": (3, [(2.0, Exponential(1.0), Deterministic(0.5)), (1.5, Exponential(1.0), H2)]),
}


@pytest.mark.parametrize("name", CASES)
def test_against_simulation(name):
    servers, classes = CASES[name]
    found = analyse(scenario(*classes, servers=servers, slo={"response_s": 2.0}), percentiles=(50, 90))
    processes, sizes, patience = [Poisson(c[0]) for c in classes], [c[1] for c in classes], [c[2] for c in classes]
    times, work, numbers = special_queues.stream(processes, sizes, 300_000, seed=6)
    rng, limits = np.random.default_rng(7), np.full(times.size, np.inf)
    for k, law in enumerate(patience):
        if law is not None:
            limits[numbers == k] = law.sample(rng, int((numbers == k).sum()))
    waits = special_queues.impatient(times, work, limits, servers)
    for k, part in enumerate(found.classes[1:]):
        own, size = waits[numbers == k], work[numbers == k]
        assert abs(np.isnan(own).mean() - part.abandoned_share) < 4 * (Estimate.of(np.isnan(own)).error + 1e-12)
        kept = (own + size)[~np.isnan(own)]
        assert Estimate.of(kept).agrees(part.mean_response_s)
        assert Estimate.of(own + size <= 2.0).agrees(part.attainment)
        for percent in (50, 90):
            assert Estimate.of(kept <= part.metrics[f"p{percent}_response_s"]).agrees(percent / 100)
    kept = (waits + work)[~np.isnan(waits)]
    assert Estimate.of(kept).agrees(found["all"].mean_response_s)
    assert Estimate.of(kept <= found["all"].p90_response_s).agrees(0.9)
    assert Estimate.of(np.isnan(waits)).agrees(found["all"].abandoned_share)


def test_short_patience_is_erlangs_loss_and_long_patience_none():
    lost = analyse(scenario((3.0, Exponential(1.0), Deterministic(1e-7)), servers=2), percentiles=())["all"]
    assert lost.abandoned_share == pytest.approx(4.5 / 8.5, rel=1e-5)
    assert lost.mean_response_s == pytest.approx(1.0, rel=1e-5)
    kept = analyse(scenario((0.5, Exponential(1.0), Deterministic(200.0))), percentiles=(95,))["all"]
    assert kept.abandoned_share == pytest.approx(0.0, abs=1e-12)
    assert kept.mean_response_s == pytest.approx(2.0, rel=1e-9)
    assert kept.p95_response_s == pytest.approx(2 * math.log(20), rel=1e-6)


def test_heavy_overload():
    """A thousand requests for each one served: the offered wait settles where one in a thousand stays."""
    found = analyse(scenario((1000.0, Exponential(1.0), Exponential(3.0))), percentiles=(50,))["all"]
    assert found.abandoned_share == pytest.approx(0.999, rel=1e-9)
    assert 0 < found.mean_wait_s < found.p50_response_s + 3.0 * math.log(1000)
    served = 3.0 * math.log(1000)
    assert found.mean_wait_s == pytest.approx(served, rel=0.1)


def test_patient_classes_decide_stability():
    impatient = (5.0, Exponential(1.0), Exponential(1.0))
    assert analyse(scenario(impatient, (0.9, Exponential(1.0), None)), percentiles=()).stable
    assert not analyse(scenario(impatient, (1.1, Exponential(1.0), None))).stable
    assert analyse(scenario(impatient, (1.5, Exponential(1.0), None), servers=2), percentiles=()).stable
    assert not analyse(scenario(impatient, (2.1, Exponential(1.0), None), servers=2)).stable


def test_refusals():
    cases = [
        scenario((0.5, H2, Exponential(1.0)), policy=SRPT()),
        scenario((0.5, H2, Exponential(1.0)), policy=PS()),
        scenario((0.5, H2, Exponential(1.0)), servers=2),
        scenario((0.5, Exponential(1.0), Exponential(1.0)), (0.5, Exponential(2.0), Exponential(1.0)), servers=2),
    ]
    for asked in cases:
        refusal = analyse(asked)
        assert isinstance(refusal, NotAnalysable) and "patience" in refusal.reason
    both = scenario((0.5, H2, Exponential(1.0)))
    assert isinstance(analyse(replace(both, system=System(buffer=3))), NotAnalysable)


def test_errors_are_told(monkeypatch):
    heavy = scenario((0.3, Pareto(1.0, 1.3), Exponential(1.0)), (0.3, H2, None))
    found = analyse(heavy, percentiles=())
    assert isinstance(found, NotAnalysable) or found.method == "approximation"
    monkeypatch.setattr(impatience, "GOOD", 0.0)
    asked = scenario((0.5, H2, Exponential(1.0)))
    assert analyse(asked, percentiles=()).method == "approximation"
    monkeypatch.setattr(impatience, "HOPELESS", 0.0)
    assert "too far apart" in analyse(asked).reason


@pytest.mark.parametrize("unit", [1.0, 3.7, 1e-3, 1e3])
def test_sums_of_values_that_differ_by_rounding_are_one_jump(unit):
    """Sums of tenths meet in many ways, each rounded in its own; their number is that of tenths."""
    values = tuple(unit * x for x in (0.1, 0.2, 0.3))
    queue = offered_wait.OfferedWait(
        (Stream(1 / unit, Discrete(values, (0.2, 0.3, 0.5)), Deterministic(0.7 * unit)),), 8.0 * unit, 75
    )
    x, before = queue.grid
    assert before.sum() == 16  # 0.1 .. 1.2 from sizes alone, to 1.6 from the patience of 0.7
    assert np.diff(np.unique(x[:-1][before[:-1]])).min() == pytest.approx(0.1 * unit, rel=1e-9)


def test_the_error_that_is_told_covers_the_error():
    """The mean is what a finer grid gives, but for that error."""
    sizes = Discrete(tuple(0.0775 * v for v in (0.5, 1.0, 4.0)), (0.4, 0.4, 0.2))
    stream = Stream(1.6, Mixture((0.6, 0.4), (sizes, Exponential(1.0))), Deterministic(3.1))
    grids = offered_waits([stream])
    best = OfferedWait((stream,), grids.law.end, 8 * grids.law.points // 4)
    assert abs(grids.mean_wait(stream) / best.mean_wait(stream) - 1) < grids.error(stream) < 2e-3
    assert abs(grids.served(stream) - best.served(stream)) < grids.error(stream)


def test_shares_stay_between_nothing_and_all():
    """Where hardly anybody leaves the extrapolated share is within rounding of 0, and not below."""
    stream = Stream(0.7, BoundedPareto(0.1, 100.0, 1.2), Exponential(500.0))
    assert 0.0 <= 1.0 - offered_waits([stream]).served(stream) < 0.02


def test_many_jumps_are_thinned():
    steps = Discrete(tuple(0.1 * i for i in range(1, 31)), (1 / 30,) * 30)
    queue = offered_wait.OfferedWait((Stream(0.5, steps, Deterministic(2.0)),), 20.0, 100)
    x, before = queue.grid
    assert before.sum() == 30 and (np.diff(x) >= 0).all()
