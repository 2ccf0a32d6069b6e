"""A server whose speed follows a Markov chain: rate matrices, limits, breakdowns, simulation."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, PS
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.service.transform import EarlyExit
from qmodel.theory import analyse
from qmodel.theory.arrivals import modulated_work
from qmodel.theory.arrivals.random_environment import Capacity
from qmodel.theory.one_server.m_g_1 import mean_wait
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mmpp,
    Pareto,
    Poisson,
    Renewal,
    RequestClass,
    Uniform,
)
from tests.theory import special_queues
from tests.theory.queues import Estimate

SLOW = Environment((1.0, 0.5), ((-0.1, 0.1), (0.3, -0.3)))
DOWN = Environment((1.0, 0.0), ((-0.1, 0.1), (1.0, -1.0)))
QUICK = Environment((2.0, 3.0), ((-0.1, 0.1), (0.2, -0.2)))
THREE = Environment((2.0, 0.5, 0.0), ((-1.0, 0.5, 0.5), (0.2, -0.3, 0.1), (1.0, 0.0, -1.0)))
BURSTY = Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.3, -0.3)))


def scenario(environment, *streams, policy=None, slo=None, **options):
    classes = [RequestClass(f"c{i}", arrivals=p, service=law, slo=slo or {}) for i, (p, law) in enumerate(streams)]
    return Scenario(classes, policy=policy or FCFS(), system=System(environment=environment), **options)


def mean(environment, process, law):
    return analyse(scenario(environment, (process, law)), percentiles=())["all"].mean_response_s


def by_rate_matrix(rate, environment):
    """E[T] of M/M/1, unit services, from the geometric law of the number in the system."""
    speeds, generator = np.array(environment.speeds), np.array(environment.generator)
    n = len(speeds)
    inverse = np.linalg.inv(rate * np.eye(n) + np.diag(speeds) - generator)
    r = np.zeros((n, n))
    for _ in range(20_000):
        r = (rate * np.eye(n) + r @ r @ np.diag(speeds)) @ inverse
    rest = np.linalg.inv(np.eye(n) - r)
    equations = np.vstack(((generator - rate * np.eye(n) + r @ np.diag(speeds)).T, rest.sum(axis=1)))
    first = np.linalg.lstsq(equations, np.append(np.zeros(n), 1.0), rcond=None)[0]
    return float((first @ r @ rest @ rest).sum() / rate)


@pytest.mark.parametrize("environment", [SLOW, DOWN, THREE], ids=["slow", "down", "three"])
@pytest.mark.parametrize("load", [0.1, 0.6, 0.95])
def test_m_m_1_by_the_rate_matrix(environment, load):
    rate = load * environment.mean_speed
    answer = analyse(scenario(environment, (Poisson(rate), Exponential(1.0))), percentiles=())
    assert answer["all"].mean_response_s == pytest.approx(by_rate_matrix(rate, environment), rel=1e-9)
    assert answer.utilisation == pytest.approx(load) and answer.method == "exact"


@pytest.mark.parametrize("law", [Deterministic(1.0), Hyperexponential(1.0, 4.0), Pareto(1.0, 2.5)], ids=repr)
def test_one_speed_is_pollaczek_khinchine(law):
    for environment in (Environment((2.0,), ((0.0,),)), Environment((2.0, 2.0), ((-1.0, 1.0), (3.0, -3.0)))):
        expected = mean_wait(1.2, law.scaled(0.5)) + 0.5
        answer = analyse(scenario(environment, (Poisson(1.2), law)), percentiles=(90,))
        assert answer["all"].mean_response_s == pytest.approx(expected, rel=1e-9)
        plain = analyse(
            Scenario([RequestClass("a", arrivals=Poisson(1.2), service=law.scaled(0.5))]), percentiles=(90,)
        )
        assert answer["all"].p90_response_s == pytest.approx(plain["all"].p90_response_s, rel=1e-5)


@pytest.mark.parametrize("load", [0.01, 0.5, 0.95])
@pytest.mark.parametrize(
    "environment",
    [Environment((2.0, 3.0), ((-0.1, 0.1), (0.2, -0.2))), Environment((8.0,), ((0.0,),)), THREE],
    ids=repr,
)
def test_the_wait_ends_where_the_service_starts(environment, load):
    """Never negative, however quick the server; the service lasts as long as the speeds met in it make it."""
    law = Uniform(0.5, 1.5)
    streams = [(Poisson(load * environment.mean_speed / 2), law), (Poisson(load * environment.mean_speed / 2), law)]
    for part in analyse(scenario(environment, *streams), percentiles=()).classes:
        assert part.mean_wait_s > 0
        assert part.mean_response_s == pytest.approx(part.mean_wait_s + part.mean_service_s, rel=1e-12)
        if 0 not in environment.speeds:
            assert 1 / max(environment.speeds) * 0.999 < part.mean_service_s < 1 / min(environment.speeds) * 1.001


def test_the_wait_against_simulation():
    """A request's wait is the response of one of no size that joins the same work."""
    rate = 0.6 * THREE.mean_speed
    streams = [Poisson(rate), Poisson(0.1 * rate)], [Exponential(1.0)] * 2
    times, sizes, numbers = special_queues.stream(*streams, 300_000, seed=6)
    sizes = np.where(numbers == 1, 1e-9, sizes)
    responses = special_queues.in_environment(times, sizes, THREE.speeds, THREE.generator, seed=7)
    queue = Capacity.of(THREE, [Poisson(rate)], [Exponential(1.0)])
    assert Estimate.of(responses[numbers == 0]).agrees(queue.mean_response(0, Exponential(1.0)))
    assert Estimate.of(responses[numbers == 1]).agrees(queue.mean_wait(0), within=0.03)


def test_quick_environment_is_its_mean_speed():
    quick = Environment((1.0, 0.5), ((-1e5, 1e5), (3e5, -3e5)))
    expected = 1.0 / (quick.mean_speed - 0.5)
    assert mean(quick, Poisson(0.5), Exponential(1.0)) == pytest.approx(expected, rel=1e-4)


def test_slow_environment_is_a_mixture():
    slow = Environment((1.0, 0.5), ((-1e-5, 1e-5), (1e-5, -1e-5)))
    expected = 0.5 * (1 / 0.7 + 1 / 0.2)
    assert mean(slow, Poisson(0.3), Exponential(1.0)) == pytest.approx(expected, rel=1e-2)
    halved = Environment((1.0, 0.5), ((-1e-4, 1e-4), (1e-4, -1e-4)))
    gap = [abs(mean(e, Poisson(0.3), Exponential(1.0)) - expected) for e in (slow, halved)]
    assert gap[0] == pytest.approx(gap[1] / 10, rel=0.05)


@pytest.mark.parametrize("law", [Exponential(1.0), Deterministic(1.0), Lognormal(1.0, 4.0)], ids=repr)
def test_breakdowns_by_completion_times(law):
    """Avi-Itzhak & Naor (1963): M/G/1 with the completion time as service, plus the outage an arrival finds."""
    rate, fail, repair = 0.4, 0.1, 1.0
    stretch = 1 + fail / repair
    completion = stretch * law.mean
    second = stretch**2 * law.moment(2) + law.mean * fail * 2 / repair**2
    idle_outage = fail / (fail + repair) / repair
    wait = rate * second / 2 / (1 - rate * completion) + idle_outage
    found = analyse(scenario(DOWN, (Poisson(rate), law)), percentiles=())["all"]
    assert found.mean_response_s == pytest.approx(wait + completion, rel=1e-9)
    assert found.mean_wait_s == pytest.approx(wait, rel=1e-8)
    assert found.mean_service_s == pytest.approx(completion, rel=1e-9)


STREAMS = {
    "slow, two classes": (SLOW, [(Poisson(0.3), Exponential(1.0)), (Poisson(0.3), Deterministic(0.5))]),
    "outages": (DOWN, [(Poisson(0.5), Uniform(0.2, 1.8))]),
    "atoms": (SLOW, [(Poisson(0.5), Discrete((0.5, 1.5), (0.5, 0.5)))]),
    "bursty": (THREE, [(BURSTY.at_rate(0.3), Exponential(1.0)), (Renewal(0.2, 0.5), Uniform(0.5, 1.5))]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_against_simulation(name):
    environment, streams = STREAMS[name]
    answer = analyse(scenario(environment, *streams, slo={"response_s": 2.5}), percentiles=(90,))
    times, sizes, numbers = special_queues.stream(*zip(*streams, strict=True), 200_000, seed=4)
    responses = special_queues.in_environment(times, sizes, environment.speeds, environment.generator, seed=5)
    for k, part in enumerate(answer.classes[1:]):
        own = responses[numbers == k]
        assert Estimate.of(own).agrees(part.mean_response_s, within=0.04)
        assert Estimate.of(own <= 2.5).agrees(part.attainment)
        assert Estimate.of(own <= part.p90_response_s).agrees(0.9)


def test_the_mean_is_the_slope_of_the_transform():
    law = Lognormal(1.0, 2.0)
    for environment in (SLOW, DOWN, THREE):
        queue = Capacity.of(environment, [Poisson(0.3)], [law])
        h = 1e-5
        near, far = ((1 - queue.transform(np.array(w), 0, law).real) / w for w in (h, 2 * h))
        assert queue.mean_response(0, law) == pytest.approx(float(2 * near - far), rel=1e-4)


def test_point_masses():
    """No work found, one speed throughout: e.g. speed 1 is kept for a second with probability exp(-0.1)."""
    queue = Capacity.of(SLOW, [Poisson(0.3)], [Deterministic(1.0)])
    (first, mass), (second, other) = queue.atoms(0, Deterministic(1.0))
    assert (first, second) == (1.0, 2.0)
    assert mass == pytest.approx(queue.work.empty[0] * math.exp(-0.1), rel=1e-9)
    assert other == pytest.approx(queue.work.empty[1] * math.exp(-0.6), rel=1e-9)


def test_early_delivery():
    exits = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    found = analyse(scenario(Environment((1.0,), ((0.0,),)), (Poisson(0.5), Exponential(1.0)), transforms=[exits]))
    assert found["all"].mean_response_s == pytest.approx(1.5, rel=1e-9)


def test_refusals_and_instability():
    rare = Environment((1.0, 0.5), ((-1e-8, 1e-8), (1e-8, -1e-8)))
    cases = [
        (scenario(SLOW, (Poisson(0.3), Exponential(1.0)), policy=PS()), "environment"),
        (scenario(SLOW, (Renewal(0.3, 3.0), Exponential(1.0))), "Markov chain"),
        (scenario(SLOW, *[(BURSTY.at_rate(0.01), Exponential(1.0))] * 7), "Markov chain"),
        (scenario(rare, (Poisson(0.3), Exponential(1.0))), "rarely"),
    ]
    for asked, word in cases:
        refusal = analyse(asked)
        assert isinstance(refusal, NotAnalysable) and word in refusal.reason, refusal
    unstable = analyse(scenario(SLOW, (Poisson(0.9), Exponential(1.0))))
    assert not unstable.stable and unstable.utilisation == pytest.approx(0.9 / SLOW.mean_speed)
    heavy = analyse(scenario(SLOW, (Poisson(0.3), Pareto(1.0, 1.5))))
    assert heavy["all"].mean_response_s is None and heavy["all"].p50_response_s > 0


def test_work_is_conserved():
    """Mean work of the queue without an environment: rate times (wait and half the residual service)."""
    law = Lognormal(1.0, 4.0)
    work = Capacity.of(Environment((1.0,), ((0.0,),)), [Poisson(0.7)], [law]).work
    assert -work.slope.sum() == pytest.approx(0.7 * law.moment(2) / 0.6, rel=1e-10)
    assert modulated_work.level_generator(work) == pytest.approx(np.zeros((1, 1)), abs=1e-12)
