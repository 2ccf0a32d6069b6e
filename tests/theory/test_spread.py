"""Standard deviations of the response: closed forms, other formulas, simulations, and infinite ones."""

import math
from itertools import pairwise

import numpy as np
import pytest

from qmodel.metrics import metric
from qmodel.policy import (
    FCFS,
    LAS,
    LCFS,
    MLFQ,
    PS,
    PSJF,
    SJF,
    SRPT,
    LCFSPreemptive,
    NonPreemptivePriority,
    PreemptivePriority,
    RandomOrder,
)
from qmodel.theory import analyse
from qmodel.theory.dispatch import result_of
from qmodel.theory.one_server.second_moments import Two, Work, finite, found_work, prolonged, residual
from qmodel.workload import Deterministic, Gamma, Hyperexponential, Lognormal, Pareto, Uniform
from tests.theory import queues
from tests.theory.laws import UNIT
from tests.theory.scenarios import one, several


def spread(scenario, name="a"):
    return analyse(scenario, percentiles=(50.0,))[name].std_response_s


@pytest.mark.parametrize("load", [0.1, 0.5, 0.95])
def test_closed_forms_of_m_m_1(load):
    gap = 1 - load
    assert spread(one(load, UNIT, FCFS())) == pytest.approx(1 / gap, rel=1e-12)
    # Coffman, Muntz & Trotter 1970: Var[T] = (2 + rho) / ((1 - rho)^2 (2 - rho))
    assert spread(one(load, UNIT, PS())) == pytest.approx(math.sqrt((2 + load) / (2 - load)) / gap, rel=1e-6)
    # the busy period
    assert spread(one(load, UNIT, LCFSPreemptive())) == pytest.approx(math.sqrt((1 + load) / gap**3), rel=1e-12)


def test_constant_sizes_in_every_order_by_size():
    plain = spread(one(0.7, Deterministic(1.0), FCFS()))
    assert plain == pytest.approx(math.sqrt(0.7 / (3 * 0.3) + (0.7 / 0.6) ** 2), rel=1e-12)
    for policy in (SJF(), PSJF(), SRPT(), MLFQ((2.0,))):
        assert spread(one(0.7, Deterministic(1.0), policy)) == pytest.approx(plain, rel=1e-12)


def test_alike_priorities_are_fcfs():
    law = Gamma(1.0, 0.4)
    plain = spread(one(0.6, law, FCFS()))
    for policy in (NonPreemptivePriority(), PreemptivePriority()):
        assert spread(one(0.6, law, policy)) == pytest.approx(plain, rel=1e-12)


def test_the_law_has_this_spread():
    """E[T^2] as the integral of 2 t P(T > t), by the inversion."""
    from qmodel.theory.size_order.size_law import SizeLaw
    from qmodel.theory.size_order.sized_queue import SizedQueue

    found = SizeLaw([(1.0, UNIT)], SizedQueue(PSJF(), 0.5, UNIT))
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = np.array([0.0, 0.5, 2.0, 6.0, 15.0, 40.0, 100.0])
    second = 0.0
    for a, b in pairwise(edges):
        t = 0.5 * (b - a) * (nodes + 1) + a
        second += (b - a) * float(weights @ (t * np.array([1 - found.cdf(float(x)) for x in t])))
    answer = analyse(one(0.5, UNIT, PSJF()), percentiles=(50.0,))["a"]
    assert answer.std_response_s**2 + answer.mean_response_s**2 == pytest.approx(second, rel=1e-3)


CLASSES = [(0.3, Uniform(0.2, 1.4)), (0.25, Hyperexponential(1.6, 2.0))]


@pytest.mark.parametrize("policy", [NonPreemptivePriority(), PreemptivePriority()], ids=lambda p: p.name)
def test_priorities_against_simulation(policy):
    jobs = queues.jobs([(rate, law, law) for rate, law in CLASSES], 200_000, seed=12)
    served = queues.priority_queue(jobs, policy.preemptive)
    answer = analyse(several(CLASSES, policy), percentiles=(50.0,))
    for number, name in ((0, "c0"), (1, "c1"), (None, "all")):
        agrees(answer[name].std_response_s, queues.responses(served, number))


def agrees(value, times):
    parts = np.array([part.std() for part in np.array_split(times, 30)])
    assert parts.std() / 30**0.5 < 0.06 * value
    assert value == pytest.approx(times.std(), abs=5 * parts.std() / 30**0.5)


def test_random_lots_against_simulation():
    law = Uniform(0.2, 1.8)
    rng = np.random.default_rng(7)
    jobs = queues.sized_jobs([(0.7, law, lambda rng, s: s)], 150_000, seed=13)
    for job in jobs:
        job.predicted = rng.random()
    served = queues.rank_queue(jobs, lambda job: job.predicted, False)
    agrees(spread(one(0.7, law, RandomOrder())), np.array([job.done - job.arrival for job in served]))


def test_last_come_against_simulation():
    law = Gamma(1.0, 0.5)
    jobs = queues.sized_jobs([(0.6, law, lambda rng, s: s)], 150_000, seed=14)
    served = queues.rank_queue(jobs, lambda job: -job.arrival, False)
    agrees(spread(one(0.6, law, LCFS())), np.array([job.done - job.arrival for job in served]))


def test_sharing_against_simulation():
    law = Lognormal(1.0, 2.0)
    served = queues.sharing_queue(queues.sized_jobs([(0.6, law, lambda rng, s: s)], 150_000, seed=15))
    agrees(spread(one(0.6, law, PS())), np.array([job.done - job.arrival for job in served]))


def test_infinite_spreads_are_said():
    heavy = Pareto(1.0, 2.5)  # E[S^2] finite, E[S^3] not
    for policy in (FCFS(), LCFS(), SJF(), NonPreemptivePriority()):
        answer = analyse(one(0.5, heavy, policy), percentiles=(50.0,))
        assert answer["a"].std_response_s is None and answer["a"].mean_response_s is not None
        assert any("standard deviation" in note for note in answer.notes)
    for policy in (PSJF(), SRPT(), LAS(), PS(), LCFSPreemptive()):
        assert spread(one(0.5, heavy, policy)) > 0
    # alpha just above 2: half of E[S^2] lies beyond 10^3 means, past any grid; LAS >= x/(1 - rho) for the largest
    near = Pareto(1.0, 2.05)
    assert spread(one(0.5, near, LAS())) ** 2 > 0.9 * 4 * near.variance
    assert spread(one(0.5, Pareto(1.0, 1.5), PS())) is None


def test_without_percentiles_there_is_none():
    assert "std_response_s" not in analyse(one(0.5, UNIT, FCFS()), percentiles=())["a"].metrics
    assert metric("std_response_s").unit == "s"


def test_parts():
    work = Work(0.5, 1.0, 3.0)
    assert found_work(work).second == pytest.approx(4.0)
    assert residual(work).mean == pytest.approx(1.0)
    busy = prolonged(Two(1.0, 1.0), work)
    assert (busy.mean, busy.variance) == pytest.approx((2.0, 12.0))
    assert finite(math.nan) == math.inf and finite(2.0) == 2.0


def test_random_lots_are_priority_over_the_share_above():
    """Somebody with lot u waits as a rare class between the shares u and 1 - u: the integral over u."""
    law, rate, rare = Hyperexponential(1.0, 2.0), 0.6, 1e-9
    lots, weights = np.polynomial.legendre.leggauss(14)
    square = 0.0
    for u, weight in zip((1.0 + lots) / 2.0, weights / 2.0, strict=True):
        classes = [(rate * u, law), (rare, law), (rate * (1 - u), law)]
        square += weight * result_of(several(classes, NonPreemptivePriority())).classes[1].second_moment
    found = result_of(one(rate, law, RandomOrder())).classes[0].second_moment
    assert found == pytest.approx(square, rel=1e-7)
