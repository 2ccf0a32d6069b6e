"""MAP/G/1, GI/G/1 and what stands in where there is neither: by other formulas, roots and simulation."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS
from qmodel.scenario import Scenario, System
from qmodel.service.transform import ModelSwap, QueueCondition
from qmodel.theory import analyse, formulas
from qmodel.theory.arrivals import bursty, gi_g_1, modulated_work
from qmodel.theory.arrivals.gi_g_1 import Factors
from qmodel.theory.arrivals.map_g_1 import mean_waits, stationary_work
from qmodel.theory.numerics.inversion import InvertedLaw
from qmodel.theory.premises import driven
from qmodel.workload import (
    Deterministic,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Map,
    Mixture,
    Mmpp,
    Pareto,
    Poisson,
    Renewal,
    RequestClass,
    Trace,
    Uniform,
)
from tests.theory import special_queues
from tests.theory.queues import Estimate
from tests.theory.scenarios import ORACLES

BURSTY = Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.3, -0.3)))
H2 = Hyperexponential(1.0, 4.0)


def scenario(*streams, policy=None, system=None, slo=None, transforms=()):
    classes = [
        RequestClass(f"c{i}", arrivals=process, service=law, slo=slo or {})
        for i, (process, law) in enumerate(streams)
    ]
    return Scenario(classes, policy=policy or FCFS(), system=system or System(), transforms=transforms)


def by_matrices(process, rates_up, start, exit_rates):
    """E[N] of MAP/PH/1 by the rate matrix of its quasi-birth-death chain, iterated plainly."""
    d0, d1 = process.matrices
    m, n = len(d0), len(start)
    up, down = np.kron(d1, np.eye(n)), np.kron(np.eye(m), np.outer(exit_rates, start))
    local = np.kron(d0, np.eye(n)) + np.kron(np.eye(m), rates_up)
    r, inverse = np.zeros_like(up), np.linalg.inv(-local)
    for _ in range(20_000):
        new = (up + r @ r @ down) @ inverse
        if np.abs(new - r).max() < 1e-15:
            break
        r = new
    boundary = np.block(
        [[d0, np.kron(d1, start[None, :])], [np.kron(np.eye(m), exit_rates[:, None]), local + r @ down]]
    )
    rest = np.linalg.inv(np.eye(m * n) - r)
    norm = np.concatenate((np.ones(m), rest.sum(axis=1)))
    law = np.linalg.lstsq(np.vstack((boundary.T, norm)), np.append(np.zeros(m + m * n), 1.0), rcond=None)[0]
    return float((law[m:] @ rest @ rest).sum())


def test_oracle():
    process = Map(((-2.0, 0.1), (0.1, -0.4)), ((1.9, 0.0), (0.0, 0.3)))
    found = analyse(scenario((process, Hyperexponential(0.5, 4.0))))
    oracle = next(value for name, value in ORACLES.items() if name.startswith("MAP/PH/1"))
    assert found["all"].mean_response_s == pytest.approx(oracle, rel=1e-12)
    assert found.method == "exact" and found.utilisation == pytest.approx(0.55)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 0.99])
def test_map_ph_1_by_the_rate_matrix(load):
    process = BURSTY.at_rate(load)
    (p, a), (q, b) = H2.phases
    number = by_matrices(process, -np.diag([1 / a, 1 / b]), np.array([p, q]), np.array([1 / a, 1 / b]))
    assert mean_waits([process], [H2])[0] + 1.0 == pytest.approx(number / load, rel=1e-9)
    rate = 2.0  # Erlang of two phases
    number = by_matrices(process, rate * (np.eye(2, k=1) - np.eye(2)), np.array([1.0, 0.0]), np.array([0.0, rate]))
    assert mean_waits([process], [Erlang(2, 1.0)])[0] + 1.0 == pytest.approx(number / load, rel=1e-9)


@pytest.mark.parametrize("law", [Deterministic(1.0), Lognormal(1.0, 4.0), Pareto(1.0, 2.5)], ids=repr)
def test_equal_rates_are_poisson(law):
    """A chain that is not felt: Pollaczek-Khinchine, whatever its moves."""
    process = Map(((-1.7, 1.0), (0.3, -1.0)), ((0.5, 0.2), (0.0, 0.7)))
    assert process.is_poisson
    shaken = Map(((-1.7, 1.0), (0.3, -1.0 - 1e-9)), ((0.5, 0.2), (0.0, 0.7 + 1e-9)))
    assert mean_waits([shaken], [law])[0] == pytest.approx(0.7 * law.moment(2) / 0.6, rel=1e-7)


def test_quick_changes_are_poisson_and_slow_ones_a_mixture():
    quick = Mmpp((1.0, 0.2), ((-1e7, 1e7), (1e7, -1e7)))
    assert mean_waits([quick], [Exponential(1.0)])[0] == pytest.approx(0.6 / 0.4, rel=1e-5)
    mixed = (0.8 * 4.0 + 0.2 * 0.25) / 1.0  # by the share of arrivals that see either rate
    for pace in (1e-4, 1e-5, 2e-6):
        slow = Mmpp((0.8, 0.2), ((-pace, pace), (pace, -pace)))
        assert mean_waits([slow], [Exponential(1.0)])[0] == pytest.approx(mixed, rel=100 * pace)
    refusal = analyse(scenario((Mmpp((0.8, 0.2), ((-1e-7, 1e-7), (1e-7, -1e-7))), H2)))
    assert isinstance(refusal, NotAnalysable) and "rarely" in refusal.reason


def test_poisson_beside_bursty_sees_time_averages():
    """PASTA: the Poisson class finds the stationary work, whose law has mass 1 - rho at 0."""
    classes = [(BURSTY.at_rate(0.3), Exponential(1.0)), (Poisson(0.4), Uniform(0.5, 1.5))]
    arrivals = driven([process for process, _ in classes])
    work = stationary_work(arrivals, [law for _, law in classes])
    assert work.empty.sum() == pytest.approx(0.3, rel=1e-10)
    found = analyse(scenario(*classes), percentiles=())
    assert found["c1"].mean_wait_s == pytest.approx(-work.slope.sum(), rel=1e-10)
    assert found["c0"].mean_wait_s > 1.1 * found["c1"].mean_wait_s


STREAMS = {
    "bursty and Poisson": [(BURSTY.at_rate(0.3), Exponential(1.0)), (Poisson(0.3), Lognormal(0.5, 4.0))],
    "constant service": [(BURSTY.at_rate(0.6), Deterministic(1.0))],
    "Erlang and bursty": [(Renewal(0.3, 0.2), Deterministic(1.0)), (BURSTY.at_rate(0.3), Uniform(0.5, 1.5))],
    "regular gaps": [(Renewal(0.8, 0.3), H2)],
    "bursty gaps": [(Renewal(0.6, 4.0), Mixture((0.5, 0.5), (Deterministic(0.5), Deterministic(1.5))))],
}


@pytest.mark.parametrize("name", STREAMS)
def test_exact_against_simulation(name):
    streams = STREAMS[name]
    found = analyse(scenario(*streams, slo={"response_s": 3.0}), percentiles=(50, 90))
    assert found.method == "exact"
    times, sizes, numbers = special_queues.stream(*zip(*streams, strict=True), 400_000, seed=3)
    responses = special_queues.waits(times, sizes) + sizes
    for k, part in enumerate(found.classes[1:]):
        own = responses[numbers == k]
        assert Estimate.of(own).agrees(part.mean_response_s, within=0.04)
        assert Estimate.of(own <= 3.0).agrees(part.attainment)
        for percent in (50, 90):
            limit = part.metrics[f"p{percent}_response_s"]
            below, upto = (Estimate.of(own <= limit * (1 + eps)) for eps in (-1e-9, 1e-9))
            assert below.mean - 4 * below.error < percent / 100 < upto.mean + 4 * upto.error


def test_alike_streams_share_roots():
    """Four alike streams: repeated roots, and the same wait for each."""
    found = analyse(scenario(*[(BURSTY.at_rate(0.2), Lognormal(1.0, 2.0))] * 4), percentiles=())
    means = [part.mean_wait_s for part in found.classes[1:]]
    assert means == pytest.approx([means[0]] * 4, rel=1e-9)
    work = stationary_work(driven([BURSTY.at_rate(0.2)] * 4), [Lognormal(1.0, 2.0)] * 4)
    assert work.empty.sum() == pytest.approx(0.2, rel=1e-9)
    s = 1e-5
    ends = [float(work.transform(np.array(x)).sum().real) for x in (s, 2 * s)]
    numeric = (2 * (1 - ends[0]) - (1 - ends[1]) / 2) / s
    assert -work.slope.sum() == pytest.approx(numeric, rel=1e-4)


@pytest.mark.parametrize("scv", [30.0, 4.0, 1.0, 0.5, 0.3, 0.05, 0.013])
@pytest.mark.parametrize("load", [0.05, 0.7, 0.99])
def test_gi_m_1_by_its_root(scv, load):
    factors = Factors(load, scv, Exponential(1.0))
    x = brentq(lambda x: x - (1 + (1 - x) * scv / load) ** (-1 / scv), 0, 1 - 1e-9, xtol=1e-15)
    assert factors.mean_wait == pytest.approx(x / (1 - x), rel=1e-8, abs=1e-12)
    assert factors.at_once == pytest.approx(1 - x, rel=1e-10)
    far = np.array([1e-3, 0.1 + 0.1j, 1 + 2j, 0.5 / scv, 30 + 100j, 0.3 + 1000j])
    along = np.linspace(0.01, 1.5, 30)[:, None] + 1j * np.linspace(0, 3, 40)  # on both sides of the path, and on it
    s = np.concatenate((far, factors.gap_rate * along.ravel()))
    assert factors.positive(s) == pytest.approx(x * (1 - x) / (s + 1 - x), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("law", [Deterministic(1.0), H2, Lognormal(1.0, 4.0), Pareto(1.0, 2.5)], ids=repr)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_gi_g_1_is_map_g_1_for_erlang_gaps(law, k):
    for load in (0.2, 0.9):
        process = Renewal(load, 1.0 / k)
        assert Factors(load, 1.0 / k, law).mean_wait == pytest.approx(mean_waits([process], [law])[0], rel=1e-9)


def test_gi_ph_1_by_its_roots():
    """Rational service: W~ is a product over the roots of U~(-s) S~(s) = 1 on the left and the poles of S~."""
    scv, rate = 0.37, 0.8
    (p, a), (q, b) = H2.phases

    def gap(x):
        return (1 + x * scv / rate) ** (-1 / scv) * (p / (1 - a * x) + q / (1 - b * x)) - 1

    edge = 1e-9
    roots = [brentq(gap, 1e-6, 1 / b - edge, xtol=1e-15), brentq(gap, 1 / b + edge, 1 / a - edge, xtol=1e-15)]
    mean = sum(1 / root for root in roots) - a - b
    factors = Factors(rate, scv, H2)
    assert factors.mean_wait == pytest.approx(mean, rel=1e-9)
    assert factors.at_once == pytest.approx(roots[0] * roots[1] * a * b, rel=1e-9)


def test_percentiles_of_gi_m_1():
    found = analyse(scenario((Renewal(0.8, 4.0), Exponential(1.0))), percentiles=(50, 99, 99.9))
    x = brentq(lambda x: x - (1 + (1 - x) * 4 / 0.8) ** -0.25, 0, 1 - 1e-9, xtol=1e-15)
    expected = [-math.log(1 - level) / (1 - x) for level in (0.5, 0.99, 0.999)]
    names = ["p50_response_s", "p99_response_s", "p99.9_response_s"]
    assert [found["all"].metrics[name] for name in names] == pytest.approx(expected, rel=1e-6)


def test_too_regular_gaps():
    refusal = analyse(scenario((Renewal(0.5, 1e-5), Exponential(1.0))))
    assert isinstance(refusal, NotAnalysable) and "constant" in refusal.reason


def test_infinite_variance():
    for process in (Renewal(0.5, 4.0), BURSTY.at_rate(0.5)):
        found = analyse(scenario((process, Pareto(1.0, 1.5))))
        assert found["all"].mean_response_s is None and found["all"].p50_response_s > 0
        assert "infinite" in found.notes[0]


def test_hardly_anyone_waits():
    for process in (BURSTY.at_rate(1e-9), Renewal(0.1, 0.01)):
        found = analyse(scenario((process, Deterministic(1.0))), percentiles=(99,))["all"]
        assert 0.0 <= found.mean_wait_s < 1e-6 and found.p99_response_s == pytest.approx(1.0)


def test_unstable():
    for process in (Renewal(1.0, 4.0), BURSTY.at_rate(1.1)):
        found = analyse(scenario((process, Exponential(1.0))))
        assert not found.stable and found.utilisation == pytest.approx(process.rate)
    mixed = [(Renewal(0.6, 4.0), Exponential(1.0)), (Renewal(0.5, 0.3), Exponential(1.0))]
    assert not analyse(scenario(*mixed)).stable
    assert not analyse(scenario(*mixed, (Renewal(0.1, 0.013), Exponential(1.0)))).stable


APPROXIMATED = [(Renewal(0.4, 4.0), Exponential(1.0)), (Renewal(0.4, 0.3), Deterministic(1.0))]


@pytest.mark.slow
def test_gamma_gaps_by_phases_against_simulation():
    found = analyse(scenario(*APPROXIMATED), percentiles=(90,))
    times, sizes, numbers = special_queues.stream(*zip(*APPROXIMATED, strict=True), 3_000_000, seed=5)
    responses = special_queues.waits(times, sizes) + sizes
    for k, part in enumerate(found.classes[1:]):
        estimate = Estimate.of(responses[numbers == k])
        assert estimate.error < 0.01 * estimate.mean
        assert part.mean_response_s == pytest.approx(estimate.mean, rel=0.02 + 4 * estimate.error / estimate.mean)


def test_gamma_gaps_by_phases():
    found = analyse(scenario(*APPROXIMATED), percentiles=(90,))
    assert found.method == "approximation" and found["c0"].p90_response_s > 0
    alone = bursty.phase_type_gaps(Renewal(0.7, 4.0))
    exact = Factors(0.7, 4.0, H2).mean_wait
    assert mean_waits([alone], [H2])[0] == pytest.approx(exact, rel=0.02)
    for scv in (0.07, 0.3, 0.5, 0.999, 1.001, 9.0):
        gaps = bursty.phase_type_gaps(Renewal(2.0, scv))
        assert gaps.rate == pytest.approx(2.0) and gaps.scv == pytest.approx(scv, rel=1e-9)
        if scv > 1:
            assert gaps.gap_moments(3)[2] == pytest.approx((1 + scv) * (1 + 2 * scv) / 8, rel=1e-9)
    assert bursty.phase_type_gaps(Renewal(2.0, 1.0)).is_poisson


def test_one_stream_for_all():
    streams = [(Renewal(0.4, 0.0077), Exponential(1.0)), (Renewal(0.4, 4.0), Exponential(1.0))]
    found = analyse(scenario(*streams, (Poisson(0.1), Exponential(1.0))))
    assert found.method == "approximation" and found["all"].p50_response_s is None
    weight = 1 / (1 + 4 * 0.1**2 * (0.81 / 0.33 - 1))
    scv = weight * (0.4 * 0.0077 + 0.4 * 4.0 + 0.1) / 0.9 + 1 - weight
    wait = 0.81 * 2 / 1.81 * (scv + 0.81) / (2 * 0.9 * 0.1)
    assert found["c1"].mean_wait_s == pytest.approx(wait, rel=1e-12)
    bound = 0.9 * (scv / 0.81 + 1) / 0.2
    assert f"{bound:.4g}" in found.notes[1] and wait < bound
    assert bursty.mean_wait(0.5, 1.0, 1.0, math.inf) == math.inf
    refusal = analyse(scenario(*streams, (BURSTY.at_rate(0.1), Exponential(1.0))))
    assert isinstance(refusal, NotAnalysable) and "phases" in refusal.reason


@pytest.mark.parametrize("law", [Deterministic(1.0), Exponential(1.0), H2], ids=repr)
@pytest.mark.parametrize("scv", [0.15, 0.7, 0.999, 2.0, 4.0])
def test_the_stated_error_of_phase_type_gaps(law, scv):
    for load, error in ((0.4, 0.14), (0.6, 0.06), (0.8, 0.01), (0.9, 0.01)):
        exact = Factors(load, scv, law).mean_wait + 1.0
        found = mean_waits([bursty.phase_type_gaps(Renewal(load, scv))], [law])[0] + 1.0
        assert found == pytest.approx(exact, rel=error if scv > 1 else 0.025)


@pytest.mark.parametrize("scv", [0.1, 0.5, 2.0, 4.0])
def test_kingman_is_above(scv):
    for load in (0.3, 0.7, 0.9):
        exact = Factors(load, scv, Erlang(2, 1.0)).mean_wait
        assert exact < formulas.KINGMAN(load, scv / load**2, 0.5, load)


@pytest.mark.parametrize("law", [Deterministic(1.0), Erlang(2, 1.0), Exponential(1.0), H2], ids=repr)
@pytest.mark.parametrize("scv", [0.3, 0.6, 2.0, 4.0, 9.0])
def test_the_stated_error_of_the_two_moment_formulas(law, scv):
    for load, error in ((0.7, 0.22), (0.8, 0.22), (0.9, 0.07), (0.95, 0.07)):
        exact = Factors(load, scv, law).mean_wait
        assert bursty.mean_wait(load, scv, 1.0, law.scv) == pytest.approx(exact, rel=error)


def test_poisson_is_exact_in_the_two_moment_formulas():
    for found in (formulas.KRAEMER(1.0, 1.0, 3.0, 0.8), formulas.MARCHAL(0.8, 1.0, 3.0, 0.8)):
        assert found == pytest.approx(0.8 * 4 / 0.4, rel=1e-12)


def test_refusals():
    process = BURSTY.at_rate(0.5)
    cases = [
        (scenario((process, H2), policy=PS()), "not Poisson under policy 'ps'"),
        (scenario((process, H2), policy=LCFS()), "lcfs"),
        (scenario((process, H2), system=System(servers=2)), "several servers"),
        (scenario((process, H2), system=System(batching="processor-sharing", max_batch=3)), "limited sharing"),
        (scenario((Trace((0.0, 1.0, 3.0)), H2)), "recorded"),
        (
            scenario((process, H2), transforms=[ModelSwap(when=QueueCondition(4), service_factor=0.5)]),
            "queue condition",
        ),
    ]
    for asked, word in cases:
        refusal = analyse(asked)
        assert isinstance(refusal, NotAnalysable) and word in refusal.reason, refusal


def test_no_convergence_is_said(monkeypatch):
    monkeypatch.setattr(modulated_work, "CLOSED", -1.0)
    monkeypatch.setattr(modulated_work, "ROUNDING", 0.0)
    monkeypatch.setattr(modulated_work, "ITERATIONS", 200)
    process = BURSTY.at_rate(0.5)
    refusal = analyse(scenario((process, H2)))
    assert isinstance(refusal, NotAnalysable) and "precision" in refusal.reason
    found = analyse(scenario(*APPROXIMATED))
    assert "streams as one" in found.result
    erlang = analyse(scenario((Renewal(0.4, 0.1), H2), (Renewal(0.4, 0.5), H2)))
    assert erlang.method == "approximation" and "streams as one" in erlang.result


def test_newton_steps_that_lead_astray_are_not_taken():
    arrivals = driven([BURSTY.at_rate(0.5)])
    work = stationary_work(arrivals, [Exponential(1.0)])
    start = np.ones(2, dtype=complex)
    assert modulated_work._root(work, 0.7 + 0j, start)[0] == 0.7 + 0j
    root, vector = modulated_work._root(work, 0.12 + 0j, start)
    assert np.abs(work.at(np.array(root)) @ vector).max() < 1e-12


def test_a_path_that_cannot_pass(monkeypatch):
    monkeypatch.setattr(gi_g_1, "MOST_PANELS", 1)
    with pytest.raises(gi_g_1.TooRegular):
        Factors(0.5, 0.5, H2).mean_wait  # noqa: B018


def test_inversion_of_the_factorised_wait():
    """Transform of W > 0 against the same queue as MAP/G/1, where the size is constant."""
    factors, process = Factors(0.8, 0.5, Deterministic(1.0)), Renewal(0.8, 0.5)
    arrivals = driven([process])
    work = stationary_work(arrivals, [Deterministic(1.0)])
    shares = arrivals.marked[0].sum(axis=1) / 0.8
    laws = [
        InvertedLaw(transform, 1.0 - factors.at_once, lambda t: factors.at_once, 1.0)
        for transform in (factors.positive, lambda s: work.transform(s) @ shares - factors.at_once)
    ]
    for t in (0.1, 0.9, 1.1, 6.0, 25.0):
        assert laws[0].cdf(t) == pytest.approx(laws[1].cdf(t), abs=2e-6)
