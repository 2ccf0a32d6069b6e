"""Vacations and setup times: closed forms, limits, simulation."""

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, NonPreemptivePriority, RandomOrder
from qmodel.scenario import System
from qmodel.theory import analyse
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
)
from tests.theory import special_queues
from tests.theory.queues import Estimate
from tests.theory.scenarios import ORACLES, several

KINDS = ["vacation_s", "setup_s"]
H2 = Hyperexponential(1.0, 4.0)
LAWS = {
    "exponential": Exponential(2.0),
    "constant": Deterministic(1.5),
    "either": Mixture((0.3, 0.7), (Discrete((0.5, 3.0), (0.5, 0.5)), Exponential(1.0))),
}


def scenario(kind, law, *classes, policy=None, servers=1):
    from dataclasses import replace

    return replace(several(classes, policy or FCFS()), system=System(servers=servers, **{kind: law}))


def test_oracle():
    found = analyse(scenario("setup_s", Exponential(2.0), (0.8, Exponential(1.0))), percentiles=())
    oracle = ORACLES["M/M/1 with exponential setup, mean 2, at 0.8 (one_route)"]
    assert found["all"].mean_response_s == pytest.approx(oracle, rel=1e-12) and found.method == "exact"


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
def test_m_m_1_with_exponential_setup_by_its_chain(rate):
    """State (off or on, number), setup at rate 0.5, solved as it stands."""
    most = 900
    states = {("off", n): n for n in range(most)} | {("on", n): most + n for n in range(1, most)}
    q = np.zeros((2 * most, 2 * most))
    for (state, n), i in states.items():
        if n + 1 < most:
            q[i, states[state, n + 1]] += rate
        if state == "off" and n:
            q[i, states["on", n]] += 0.5
        if state == "on":
            q[i, states["on", n - 1] if n > 1 else states["off", 0]] += 1.0
    used = sorted(states.values())
    q = q[np.ix_(used, used)]
    q -= np.diag(q.sum(axis=1))
    q[:, 0] = 1.0
    law = np.linalg.solve(q.T, np.eye(len(used))[0])
    number = sum(p * n for p, (_, n) in zip(law, sorted(states, key=states.get), strict=True))
    found = analyse(scenario("setup_s", Exponential(2.0), (rate, Exponential(1.0))), percentiles=())
    assert found["all"].mean_response_s == pytest.approx(number / rate, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("size", [Deterministic(1.0), H2], ids=repr)
def test_fcfs_against_simulation(kind, name, size):
    law = LAWS[name]
    found = analyse(scenario(kind, law, (0.6, size)), percentiles=(50, 90))["all"]
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(1 / 0.6, 200_000))
    sizes = size.sample(rng, times.size)
    draws = iter(law.sample(rng, 2_000_000))
    responses = special_queues.away(times, sizes, lambda: next(draws), kind == "setup_s") + sizes
    assert Estimate.of(responses).agrees(found.mean_response_s, within=0.03)
    for percent in (50, 90):
        limit = found.metrics[f"p{percent}_response_s"]
        below, upto = (Estimate.of(responses <= limit * (1 + eps)) for eps in (-1e-6, 1e-6))
        assert below.mean - 4 * below.error < percent / 100 < upto.mean + 4 * upto.error


@pytest.mark.parametrize("kind", KINDS)
def test_priority_against_simulation(kind):
    classes, law = [(0.2, H2), (0.4, Deterministic(1.0))], Uniform(0.0, 3.0)
    found = analyse(scenario(kind, law, *classes, policy=NonPreemptivePriority()), percentiles=(90,))
    rng = np.random.default_rng(8)
    parts = [(np.cumsum(rng.exponential(1 / rate, int(300_000 * rate))), size) for rate, size in classes]
    times, order = np.sort(np.concatenate([p[0] for p in parts])), np.argsort(np.concatenate([p[0] for p in parts]))
    sizes = np.concatenate([size.sample(rng, len(t)) for t, size in parts])[order]
    numbers = np.repeat([0, 1], [len(t) for t, _ in parts])[order]
    draws = iter(law.sample(rng, 2_000_000).tolist())
    waits = special_queues.vacations_by_priority(times, sizes, numbers, lambda: next(draws), kind == "setup_s")
    for k, part in enumerate(found.classes[1:]):
        own = (waits + sizes)[numbers == k]
        assert Estimate.of(own).agrees(part.mean_response_s, within=0.03)
        if kind == "vacation_s":
            assert Estimate.of(own <= part.p90_response_s).agrees(0.9)
        else:
            assert part.p90_response_s is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_of_priority_is_fcfs(kind):
    law = LAWS["either"]
    plain = analyse(scenario(kind, law, (0.5, H2)), percentiles=(50, 95))["all"]
    ranked = analyse(scenario(kind, law, (0.5, H2), policy=NonPreemptivePriority()), percentiles=(50, 95))["all"]
    assert ranked.mean_response_s == pytest.approx(plain.mean_response_s, rel=1e-12)
    if kind == "vacation_s":
        assert ranked.p95_response_s == pytest.approx(plain.p95_response_s, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_work_is_conserved_between_classes(kind):
    """Kleinrock: sum of loads times mean waits is the same for priorities and for FCFS."""
    classes, law = [(0.3, H2), (0.2, Exponential(1.0)), (0.1, Deterministic(2.0))], Exponential(1.0)
    totals = []
    for policy in (FCFS(), NonPreemptivePriority()):
        found = analyse(scenario(kind, law, *classes, policy=policy), percentiles=())
        totals.append(
            sum(r * s.mean * part.mean_wait_s for (r, s), part in zip(classes, found.classes[1:], strict=True))
        )
    assert totals[1] == pytest.approx(totals[0], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_absence_is_none(kind):
    found = analyse(scenario(kind, Deterministic(1e-7), (0.5, H2)), percentiles=(90,))["all"]
    plain = analyse(several([(0.5, H2)], FCFS()), percentiles=(90,))["all"]
    assert found.mean_response_s == pytest.approx(plain.mean_response_s, rel=1e-6)
    assert found.p90_response_s == pytest.approx(plain.p90_response_s, rel=1e-5)


def test_light_traffic():
    """The rare request waits for the whole setup, or for a vacation's residual."""
    law = Uniform(1.0, 3.0)
    setup, vacation = (
        analyse(scenario(k, law, (1e-6, Deterministic(1.0))))["all"] for k in ("setup_s", "vacation_s")
    )
    assert setup.mean_wait_s == pytest.approx(2.0, rel=1e-5)
    assert vacation.mean_wait_s == pytest.approx(law.moment(2) / 4.0, rel=1e-5)
    assert setup.p50_response_s == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("policy", [LCFS(), RandomOrder()], ids=lambda p: p.name)
@pytest.mark.parametrize("kind", KINDS)
def test_blind_orders_have_the_mean_of_fcfs(kind, policy):
    plain, other = (analyse(scenario(kind, H2, (0.5, H2), policy=p))["all"] for p in (FCFS(), policy))
    assert other.mean_response_s == plain.mean_response_s and other.p50_response_s is None


@pytest.mark.parametrize("kind", KINDS)
def test_refusals(kind):
    refusal = analyse(scenario(kind, H2, (0.5, H2), policy=PS()))
    assert isinstance(refusal, NotAnalysable) and kind[:-2] in refusal.reason
    assert isinstance(analyse(scenario(kind, H2, (0.5, H2), servers=2)), NotAnalysable)
    assert not analyse(scenario(kind, H2, (1.0, H2))).stable
    heavy = analyse(scenario(kind, Pareto(1.0, 1.5), (0.5, H2)))["all"]
    assert heavy.mean_response_s is None and math.isfinite(heavy.p50_response_s)
    assert analyse(scenario(kind, Lognormal(1.0, 1.0), (0.5, Pareto(1.0, 1.5))))["all"].mean_response_s is None
