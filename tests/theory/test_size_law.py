"""The law of the response under SJF, PSJF, SRPT, LAS and multilevel feedback."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.policy import FCFS, LAS, MLFQ, PSJF, SJF, SRPT, NonPreemptivePriority, PreemptivePriority
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.numerics import euler
from qmodel.theory.numerics.roots import interpolated
from qmodel.theory.size_order import remaining_time
from qmodel.theory.size_order.remaining_time import RemainingTime, _roots
from qmodel.theory.size_order.size_atoms import PointMasses, point_masses
from qmodel.theory.size_order.size_law import PointLaw, SizeLaw, laws_by_size
from qmodel.theory.size_order.sized_queue import SizedQueue
from qmodel.theory.size_order.sizes_upto import SizesUpto, arrays_of, marks_of
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Empirical,
    Exponential,
    Gamma,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
)
from tests.theory import queues
from tests.theory.laws import SHAPES, UNIT
from tests.theory.scenarios import one, request_class, several

ORDERS = [SJF(), PSJF(), SRPT(), LAS(), MLFQ((1.0, 2.0))]
RANKS = {
    "sjf": lambda job: job.size,
    "psjf": lambda job: job.size,
    "srpt": lambda job: job.size - job.attained,
}


def law_of(policy, rate, law):
    return SizeLaw([(1.0, law)], SizedQueue(policy, rate, law))


def mean_from(found, last):
    """E[T] as the integral of P(T > t)."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.concatenate(([0.0], np.geomspace(0.1, last, 7)))
    total = 0.0
    for a, b in pairwise(edges):
        t = 0.5 * (b - a) * (nodes + 1) + a
        total += 0.5 * (b - a) * float(weights @ np.array([1 - found.cdf(float(x)) for x in t]))
    return total


# ---- orders that are something else ----


@pytest.mark.parametrize("policy", [SJF(), PSJF(), SRPT(), MLFQ((2.0,))], ids=lambda p: p.name)
@pytest.mark.parametrize("load", [0.3, 0.9])
def test_constant_sizes_are_fcfs(policy, load):
    plain = analyse(one(load, Deterministic(1.0), FCFS()))["a"]
    found = analyse(one(load, Deterministic(1.0), policy))["a"]
    for metric in ("p95_response_s", "p99_response_s"):
        assert found.metrics[metric] == pytest.approx(plain.metrics[metric], rel=2e-4)
    assert found.std_response_s == pytest.approx(plain.std_response_s, rel=1e-12)


TWO = Discrete((1.0, 2.5), (0.6, 0.4))


@pytest.mark.parametrize(
    ("policy", "twin"), [(SJF(), NonPreemptivePriority()), (PSJF(), PreemptivePriority())], ids=["sjf", "psjf"]
)
@pytest.mark.parametrize("load", [0.1, 0.7, 0.95])
def test_two_sizes_are_two_priorities(policy, twin, load):
    """The law by another way: roots of the busy period, one inversion a class."""
    rate = load / TWO.mean
    classes = [(0.6 * rate, Deterministic(1.0)), (0.4 * rate, Deterministic(2.5))]
    answer = analyse(several(classes, twin))
    found = law_of(policy, rate, TWO)
    for t in (1.0, 1.7, 2.5, 3.5, 4.0, 7.3, 20.0):
        twins = analyse(
            Scenario(
                [request_class(f"c{i}", r, law, i, slo={"response_s": t}) for i, (r, law) in enumerate(classes)],
                policy=twin,
            ),
            percentiles=(),
        )
        assert found.cdf(t) == pytest.approx(twins["all"].attainment, abs=1e-4)
    assert found.error < 1e-4
    mine = analyse(several(classes, policy))
    for name in ("c0", "c1"):
        assert mine[name].std_response_s == pytest.approx(answer[name].std_response_s, rel=1e-10)


def test_thresholds_beyond_all_sizes_are_fcfs():
    law = Uniform(0.2, 1.8)
    found, plain = law_of(MLFQ((5.0,)), 0.8, law), analyse(one(0.8, law, FCFS()))["a"]
    assert found.percentile(95) == pytest.approx(plain.p95_response_s, rel=1e-5)


def test_las_of_exponential_sizes():
    """T~(s | x) = (1 - rho_x) theta/s exp(-theta x), theta of min(S, x), inverted by itself for each size."""
    rate, t = 0.6, 3.0
    x = 1.4
    s = euler.contour(t - x, 400)
    theta = s.copy()
    for _ in range(3000):
        theta = s + rate * (1 - ((1 - np.exp(-(1 + theta) * x)) / (1 + theta) + np.exp(-(1 + theta) * x)))
    idle = 1 - rate * -math.expm1(-x)
    atom = idle * math.exp(-rate * x)
    again = atom * rate * x * math.exp(-x - rate * x)  # one later arrival that needs more than x: 2 x in all
    f = idle * theta / s * np.exp(s * t - theta * x) - atom * np.exp(s * (t - x)) - again * np.exp(s * (t - 2 * x))
    exact = atom + again * (2 * x <= t) + float((f / s).real @ euler.weights(400)) / (t - x)
    assert PointLaw(x, SizedQueue(LAS(), rate, UNIT)).cdf(t) == pytest.approx(exact, abs=3e-5)


# ---- means and moments from the law ----

SMOOTH = [*SHAPES, Lognormal(1.0, 2.0), Weibull(1.0, 3.0)]


@pytest.mark.parametrize("law", [UNIT, Lognormal(1.0, 0.5)], ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("policy", ORDERS[:4], ids=lambda p: p.name)
def test_law_has_the_exact_mean(law, policy):
    exact = analyse(one(0.5, law, policy), percentiles=())["a"].mean_response_s
    assert mean_from(law_of(policy, 0.5, law), 90.0) == pytest.approx(exact, rel=1e-3)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(SMOOTH), st.sampled_from(ORDERS), st.floats(0.1, 0.98))
def test_percentiles_and_probabilities_agree(law, policy, load):
    found = law_of(policy, load / law.mean, law)
    times = [found.percentile(percent) for percent in (10, 50, 95, 99.9)]
    assert times == sorted(times)
    for percent, t in zip((10, 50, 95, 99.9), times, strict=True):
        assert found.cdf(t) == pytest.approx(percent / 100, abs=5e-5)
    assert found.error < 1e-4


def test_saturation_and_lightness():
    for policy in ORDERS:
        light = law_of(policy, 1e-6, UNIT)
        assert light.percentile(90) == pytest.approx(math.log(10), rel=1e-4)
        heavy = law_of(policy, 0.99, UNIT)
        assert heavy.percentile(50) < 3.0 < heavy.percentile(99)


# ---- against a plain simulation ----

MIXED = [(0.35, Gamma(0.8, 0.3)), (0.2, Mixture((0.5, 0.5), (Deterministic(1.0), Exponential(2.0))))]


@pytest.mark.parametrize("policy", ORDERS[:3], ids=lambda p: p.name)
def test_classes_against_simulation(policy):
    jobs = queues.sized_jobs([(r, law, lambda rng, s: s) for r, law in MIXED], 120_000, seed=8)
    served = queues.rank_queue(jobs, RANKS[policy.name], policy.preemptive)
    answer = analyse(several(MIXED, policy))
    for k in (0, 1, None):
        part = answer["all" if k is None else f"c{k}"]
        times = np.array([job.done - job.arrival for job in served if k in (None, job.number)])
        for percent in (50, 95, 99):
            t, level = part.metrics[f"p{percent}_response_s"], percent / 100
            before, upto = (queues.Estimate.of(times <= t + step) for step in (-1e-6, 1e-6))
            assert max(before.error, upto.error) < 0.02
            assert before.mean - 4 * before.error < level < upto.mean + 4 * upto.error
        spread = [batch.std() for batch in np.array_split(times, 30)]
        assert part.std_response_s == pytest.approx(times.std(), abs=5 * np.std(spread) / 30**0.5)


@pytest.mark.parametrize("thresholds", [(0.5, 1.5)])
def test_levels_against_simulation(thresholds):
    jobs = queues.sized_jobs([(0.7, UNIT, lambda rng, s: s)], 120_000, seed=9)
    served = queues.rank_queue(
        jobs, lambda job: sum(job.attained >= t for t in thresholds), True, turns=lambda job: thresholds
    )
    times = np.array([job.done - job.arrival for job in served])
    found = law_of(MLFQ(thresholds), 0.7, UNIT)
    for t in np.quantile(times, [0.2, 0.5, 0.9, 0.99]):
        assert queues.Estimate.of(times <= t).agrees(found.cdf(float(t)), within=0.02)


# ---- laws that are hard ----


def test_heavy_tails_keep_their_percentiles():
    law = Pareto(1.0, 1.5)
    for policy in (SJF(), PSJF(), SRPT(), LAS()):
        answer = analyse(one(0.6, law, policy))
        assert answer["a"].p50_response_s < answer["a"].p99_response_s < math.inf
        assert answer["a"].std_response_s is None
    assert any("standard deviation" in note for note in answer.notes)
    far = BoundedPareto(0.01, 1e4, 1.1)
    srpt, las = (law_of(policy, 0.8 / far.mean, far).percentile(99) for policy in (SRPT(), LAS()))
    assert srpt < las


def test_many_observed_sizes():
    """Values are put in cells; the law hardly moves against one that has them all."""
    rng = np.random.default_rng(5)
    data = rng.lognormal(0.0, 1.0, 2000)
    exact, found = Lognormal(math.exp(0.5), math.e - 1), Empirical(data)
    sizes = SizesUpto.of(found, frozenset(), arrays_of(found), 5.0, (1.0, 5.0))
    assert 100 < len(sizes.atoms) < 600 and sizes.spread.any() and not sizes.spread[-1]
    assert sizes.masses.sum() == pytest.approx(float(found.cdf(5.0)), rel=1e-12)
    below, upto = sizes.cumulative(np.ones((len(sizes.x), 1)))
    assert (below <= upto).all() and upto[-1, 0] == pytest.approx(float(found.cdf(5.0)))
    for policy in ORDERS:
        rate = 0.7 / exact.mean
        near, smooth = (law_of(policy, rate * exact.mean / law.mean, law) for law in (found, exact))
        assert near.cdf(3.0) == pytest.approx(smooth.cdf(3.0), abs=0.02)
        assert near.error < 1e-4
    answer = analyse(one(0.3, found, PSJF()))["a"]
    jobs = queues.sized_jobs([(0.3, found, lambda rng, s: s)], 60_000, seed=4)
    served = queues.rank_queue(jobs, RANKS["psjf"], True)
    times = np.array([job.done - job.arrival for job in served])
    assert queues.Estimate.of(times <= answer.p95_response_s).agrees(0.95, within=0.02)


def test_a_few_sizes_jump_where_they_should():
    """Size 1 under PSJF with interruptions of 0.25: 1.25 exactly with one of them."""
    law = Discrete((0.25, 1.0), (0.5, 0.5))
    rate = 0.4
    found = law_of(PSJF(), rate, law)
    idle = 1 - rate * law.mean
    jump = 0.5 * idle * math.exp(-0.2 * 1.25) * 0.2 * 1.0
    assert found.cdf(1.25) - found.cdf(1.25 - 1e-6) == pytest.approx(jump, abs=2e-5)
    shrinking = point_masses(SRPT(), rate, law, 1.0, idle)
    # at remaining times above 0.25 alone, 0.25 interrupts: 0.75 s of the service
    assert dict(shrinking)[1.0] == pytest.approx(idle * math.exp(-0.2 * 0.75), rel=1e-9)
    assert dict(shrinking)[1.25] == pytest.approx(idle * math.exp(-0.2) * 0.2 * 0.75, rel=1e-9)
    assert dict(point_masses(LAS(), rate, law, 1.0, idle))[2.0] > 0
    assert point_masses(MLFQ((2.0,)), rate, law, 1.0, idle) == [(1.0, idle)]
    assert len(point_masses(MLFQ((0.5,)), rate, law, 1.0, idle)) > 2
    # an arrival's first 0.5 s come first: one that needs more makes 1.5 exactly
    assert 1.5 in dict(point_masses(MLFQ((0.5,)), rate, law, 1.0, idle))


def test_a_zero_size_waits_for_nobody_under_psjf():
    law = Discrete((0.0, 1.0), (0.3, 0.7))
    found = law_of(PSJF(), 0.5, law)
    assert found.cdf(1e-9) == pytest.approx(0.3, abs=1e-6)


def test_sizes_of_one_class_among_others():
    """A constant class in a smooth queue has jumps of its own: at its size, nobody there."""
    classes = [(0.4, UNIT), (0.2, Deterministic(0.8))]
    for policy in ORDERS[:4]:
        answer = analyse(several(classes, policy), percentiles=(50.0,))
        assert answer["c1"].p50_response_s >= 0.8
    rate, law = 0.6, Mixture((2 / 3, 1 / 3), (UNIT, Deterministic(0.8)))
    laws = laws_by_size(SJF(), rate, law, [UNIT, Deterministic(0.8)])
    assert isinstance(laws[1], PointLaw)
    assert laws[1].cdf(0.8) == pytest.approx(1 - rate * law.mean, abs=1e-6)
    assert laws[1].cdf(0.79) == 0.0 and laws[0].cdf(0.0) == 0.0
    whole = laws[0].together([2 / 3, 1 / 3], laws)
    assert whole.cdf(2.0) == pytest.approx(2 / 3 * laws[0].cdf(2.0) + laws[1].cdf(2.0) / 3, abs=5e-5)
    assert laws[1].together([0.5, 0.5], [laws[1], law_of(SJF(), 0.5, UNIT)]) is None


def test_early_release():
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    assert analyse(one(0.5, UNIT, SRPT(), transforms=[release]))["a"].p99_response_s is None
    found = analyse(one(0.5, UNIT, LAS(), transforms=[release]))["a"]
    assert found.p50_response_s < analyse(one(0.5, UNIT, LAS()))["a"].p50_response_s
    constant = analyse(one(0.5, Deterministic(1.0), LAS(), transforms=[release]))["a"]
    assert constant.p50_response_s == pytest.approx(0.5, abs=1e-6) and constant.std_response_s > 0


def test_too_many_components_are_left_to_simulation():
    parts = tuple(Gamma(1.0 + i, 1e-4) for i in range(60))
    wide = Mixture((1 / 60,) * 60, parts)
    assert analyse(one(0.5 / wide.mean, wide, SRPT()))["a"].p99_response_s is None


# ---- parts ----


def test_roots_of_the_long_way_and_the_short():
    """Steps so long that the series for exp(-delta y) would not do."""
    law = Pareto(1.0, 1.2)
    sizes = SizesUpto.of(law, marks_of([law]), arrays_of(law), 400.0, (100.0, 400.0), order=6)
    s = euler.contour(400.0, 16)
    theta = RemainingTime(sizes, 0.9 / law.mean, s).theta
    x = 300.0
    row = int(np.searchsorted(sizes.nodes, x))
    w = sizes.weights(law)[: row - row % 6] * 0.9 / law.mean
    y = sizes.nodes[: row - row % 6]
    direct = _roots(s, s, w[None, :], y)[0]
    assert np.abs(direct - theta[row - row % 6 - 1]).max() < 0.05 * np.abs(direct).max()
    gap = direct - (1 - np.exp(-direct[:, None] * y)) @ w - s
    assert np.abs(gap).max() < 1e-9
    rows = theta[row] - s
    assert (rows.real > -1e-12).all()


@pytest.mark.parametrize("atoms", [(), (0.02, 400.0)])
def test_roots_far_from_those_before_are_searched_by_all_weights(atoms, monkeypatch):
    """Where no series is short enough, one panel or atom at a time."""
    law = Exponential(1.0)
    sizes = SizesUpto.of(law, {0.5, 2.0}, (np.array(atoms), np.full(len(atoms), 0.1)), 500.0, (100.0, 500.0))
    s = euler.contour(5.0, 16)
    found = RemainingTime(sizes, 0.8, s).theta
    monkeypatch.setattr(remaining_time, "FAR", 0.0)
    assert RemainingTime(sizes, 0.8, s).theta == pytest.approx(found, rel=1e-7)


def test_point_masses_in_a_table():
    table = PointMasses.of([[(1.0, 0.5), (2.0, 0.25)], []])
    assert table.upto(1.0).tolist() == [0.5, 0.0]
    assert table.before(1.5).upto(9.0).tolist() == [0.5, 0.0]
    s = np.array([[1.0 + 1j], [1.0 + 1j]])
    assert table.turned(s, 2.0)[0, 0] == pytest.approx(0.5 * np.exp(1 + 1j) + 0.25)


def test_interpolated_search():
    assert interpolated(lambda t: -math.expm1(-(t**3)), 0.9, {}, 0.01) == pytest.approx(math.log(10) ** (1 / 3))
    steps = [(0.5, 0.2), (1.0, 0.7), (4.0, 1.0)]

    def cdf(t):
        return max((p for at, p in steps if at <= t), default=0.0)

    for jumps in ((), (0.5, 1.0, 4.0)):
        seen = {}
        assert interpolated(cdf, 0.21, seen, 1.0, jumps) == pytest.approx(1.0, rel=1e-7)
        assert interpolated(cdf, 0.9, seen, 1.0, jumps) == pytest.approx(4.0, rel=1e-7)
    assert interpolated(lambda t: 0.5 + 0.5 * (t > 1), 0.4, {}, 1.0) < 1e-3
