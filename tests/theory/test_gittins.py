"""Gittins: closed cases, a hand computation, simulation, and optimality."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LAS, MLFQ, SRPT, Gittins, PreemptivePriority
from qmodel.policy.gittins_index import gittins_table
from qmodel.scenario import Scenario
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.rank.blind_order import blind_means
from qmodel.theory.rank.gittins import gittins_paths, path_of_table
from qmodel.theory.rank.monotone_runs import Runs
from qmodel.theory.rank.rank_path import Path
from qmodel.theory.rank.soap import Background
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
    Uniform,
    Weibull,
)
from qmodel.workload.partial import limited_moment
from tests.theory import queues
from tests.theory.scenarios import means, one, request_class, several

FALLING = [Hyperexponential(1.0, 4.0), Gamma(1.0, 3.0)]
RISING = [Uniform(0.0, 2.0), Gamma(1.0, 0.25), Deterministic(1.0)]
MIXED = {
    "lognormal": Lognormal(1.0, 2.0),
    "bounded Pareto": BoundedPareto(0.2, 50.0, 1.5),
    "two humps": Mixture((0.7, 0.3), (Uniform(0.0, 1.0), Uniform(3.0, 5.0))),
    "two sizes": Discrete((1.0, 10.0), (0.8, 0.2)),
}


def soap_mean(law, load=0.8):
    scenario = one(load / law.mean, law, Gittins())
    return blind_means(gittins_paths(scenario.policy, scenario.served), scenario.served)["a"]


def test_a_falling_hazard_is_least_attained_service():
    for law in FALLING:
        las = means(one(0.8, law, LAS()))[0]
        assert means(one(0.8, law, Gittins())) == pytest.approx([las], rel=1e-12)
        assert soap_mean(law) == pytest.approx(las, rel=1e-7)


def test_a_rising_hazard_is_first_come_first_served_with_percentiles():
    for law in RISING:
        answer, fcfs = analyse(one(0.8, law, Gittins())), analyse(one(0.8, law, FCFS()))
        assert answer["a"].metrics == fcfs["a"].metrics and "FCFS" in answer.result
        assert soap_mean(law) == pytest.approx(fcfs["a"].mean_response_s, rel=1e-8)


def test_two_sizes_by_hand():
    """Sizes 1 and 10 (0.8, 0.2) at 0.8. The small: ranks 1.25 at birth, the large is ahead again from age 8.75 on,
    T = lambda (1 + 0.2 * 1.25^2) / (2 (1 - lambda)) + 1. The large: 9 at age 1, so that only ages below 1 pass it.
    """
    rate = 0.8 / 2.8
    small = 0.5 * rate * (1.0 + 0.2 * 1.25**2) / (1.0 - rate) + 1.0
    large = 0.5 * rate * 20.8 / ((1.0 - 0.8) * (1.0 - rate)) + 8.75 / (1.0 - rate) + 1.25
    assert means(one(rate, MIXED["two sizes"], Gittins())) == pytest.approx([0.8 * small + 0.2 * large], rel=1e-12)


def test_two_sizes_against_simulation():
    law = MIXED["two sizes"]
    table = gittins_table(law)
    arriving = queues.sized_jobs([(0.25, law, lambda rng, s: s)], 150_000, seed=4)
    served = queues.rank_queue(arriving, lambda job: table.at(job.attained), True, lambda job: (1.0,))
    estimate = queues.Estimate.of([job.done - job.arrival for job in served])
    assert estimate.agrees(means(one(0.25, law, Gittins()))[0], within=0.02)


def test_classes_against_simulation():
    """Two classes whose ranks cross: looked at finely, since they rise between arrivals."""
    classes = [(0.3, Lognormal(1.0, 2.0)), (0.25, Gamma(1.2, 0.3))]
    tables = [gittins_table(law) for _, law in classes]
    arriving = queues.sized_jobs([(rate, law, lambda rng, s: s) for rate, law in classes], 16_000, seed=6)
    looks = 0.04 * np.arange(1, 300)
    served = queues.rank_queue(
        arriving,
        lambda job: tables[job.number].at(job.attained),
        True,
        lambda job: looks[np.searchsorted(looks, job.attained + 1e-9) :][:1],
    )
    found = means(several(classes, Gittins()))
    for k in (0, 1):
        estimate = queues.Estimate.of([job.done - job.arrival for job in served if job.number == k])
        assert estimate.agrees(found[k], within=0.06)


def shortest_expected_rest(law, load):
    """Mean under SERPT, rank E[S - a | S > a], straight between the ages of the Gittins table."""
    table = gittins_table(law)
    ages = np.append(table.start, table.end[-1])
    ages = ages[law.sf(ages) > 1e-12]
    ranks = (law.mean - limited_moment(law, 1, ages)) / law.sf(ages)
    path = Path(ages[:-1], ages[1:], ranks[:-1], ranks[1:])
    scenario = one(load / law.mean, law, LAS())
    return blind_means({"a": path}, scenario.served)["a"]


@pytest.mark.parametrize("name", MIXED)
def test_nobody_without_sizes_does_better(name):
    law = MIXED[name]
    others = [FCFS(), LAS(), MLFQ((0.5, 2.0)), MLFQ((law.mean,))]
    best = means(one(0.8 / law.mean, law, Gittins()))[0]
    found = [means(one(0.8 / law.mean, law, policy))[0] for policy in others]
    if name in ("lognormal", "bounded Pareto"):
        found.append(shortest_expected_rest(law, 0.8))
    assert means(one(0.8 / law.mean, law, SRPT()))[0] < best
    assert best < min(found) * (1 + 1e-6)


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.05, 1.0)), min_size=2, max_size=4),
    st.floats(0.2, 0.95),
    st.lists(st.floats(0.1, 6.0), min_size=1, max_size=3, unique=True),
)
def test_gittins_is_least_for_random_sizes(points, load, thresholds):
    values = tuple(sorted({round(value, 3) for value, _ in points}))
    weights = [w for _, w in points][: len(values)]
    law = Discrete(values, tuple(w / sum(weights) for w in weights))
    scenario = one(load / law.mean, law, Gittins())
    best = means(scenario)[0]
    assert best >= means(scenario.with_policy(SRPT()))[0] * (1 - 1e-9)
    for policy in (FCFS(), LAS(), MLFQ(tuple(sorted(thresholds)))):
        assert best <= means(scenario.with_policy(policy))[0] * (1 + 1e-9)


def test_classes_with_weights_minimise_the_weighted_mean():
    classes = [
        request_class("a", 0.3, Lognormal(1.0, 2.0), weight=1.0),
        request_class("b", 0.3, Gamma(1.0, 0.5), weight=3.0, priority=1),
    ]

    policies = [Gittins(), Gittins(weighted=True), FCFS(), LAS(), PreemptivePriority()]
    found = np.array([means(Scenario(classes, policy=policy)) for policy in policies])
    assert np.argmin(found @ [1.0, 3.0]) == 1 and np.argmin(found @ [1.0, 1.0]) == 0


def test_classes_alike_are_one():
    law = Lognormal(1.0, 2.0)
    alone = means(one(0.7, law, Gittins()))[0]
    for policy in (Gittins(), Gittins(by_class=False)):
        assert means(several([(0.3, law), (0.4, law)], policy)) == pytest.approx([alone, alone], rel=1e-6)


def test_infinite_variance_and_measured_sizes():
    heavy = one(0.8, Pareto(1.0, 1.5), Gittins())
    assert means(heavy)[0] < means(heavy.with_policy(LAS()))[0]
    measured = Empirical(Lognormal(1.0, 2.0).sample(np.random.default_rng(2), 60))
    scenario = one(0.8 / measured.mean, measured, Gittins())
    assert means(scenario)[0] < min(means(scenario.with_policy(p))[0] for p in (FCFS(), LAS()))


def test_what_is_refused():
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    answer = analyse(one(0.5, Lognormal(1.0, 2.0), Gittins(), transforms=[release]))
    assert isinstance(answer, NotAnalysable) and "leave before" in answer.reason


def test_a_background_of_higher_priority_is_preemptive_priority():
    """Flat ranks below a class that always goes first."""
    scenario = several([(0.3, Exponential(1.0)), (0.4, Gamma(1.0, 0.5))], PreemptivePriority())
    high, low = scenario.served
    flat = Path(*(np.array([x]) for x in (0.0, 1.0, 0.0, 0.0)))
    background = Background(high.load, 0.5 * high.rate * high.size.moment(2))
    found = blind_means({"c1": flat}, [low], background)
    assert found["c1"] == pytest.approx(means(scenario)[1], rel=1e-10)


def test_paths_of_tables():
    rising, falling = (path_of_table(gittins_table(law)) for law in (Pareto(1.0, 1.5), RISING[0]))
    assert rising.last[-1] > rising.first[-1] and rising.end[-1] > 1e30
    assert falling.last[-1] == falling.first[-1] == pytest.approx(0.0, abs=1e-9)
    many = Path(*(np.array(column) for column in (range(60), range(1, 61), [*range(60)][::-1], [*range(60)][::-1])))
    assert len(Runs(many).turning_ranks) == 60
    assert replace(many, first=many.last).cut(np.array([0.5])).first.tolist() == many.first.tolist()


@pytest.mark.parametrize("unit", [1.0, 1e-3, 32900.0])
def test_classes_of_one_mean_whose_hazards_rise_are_served_in_turn(unit):
    laws = (Weibull(1.0, 0.5), Deterministic(1.0), Exponential(1.0), Gamma(1.0, 0.25))
    classes = [request_class(f"c{i}", 0.2 / unit, law.scaled(unit)) for i, law in enumerate(laws)]
    fcfs = means(Scenario(classes))
    assert means(Scenario(classes, policy=Gittins())) == pytest.approx(fcfs, rel=1e-9)
