"""SJF, PSJF, SRPT, LAS and multilevel feedback: oracles, limits, orderings, simulations."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from qmodel.policy import FCFS, LAS, MLFQ, PS, PSJF, SJF, SRPT
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Poisson,
    RequestClass,
    Uniform,
    Weibull,
)
from tests.theory import queues
from tests.theory.laws import SHAPES, THREE_SIZES
from tests.theory.scenarios import ORACLES, means, one, several

ORDERS = {"srpt": SRPT(), "psjf": PSJF(), "sjf": SJF(), "las": LAS()}
LAWS = [
    *SHAPES,
    Lognormal(1.0, 3.0),
    Weibull(1.0, 5.0),
    Gamma(1.0, 1e-4),
    Gamma(1.0, 8.0),
    BoundedPareto(0.1, 100.0, 1.3),
    THREE_SIZES,
    Mixture((0.4, 0.6), (Deterministic(0.4), Gamma(1.5, 1e-3))),
]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("load", ["0.5", "0.8"])
def test_exponential_oracles(name, load):
    found = means(one(float(load), Exponential(1.0), ORDERS[name]))
    assert found == pytest.approx([ORACLES["M/M/1 mean T"][load][name]], rel=1e-8)


@pytest.mark.parametrize("name", [*ORDERS, "ps", "fcfs"])
def test_hyperexponential_oracles(name):
    policy = (ORDERS | {"ps": PS(), "fcfs": FCFS()})[name]
    exact = ORACLES["M/H2/1 mean T (scv 4, balanced means)"]["0.5"][name]
    assert means(one(0.5, Hyperexponential(1.0, 4.0), policy)) == pytest.approx([exact], rel=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LAWS), st.floats(0.05, 0.97))
def test_srpt_is_best_and_orders_by_size_beat_blind_ones(law, load):
    rate = load / law.mean
    found = {name: means(one(rate, law, policy))[0] for name, policy in ORDERS.items()}
    plain = means(one(rate, law, FCFS()))[0]
    for other in [*found.values(), plain, law.mean / (1 - load)]:
        assert found["srpt"] <= other * (1 + 1e-9)
    assert found["sjf"] <= plain * (1 + 1e-9)
    assert found["srpt"] >= law.mean * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.99), st.floats(0.1, 10.0))
def test_exponential_sizes_make_las_ps_and_fcfs_alike(load, mean):
    rate = load / mean
    found = [means(one(rate, Exponential(mean), policy))[0] for policy in (LAS(), PS(), FCFS())]
    assert found == pytest.approx([mean / (1 - load)] * 3, rel=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("name", ORDERS)
def test_light_traffic_is_the_service_alone(law, name):
    assert means(one(1e-9, law, ORDERS[name])) == pytest.approx([law.mean], rel=1e-6)


def test_point_mass_ties_go_to_the_earlier():
    """One constant size: every order by size is FCFS; LAS finishes all of a busy period together."""
    plain = means(one(0.7, Deterministic(1.0), FCFS()))
    for policy in (SJF(), PSJF(), SRPT()):
        assert means(one(0.7, Deterministic(1.0), policy)) == pytest.approx(plain, rel=1e-12)
    assert means(one(0.7, Deterministic(1.0), LAS())) == pytest.approx([0.7 / (2 * 0.09) + 1 / 0.3], rel=1e-12)


def test_two_sizes_are_two_priorities():
    """SJF on two constants is Cobham's formula by hand; PSJF the preemptive one."""
    law, rate = Discrete((1.0, 2.0), (0.5, 0.5)), 0.5
    residual = rate * law.moment(2) / 2
    sjf = 0.5 * (residual / (1 * 0.75) + 1) + 0.5 * (residual / (0.75 * 0.25) + 2)
    assert means(one(rate, law, SJF())) == pytest.approx([sjf], rel=1e-12)
    psjf = 0.5 * (0.125 / 0.75 + 1) + 0.5 * (residual / (0.75 * 0.25) + 2 / 0.75)
    assert means(one(rate, law, PSJF())) == pytest.approx([psjf], rel=1e-12)


SIMULATED = {
    "srpt": (SRPT(), lambda job: job.size - job.attained),
    "psjf": (PSJF(), lambda job: job.size),
    "sjf": (SJF(), lambda job: job.size),
}
CLASSES = [(0.4, Gamma(0.8, 0.2)), (0.2, Mixture((0.5, 0.5), (Deterministic(1.0), Exponential(2.0))))]


@pytest.mark.parametrize("name", SIMULATED)
def test_classes_against_simulation(name):
    policy, rank = SIMULATED[name]
    arriving = queues.sized_jobs([(r, law, lambda rng, s: s) for r, law in CLASSES], 150_000, seed=5)
    served = queues.rank_queue(arriving, rank, policy.preemptive)
    answer = analyse(several(CLASSES, policy), percentiles=())
    for k in (0, 1):
        times = [job.done - job.arrival for job in served if job.number == k]
        assert queues.Estimate.of(times).agrees(answer[f"c{k}"].mean_response_s, within=0.02)
    if name != "sjf":
        slow = [(job.done - job.arrival) / job.size for job in served]
        assert queues.Estimate.of(slow).agrees(answer["all"].mean_slowdown, within=0.02)


@pytest.mark.parametrize("thresholds", [(1.0,), (0.3, 1.0, 2.5)])
def test_multilevel_feedback_against_simulation(thresholds):
    arriving = queues.sized_jobs([(r, law, lambda rng, s: s) for r, law in CLASSES], 150_000, seed=6)
    served = queues.rank_queue(
        arriving, lambda job: sum(job.attained >= t for t in thresholds), True, turns=lambda job: thresholds
    )
    answer = analyse(several(CLASSES, MLFQ(thresholds)), percentiles=())
    for k in (0, 1):
        times = [job.done - job.arrival for job in served if job.number == k]
        assert queues.Estimate.of(times).agrees(answer[f"c{k}"].mean_response_s, within=0.02)


def test_fine_levels_are_las_and_one_level_is_fcfs():
    law = Hyperexponential(1.0, 3.0)
    fine = MLFQ(tuple(np.linspace(0.005, 60.0, 12_000)))
    assert means(one(0.6, law, fine)) == pytest.approx(means(one(0.6, law, LAS())), rel=2e-3)
    assert means(one(0.6, law, MLFQ((1e6,)))) == pytest.approx(means(one(0.6, law, FCFS())), rel=1e-9)


def test_sizes_at_a_threshold_stay_in_the_level_below_it():
    low, high = (means(one(0.5, Deterministic(1.0), MLFQ((t,)))) for t in (1.0, 0.999999))
    assert low == pytest.approx(means(one(0.5, Deterministic(1.0), FCFS())), rel=1e-12)
    assert high[0] > low[0] * 1.2


def test_heavy_tails():
    """No second moment: orders that look at sizes or ages keep a finite mean, SJF does not."""
    law = Pareto(1.0, 1.5)
    for name in ("srpt", "psjf", "las"):
        found = analyse(one(0.7, law, ORDERS[name]), percentiles=())["a"]
        assert 1.0 < found.mean_response_s < 1.0 / 0.3
    answer = analyse(one(0.7, law, SJF()), percentiles=())
    assert answer["a"].mean_response_s is None and any("infinite" in note for note in answer.notes)
    level = analyse(several([(0.3, law), (0.3, Uniform(0.0, 1.0))], MLFQ((2.0,))), percentiles=())
    assert level["c0"].mean_response_s is None and level["c1"].mean_response_s < 4


def test_slowdown():
    for name in ("psjf", "srpt", "las"):
        assert 1 < analyse(one(0.5, Exponential(1.0), ORDERS[name]), percentiles=())["a"].mean_slowdown < 2
    assert analyse(one(0.5, Exponential(1.0), SJF()), percentiles=())["a"].mean_slowdown is None
    assert analyse(one(0.5, Exponential(1.0), MLFQ()), percentiles=())["a"].mean_slowdown is None
    # M/D/1: T/S = T for unit size
    assert analyse(one(0.5, Deterministic(1.0), SJF()), percentiles=())["a"].mean_slowdown == pytest.approx(1.5)
    wide = analyse(one(0.5, Gamma(1.0, 10.0), SRPT()), percentiles=())["a"].mean_slowdown
    assert 1 < wide < 1.5


RELEASE = EarlyExit(fractions=(0.25, 1.0), probabilities=(0.5, 0.5), delivery="release")


def test_early_release_in_orders_by_size():
    """Constant size 1: FCFS order, so W + share; exponential LAS: as if of the smaller size."""
    law, rate = Deterministic(1.0), 0.5
    wait = 0.5 * 0.5 / 0.5
    for policy in (SJF(), PSJF(), SRPT()):
        found = analyse(one(rate, law, policy, transforms=[RELEASE]), percentiles=())["a"]
        assert found.mean_response_s == pytest.approx(wait + 0.625, rel=1e-9)
        assert found.mean_service_s == 0.625
    las = analyse(one(0.5, Exponential(1.0), LAS(), transforms=[RELEASE]), percentiles=())["a"]
    x = np.linspace(0, 60, 600_001)
    load = 0.5 * -np.expm1(-x)
    square = 1 - np.exp(-x) * (1 + x)  # E[min(S, x)^2]/2
    response = 0.5 * square / (1 - load) ** 2 + x / (1 - load)
    early = np.trapezoid(np.interp(0.25 * x, x, response) * np.exp(-x), x)
    assert las.mean_response_s == pytest.approx(0.5 * early + 0.5 * 2.0, rel=1e-6)


def test_early_release_under_srpt():
    """E[T] = delay + E[int over the first quarter of the service of dt/(1 - rho(remaining))]."""
    found = analyse(one(0.5, Exponential(1.0), SRPT(), transforms=[RELEASE]), percentiles=())["a"]
    whole = ORACLES["M/M/1 mean T"]["0.5"]["srpt"]
    x = np.linspace(1e-9, 60, 600_001)
    idle = 1 - 0.5 * (1 - np.exp(-x) * (1 + x))
    stay = np.concatenate(([0], np.cumsum(0.5 * (1 / idle[1:] + 1 / idle[:-1]) * np.diff(x))))
    rest = np.trapezoid(np.interp(0.75 * x, x, stay) * np.exp(-x), x)
    assert found.mean_response_s == pytest.approx(whole - 0.5 * rest, rel=1e-6)


def test_early_release_beside_a_rare_class_of_constant_size():
    """A class that hardly ever comes changes nothing for the others, wherever its point mass lies."""
    alone = analyse(one(0.5, Exponential(1.0), SRPT(), transforms=[RELEASE]), percentiles=())["a"]
    scenario = one(0.5, Exponential(1.0), SRPT(), transforms=[RELEASE])
    for size in (0.1, 1.0):
        rare = RequestClass("b", arrivals=Poisson(1e-9), service=Deterministic(size))
        found = analyse(replace(scenario, classes=(*scenario.classes, rare)), percentiles=())["a"]
        assert found.mean_response_s == pytest.approx(alone.mean_response_s, rel=1e-7)


def test_grid_integrates_every_law():
    for law in LAWS:
        grid = SizeGrid(1.0, law)
        weights = grid.weights(law)
        assert weights.sum() == pytest.approx(1.0, rel=1e-11)
        assert weights @ grid.sizes == pytest.approx(law.mean, rel=1e-11)
        assert weights @ grid.sizes**2 == pytest.approx(law.moment(2), rel=1e-10)
        assert grid.integral(grid.nodes**2) == pytest.approx(grid.sizes**3 / 3, rel=1e-6)
    assert math.isclose(SizeGrid(2.0, Deterministic(3.0)).load_below[-1], 0.0)


def test_a_fixed_cost_before_each_service():
    """SJF of 0.5 + an exponential: Phipps' formula, integrated as it stands."""
    rate, offset = 0.5, 0.5

    def upto(x):
        """rho(x) = lambda E[S; S <= x]."""
        z = x - offset
        return rate * (offset + 1.0 - math.exp(-z) * (offset + 1.0 + z))

    second = offset**2 + 2.0 * offset + 2.0
    exact, _ = quad(
        lambda z: math.exp(-z) * (rate * second / (2.0 * (1.0 - upto(offset + z)) ** 2) + offset + z), 0.0, 60.0
    )
    assert means(one(rate, Exponential(1.0).shifted(offset), SJF())) == pytest.approx([exact], rel=1e-8)
