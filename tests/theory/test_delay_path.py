"""Priorities inverted along theta: slopes of transforms, data, and the roots of the busy period as another way."""

import numpy as np
import pytest

from qmodel.policy import FCFS, LCFS, LCFSPreemptive, NonPreemptivePriority, PreemptivePriority
from qmodel.theory import analyse
from qmodel.theory.dispatch import result_of
from qmodel.theory.numerics import transforms
from qmodel.theory.numerics.inversion import BlendedLaw, InvertedLaw
from qmodel.theory.one_server import preemptive_priority
from qmodel.theory.one_server.busy_period import prolonged
from qmodel.theory.one_server.delay_path import is_known_at
from qmodel.theory.one_server.np_priority import positive_wait
from qmodel.theory.supply import merged
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
    Uniform,
    Weibull,
)
from qmodel.workload.quadrature import nodes
from tests.theory import queues
from tests.theory.scenarios import one, several

POINTS = np.array([0.02, 0.3 + 2j, 1.0 + 14j, 4.0 + 40j, 9.0])
SMOOTH = [
    Lognormal(2.0, 4.0),
    Weibull(1.0, 3.0),
    Gamma(1.0, 0.3),
    Hyperexponential(1.0, 4.0),
    Uniform(0.5, 1.5),
    Lognormal(2.0, 1.0).scaled(0.3),
    Exponential(1.0).shifted(0.7),
    Mixture((0.25, 0.75, 0.0), (Exponential(3.0), Lognormal(1.0, 0.5), Uniform(0.0, 1.0))),
]


@pytest.mark.parametrize("law", SMOOTH, ids=repr)
def test_slope_is_the_transform_weighted_by_size(law):
    parts = zip(law.probabilities, law.laws, strict=True) if isinstance(law, Mixture) else [(1.0, law)]
    sums = []
    for p, part in parts:
        x, w = nodes(part)
        sums.append(p * (np.exp(-np.multiply.outer(POINTS, x)) @ (w * x)))
    assert transforms.slope(POINTS, law) == pytest.approx(sum(sums), rel=3e-8, abs=1e-10)


def test_point_masses_are_summed_wherever_the_points_lie():
    values = np.random.default_rng(1).exponential(1.0, 100)
    law, few = Empirical(values), Discrete((1.0, 3.0), (0.5, 0.5))
    by_hand = np.exp(-np.multiply.outer(POINTS, values)).mean(axis=1)
    assert transforms.scattered(POINTS, law) == pytest.approx(by_hand, rel=1e-12)
    weighted = (values * np.exp(-np.multiply.outer(POINTS, values))).mean(axis=1)
    assert transforms.slope(POINTS, law) == pytest.approx(weighted, rel=1e-12)
    assert transforms.scattered(POINTS, few) == pytest.approx(
        0.5 * np.exp(-POINTS) + 0.5 * np.exp(-3.0 * POINTS), rel=1e-12
    )


@pytest.mark.parametrize("load", [0.1, 0.9])
def test_the_roots_of_the_busy_period_give_the_same_law(load, monkeypatch):
    classes = [
        (0.5 * load, Lognormal(1.0, 2.0)),
        (0.25 * load, Mixture((0.5, 0.5), (Deterministic(1.0), Exponential(3.0)))),
    ]
    scenario = several(classes, PreemptivePriority())
    along = result_of(scenario).classes
    monkeypatch.setattr(
        preemptive_priority, "_along_theta", lambda *args: preemptive_priority._by_roots(*args[:-1])
    )
    for part, other in zip(along, result_of(scenario).classes, strict=True):
        for t in (0.4, 1.0, 1.7, 6.0, 40.0):
            assert part.law.cdf(t) == pytest.approx(other.law.cdf(t), abs=2e-6)


FAR_LEFT = {
    "bounded Pareto": [(1.0, BoundedPareto(0.1, 100.0, 1.3))] * 2,
    "rare and large": [
        (50.0, Gamma(0.01, 0.3)),
        (0.5, Mixture((0.5, 0.5), (Deterministic(2.0), Exponential(0.3)))),
    ],
    "lognormal": [(1.0, Lognormal(1.0, 4.0)), (0.01, Lognormal(2.0, 4.0))],
}


@pytest.mark.parametrize("name", FAR_LEFT)
@pytest.mark.parametrize("policy", [NonPreemptivePriority(), LCFS()], ids=lambda p: p.name)
def test_services_whose_transform_ends_at_the_left_are_inverted_by_roots(name, policy):
    """Where Re(s) < 0, exp(-s x) of a large x is huge, and the contour of the lognormal diverges."""
    streams = FAR_LEFT[name]
    load = sum(rate * law.mean for rate, law in streams)
    classes = [(0.98 * rate / load, law) for rate, law in streams]
    scenario = several(classes, policy)
    parts = result_of(scenario).classes
    if isinstance(policy, LCFS):
        rate, size = merged(scenario.served)
        transforms = [lambda s: (theta := prolonged(s, rate, size), rate * (1.0 - size.lst(theta)) / theta)[1]] * 2
    else:
        first, second = scenario.served
        transforms = [positive_wait([], [first], [second]), positive_wait([first], [second], [])]
    for part, wait in zip(parts, transforms, strict=True):
        law, mean = part.served.size, part.served.size.mean

        def response(s, wait=wait, law=law):
            return wait(s) * law.lst(s)

        other = InvertedLaw(response, 0.98, lambda t, law=law: 0.02 * float(law.cdf(t)), mean)
        for t in (0.5, 1.3, 4.0, 20.0, 300.0):
            assert part.law.cdf(t * mean) == pytest.approx(other.cdf(t * mean), abs=2e-6)


DATA = [Empirical(np.random.default_rng(k).lognormal(0.0, 0.9, 1000)) for k in (2, 3)]


@pytest.mark.parametrize("policy", [FCFS(), NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_a_thousand_values_against_simulation(policy):
    classes = [(0.35 / law.mean, law) for law in DATA]
    parts = result_of(several(classes, policy)).classes
    arriving = queues.jobs([(rate, law, law) for rate, law in classes], 150_000, seed=11)
    if isinstance(policy, FCFS):
        served = queues.fcfs_queue(arriving)[0]
    else:
        served = queues.priority_queue(arriving, policy.preemptive)
    for k, part in enumerate(parts):
        times = queues.responses(served, k)
        for level in (30.0, 60.0, 95.0, 98.0):
            estimate = queues.Estimate.of(times <= part.law.percentile(level))
            assert estimate.agrees(level / 100.0, within=0.03)


def test_data_and_their_law_in_the_limit():
    """Ten thousand quantiles of an exponential are next to an exponential."""
    law = Empirical(-np.log1p(-(np.arange(4000) + 0.5) / 4000))
    high, low = (
        analyse(several([(0.4, size), (0.3, size)], PreemptivePriority())) for size in (law, Exponential(1.0))
    )
    for name in ("c0", "c1", "all"):
        for metric in ("p50_response_s", "p95_response_s", "p99_response_s"):
            assert high[name].metrics[metric] == pytest.approx(low[name].metrics[metric], rel=4e-3)


def test_another_rate_asks_for_no_transform():
    class Counted(Exponential):
        def lst(self, s):
            asked.append(np.size(s))
            return super().lst(s)

    asked = []
    law = Counted(mean=1.0)
    for rate in (0.5, 0.7):
        before = len(asked)
        result_of(one(rate, law, FCFS())).classes[0].law.cdf(2.0)
    assert before > 0 and len(asked) == before


def test_percentiles_near_zero():
    """P(T <= t) goes as t^0.01 there; a share of results at once has 0 for its percentile."""
    law = result_of(one(0.5, Gamma(1.0, 100.0), LCFSPreemptive())).classes[0].law
    t = law.percentile(25.0)
    assert 0.0 < t < 1e-50 and law.cdf(t) == pytest.approx(0.25, abs=1e-6)
    assert law.percentile(1.0) == pytest.approx(1e-120, rel=1e-6) and law.cdf(1e-200) == 0.0
    at_once = InvertedLaw(lambda s: 0.4 / (1.0 + s), 0.4, lambda t: 0.6, scale=1.0)
    assert (
        at_once.percentile(50.0) == 0.0 and BlendedLaw([0.5, 0.5], [at_once, at_once], 1.0).percentile(50.0) == 0.0
    )
    assert at_once.percentile(80.0) == pytest.approx(np.log(2.0), rel=1e-6)


def test_how_far_to_the_left_transforms_are_known():
    """At s = -1 + i e, next to the negative axis, and at an angle of 0.6 pi."""
    next_to, at_angle = np.array([-1.0 + 1e-3j]), np.array([np.exp(0.6j * np.pi)])
    for law in (Lognormal(1.0, 4.0), Lognormal(1.0, 4.0).scaled(2.0)):
        assert is_known_at(law, at_angle) and not is_known_at(law, next_to)
    assert is_known_at(Weibull(1.0, 3.0), next_to) and not is_known_at(Weibull(1.0, 0.3), next_to)
    assert is_known_at(Deterministic(2.9), next_to) and not is_known_at(Deterministic(3.1), next_to)


def test_preemptive_lcfs_of_data_and_their_law_in_the_limit():
    law = Empirical(-np.log1p(-(np.arange(2000) + 0.5) / 2000))
    data, limit = (result_of(one(0.6, size, LCFSPreemptive())).classes[0].law for size in (law, Exponential(1.0)))
    for t in (0.2, 1.0, 5.0, 40.0):
        assert data.cdf(t) == pytest.approx(limit.cdf(t), abs=6e-4)
