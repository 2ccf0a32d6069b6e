"""Processor sharing: plain, discriminatory, limited, on several servers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable
from qmodel.policy import DPS, FCFS, PS, SRPT
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.one_server.limited_sharing import SharingChain, limited_sharing
from qmodel.workload import (
    Deterministic,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Poisson,
    RequestClass,
)
from tests.theory.scenarios import ORACLES, means, one, request_class, several

RELEASE = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(
        [Exponential(1.0), Deterministic(1.0), Lognormal(1.0, 9.0), Pareto(1.0, 1.1), Gamma(1.0, 1e-3)]
    ),
    st.floats(0.01, 0.99),
)
def test_ps_is_insensitive(law, load):
    answer = analyse(one(load, law, PS()), percentiles=())["a"]
    assert answer.mean_response_s == pytest.approx(1 / (1 - load), rel=1e-12)
    assert answer.mean_slowdown == pytest.approx(1 / (1 - load), rel=1e-12)


def test_ps_class_by_class_and_early_release():
    classes = [(0.2, Exponential(1.0)), (0.1, Deterministic(4.0))]
    assert means(several(classes, PS())) == pytest.approx([2.5, 10.0], rel=1e-12)
    assert means(several(classes, PS(), transforms=[RELEASE])) == pytest.approx([1.25, 5.0], rel=1e-12)


def test_sharing_by_the_system_is_ps():
    shared = Scenario([request_class("a", 0.5, Deterministic(1.0))], system=System(batching="processor-sharing"))
    assert means(shared) == pytest.approx([2.0], rel=1e-12)
    assert analyse(shared).policy == "ps"


def test_dps_oracle():
    exact = ORACLES["DPS M/M/1, arrival rates 0.4 and 0.4, weights 2 and 1, mean T"]
    classes = [request_class("a", 0.4, Exponential(1.0), weight=2.0), request_class("b", 0.4, Exponential(1.0))]
    assert means(Scenario(classes, policy=DPS())) == pytest.approx(exact, rel=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0.2, 5.0)), min_size=1, max_size=4), st.floats(0.1, 0.95))
def test_dps_with_equal_weights_is_ps(parts, load):
    scale = load / sum(rate * mean for rate, mean in parts)
    classes = [(rate * scale, Exponential(mean)) for rate, mean in parts]
    assert means(several(classes, DPS())) == pytest.approx(means(several(classes, PS())), rel=1e-9)


def dps_by_truncated_chain(rates, sizes, weights, most=60):
    """Mean responses of two exponential classes from the stationary law of (n_1, n_2), cut at `most`."""
    import scipy.sparse as sparse
    from scipy.sparse.linalg import spsolve

    n = most + 1
    rows, cols, values = [], [], []

    def move(a, b, rate):
        rows.extend((a, a))
        cols.extend((b, a))
        values.extend((rate, -rate))

    for i in range(n):
        for j in range(n):
            here = i * n + j
            if i < most:
                move(here, here + n, rates[0])
            if j < most:
                move(here, here + 1, rates[1])
            total = weights[0] * i + weights[1] * j
            if i:
                move(here, here - n, weights[0] * i / total / sizes[0])
            if j:
                move(here, here - 1, weights[1] * j / total / sizes[1])
    generator = sparse.csr_matrix((values, (rows, cols)), shape=(n * n, n * n)).T.tolil()
    generator[0, :] = 1.0
    law = spsolve(generator.tocsr(), np.eye(1, n * n).ravel()).reshape(n, n)
    assert law[-1].sum() + law[:, -1].sum() < 1e-9
    return [float(law.sum(axis=1) @ np.arange(n)) / rates[0], float(law.sum(axis=0) @ np.arange(n)) / rates[1]]


def test_dps_against_a_truncated_chain():
    rates, sizes, weights = (0.3, 0.2), (1.0, 1.5), (1.0, 5.0)
    exact = dps_by_truncated_chain(rates, sizes, weights)
    classes = [
        request_class(f"c{k}", r, Exponential(s), weight=w)
        for k, (r, s, w) in enumerate(zip(rates, sizes, weights, strict=True))
    ]
    assert means(Scenario(classes, policy=DPS())) == pytest.approx(exact, rel=1e-7)


def test_dps_of_a_mixture_is_of_its_parts():
    h2 = Hyperexponential(1.0, 4.0)
    (p, first), (q, second) = h2.phases
    whole = [request_class("a", 0.5, h2, weight=3.0), request_class("b", 0.3, Exponential(1.0).scaled(0.5))]
    parts = [
        request_class("a1", 0.5 * p, Exponential(first), weight=3.0),
        request_class("a2", 0.5 * q, Exponential(second), weight=3.0),
        request_class("b", 0.3, Exponential(0.5)),
    ]
    apart = means(Scenario(parts, policy=DPS()))
    expected = [p * apart[0] + q * apart[1], apart[2]]
    assert means(Scenario(whole, policy=DPS())) == pytest.approx(expected, rel=1e-12)


def test_dps_refuses_other_sizes():
    assert isinstance(analyse(one(0.5, Deterministic(1.0), DPS())), NotAnalysable)
    assert isinstance(analyse(one(0.5, Exponential(1.0), DPS(), transforms=[RELEASE])), NotAnalysable)


def limited(classes, places, policy=None):
    return Scenario(classes, policy=policy or FCFS(), system=System(batching="processor-sharing", max_batch=places))


@pytest.mark.parametrize("places", ["1", "2", "8", "inf"])
def test_limited_sharing_oracles(places):
    exact = ORACLES["limited processor sharing M/H2/1 (scv 4) at 0.8, mean T by number in service"][places]
    classes = [request_class("a", 0.8, Hyperexponential(1.0, 4.0))]
    scenario = limited(classes, 60 if places == "inf" else int(places))
    assert means(scenario) == pytest.approx([exact], rel=1e-5 if places == "inf" else 1e-8)


def test_limited_sharing_of_exponentials_is_m_m_1():
    for places in (1, 3, 50):
        assert means(limited([request_class("a", 0.8, Exponential(1.0))], places)) == pytest.approx(
            [5.0], rel=1e-12
        )
        two = [request_class("a", 0.5, Exponential(1.0)), request_class("b", 0.3, Exponential(1.0))]
        assert means(limited(two, places)) == pytest.approx([5.0, 5.0], rel=1e-12)


def test_one_place_is_fcfs_and_many_are_ps():
    made = [(0.2, Exponential(0.5)), (0.3, Hyperexponential(1.5, 3.0)), (0.1, Exponential(1.0))]
    classes = [request_class(f"c{k}", rate, law) for k, (rate, law) in enumerate(made)]
    assert means(limited(classes, 1)) == pytest.approx(means(several(made, FCFS())), rel=1e-10)
    two = made[:1] + made[2:]
    classes = [request_class(f"c{k}", rate, law) for k, (rate, law) in enumerate(two)]
    assert means(limited(classes, 40)) == pytest.approx(means(several(two, PS())), rel=1e-8)


def test_limited_sharing_keeps_the_work():
    """Chain by itself: throughput per kind out of service equals its arrivals."""
    chain = SharingChain((0.3, 0.2), (1.0, 2.0), 3)
    waiting, inside = chain.averages
    assert waiting > 0
    assert (inside > 0).all()
    # equal sizes: both kinds are alike
    alike, split = SharingChain((0.5, 0.3), (1.0, 1.0 + 1e-12), 3).averages
    assert alike + split.sum() == pytest.approx(4.0, rel=1e-9)
    assert split[0] / split[1] == pytest.approx(5 / 3, rel=1e-9)


def test_limited_sharing_refuses():
    constant = [request_class("a", 0.5, Deterministic(1.0))]
    for scenario in (
        limited(constant, 4),
        limited([request_class("a", 0.5, Exponential(1.0))], 4, SRPT()),
        limited([request_class("a", 0.5, Hyperexponential(1.0, 2.0))], 1000),
        Scenario(
            [request_class("a", 0.5, Exponential(1.0))],
            system=System(servers=2, batching="processor-sharing", max_batch=4),
        ),
    ):
        assert isinstance(analyse(scenario), NotAnalysable)
    early = Scenario([request_class("a", 0.5, Exponential(1.0))], transforms=[RELEASE]).served
    assert isinstance(limited_sharing(early, 3), NotAnalysable)


def test_mixtures_of_mixtures_are_taken_apart():
    inner = Mixture((0.5, 0.5), (Exponential(1.0), Exponential(1.0).scaled(2.0)))
    made = RequestClass("a", arrivals=Poisson(rate=0.3), service=Mixture((0.4, 0.6), (inner, Exponential(2.0))))
    flat = Mixture((0.2, 0.8), (Exponential(1.0), Exponential(2.0)))
    same = RequestClass("a", arrivals=Poisson(rate=0.3), service=flat)
    assert means(limited([made], 4)) == pytest.approx(means(limited([same], 4)), rel=1e-12)
