"""Simulated means against exact ones: inside four standard errors, with the standard error itself small.

Sources: Harchol-Balter, *Performance Modeling and Design of Computer Systems* (2013), chapters 31-33 (quadrature);
Schrage & Miller (1966) for SRPT; Mitzenmacher (ITCS 2020) for predictions; the others as named at each value.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.policy import DPS, FCFS, LAS, MLFQ, PS, NonPreemptivePriority, PreemptivePriority, RoundRobin
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit, FewerSteps, QueueCondition
from qmodel.simulation import simulate
from qmodel.simulation.running import run_once
from qmodel.statistics.warm_up import mser5, warm_up
from qmodel.workload import (
    Deterministic,
    Distribution,
    Exponential,
    Hyperexponential,
    Poisson,
    PredictedSize,
    Renewal,
    RequestClass,
)
from tests.simulation.cases import one_class, preset, standard_error

H2 = Hyperexponential(mean=1.0, scv=4.0)
REQUESTS = 400_000


def agrees(
    scenario: Scenario,
    expected: dict[str, float],
    *,
    within: float,
    metric: str = "mean_response_s",
    requests: int = REQUESTS,
    seed: int = 11,
) -> None:
    """The metric of each class lies within 4 standard errors, which are at most `within` of it."""
    answer = simulate(scenario, requests=requests, seed=seed, tell=None)
    for name, value in expected.items():
        error = standard_error(answer[name].ci95[metric])
        assert error < within * value, name
        assert abs(answer[name].metrics[metric] - value) < 4 * error, (name, answer[name].metrics[metric], error)


MM1 = {"srpt": 1.42537266388, "psjf": 1.53138328330, "sjf": 1.71268633194, "las": 2.0, "ps": 2.0, "fcfs": 2.0,
       "lcfs": 2.0, "lcfs-pr": 2.0, "random": 2.0, "round-robin": 2.0, "mlfq": 2.0}  # fmt: skip
MH2 = {"srpt": 1.406430801, "psjf": 1.482772777, "sjf": 2.575375644, "las": 1.780310746, "ps": 2.0, "fcfs": 3.5,
       "lcfs": 3.5, "lcfs-pr": 2.0, "random": 3.5}  # fmt: skip


@pytest.mark.parametrize("name", list(MM1))
def test_mm1_at_half_load(name: str) -> None:
    policy = RoundRobin(quantum=0.1) if name == "round-robin" else preset(name)
    agrees(one_class(policy, 0.5), {"all": MM1[name]}, within=0.008)


@pytest.mark.parametrize("name", list(MH2))
def test_mh21_at_half_load(name: str) -> None:
    agrees(one_class(preset(name), 0.5, H2), {"all": MH2[name]}, within=0.02)


@pytest.mark.parametrize(
    ("name", "expected"), [("srpt", 2.35277327030), ("psjf", 2.65889682201), ("sjf", 2.88221861624)]
)
def test_mm1_at_high_load(name: str, expected: float) -> None:
    agrees(one_class(preset(name), 0.8), {"all": expected}, within=0.012)


@pytest.mark.parametrize(("name", "expected"), [("spjf", 1.7948145), ("pspjf", 1.6636622), ("sprpt", 1.6582833)])
def test_mm1_with_exponential_predictions(name: str, expected: float) -> None:
    one = RequestClass("a", Poisson(0.5), Exponential(1.0), predicted_size=PredictedSize("exponential"))
    agrees(Scenario(classes=(one,), policy=preset(name)), {"all": expected}, within=0.005)


def two(rate: float, second: float, law: object, policy: object, weight: float = 1.0) -> Scenario:
    classes = (
        RequestClass("first", Poisson(rate), law, priority=0, weight=weight),  # type: ignore[arg-type]
        RequestClass("second", Poisson(second), law, priority=1),  # type: ignore[arg-type]
    )
    return Scenario(classes=classes, policy=policy)  # type: ignore[arg-type]


def test_two_priority_classes() -> None:
    exponential = Exponential(1.0)
    agrees(two(0.3, 0.5, exponential, NonPreemptivePriority()),
           {"first": 2.142857142857, "second": 6.714285714286}, within=0.025)  # fmt: skip
    agrees(two(0.3, 0.5, exponential, PreemptivePriority()),
           {"first": 1.428571428571, "second": 7.142857142857}, within=0.025)  # fmt: skip
    agrees(two(0.3, 0.5, H2, NonPreemptivePriority()),
           {"first": 3.857142857143, "second": 15.285714285714}, within=0.05)  # fmt: skip


def test_discriminatory_sharing() -> None:
    # Fayolle, Mitrani & Iasnogorodski (1980): arrival rates 0.4 and 0.4, weights 2 and 1
    agrees(two(0.4, 0.4, Exponential(1.0), DPS(), weight=2.0),
           {"first": 3.888888888889, "second": 6.111111111111}, within=0.02)  # fmt: skip


@pytest.mark.parametrize(("limit", "expected"), [(1, 11.0), (2, 9.7172691), (8, 6.1352973)])
def test_limited_sharing(limit: int, expected: float) -> None:
    scenario = one_class(FCFS(), 0.8, H2)
    system = System(batching="processor-sharing", max_batch=limit)
    agrees(Scenario(scenario.classes, system=system), {"all": expected}, within=0.04, requests=1_000_000)


def test_response_distribution() -> None:
    """M/H2/1 at 0.8: P(T <= 5) and P(T <= 20), by transform inversion, as attainment of these limits."""
    for limit, fcfs, ps in ((5.0, 0.46266566, 0.77976571), (20.0, 0.81463524, 0.95189030)):
        for policy, expected in ((FCFS(), fcfs), (PS(), ps)):
            scenario = one_class(policy, 0.8, H2, response_s=limit)
            agrees(scenario, {"all": expected}, within=0.02, metric="attainment", requests=1_000_000)


def test_percentiles_of_mm1() -> None:
    """FCFS: the response is exponential with mean 1/(1 - load)."""
    answer = simulate(one_class(FCFS(), 0.5), requests=REQUESTS, seed=11, tell=None)["all"]
    for percent in (50, 95, 99):
        low, high = answer.ci95[f"p{percent}_response_s"]
        exact = -2.0 * math.log(1 - percent / 100)
        assert high - low < 0.08 * exact
        assert abs(answer.metrics[f"p{percent}_response_s"] - exact) < 2 * (high - low)


def test_several_servers() -> None:
    # Erlang C with 4 servers at load 0.8: P(wait) = 0.5964324718, mean wait that over 4 - 3.2
    scenario = Scenario(one_class(FCFS(), 3.2).classes, system=System(servers=4))
    agrees(scenario, {"all": 0.7455405897}, within=0.03, metric="mean_wait_s")
    # PS on 4 servers is insensitive to the law of service, with the same mean as M/M/4
    shared = Scenario(one_class(PS(), 3.2, H2).classes, policy=PS(), system=System(servers=4))
    agrees(shared, {"all": 1.7455405897}, within=0.03)


def test_slowdown_of_processor_sharing() -> None:
    agrees(one_class(PS(), 0.5, H2), {"all": 2.0}, within=0.01, metric="mean_slowdown")


def test_renewal_arrivals() -> None:
    """Erlang-2 gaps (scv 0.5): sigma solves s = (2a/(2a + 1 - s))^2 with a the rate; T = 1/(1 - sigma)."""
    rate, sigma = 0.5, 0.2
    for _ in range(200):
        sigma = (2 * rate / (2 * rate + 1 - sigma)) ** 2
    one = RequestClass("a", Renewal(rate=rate, scv=0.5), Exponential(1.0))
    agrees(Scenario((one,)), {"all": 1 / (1 - sigma)}, within=0.006)


def test_model_swap_at_a_queue_threshold() -> None:
    # embedded chain: arrival rate 1.1, service 1.0, or 0.4 with more than 4 there; share on the small model
    scenario = one_class(FCFS(), 1.1, Deterministic(1.0)).with_transforms(
        FewerSteps(QueueCondition(above=4), fraction=0.4)
    )
    agrees(scenario, {"all": 2.9837}, within=0.002)
    agrees(scenario, {"all": 0.2392}, within=0.01, metric="share_reduced")


def test_release_moves_the_moment_of_delivery_alone() -> None:
    """T = W + E[share] E[S], with the wait of the full service: 1 + 0.75 at load 0.5."""
    early = EarlyExit(fractions=(0.5, 1.0), probabilities=(0.5, 0.5), delivery="release")
    scenario = one_class(FCFS(), 0.5).with_transforms(early)
    agrees(scenario, {"all": 1.75}, within=0.01)
    agrees(scenario, {"all": 1.0}, within=0.015, metric="mean_wait_s")


def test_multilevel_feedback_between_its_limits() -> None:
    """One far threshold is FCFS, many fine ones are least attained service."""
    fine = MLFQ(thresholds=tuple(0.02 * i for i in range(1, 600)))
    answers = [simulate(one_class(p, 0.5, H2), requests=100_000, tell=None)["all"] for p in (fine, LAS())]
    assert answers[0].mean_response_s == pytest.approx(answers[1].mean_response_s, rel=0.01)
    far = simulate(one_class(MLFQ(thresholds=(1e6,)), 0.5), requests=20_000, tell=None)["all"]
    assert (
        far.mean_response_s == simulate(one_class(FCFS(), 0.5), requests=20_000, tell=None)["all"].mean_response_s
    )


def covering(scenario: Scenario, mean: float, requests: int, runs: int) -> tuple[float, float]:
    """Share of runs whose interval covers the mean, and share of runs called too short."""
    answers = [simulate(scenario, requests=requests, seed=s, percentiles=(), tell=None) for s in range(runs)]
    intervals = [answer["all"].ci95["mean_response_s"] for answer in answers]
    short = [any("too short" in note and "mean_response_s" in note for note in answer.notes) for answer in answers]
    return sum(low <= mean <= high for low, high in intervals) / runs, sum(short) / runs


@pytest.mark.parametrize("name", ["fcfs", "ps", "srpt", "las", "lcfs", "sjf"])
def test_intervals_cover(name: str) -> None:
    """300 runs of M/M/1 at 0.5; with 95 % coverage all but one in 500 such shares lie between these bounds."""
    cover, short = covering(one_class(preset(name), 0.5), MM1[name], 30_000, 300)
    assert 0.91 <= cover <= 0.985
    assert short < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("law", "load", "requests"), [
    (Exponential(1.0), 0.5, 20_000), (Exponential(1.0), 0.8, 200_000), (H2, 0.5, 50_000), (H2, 0.8, 400_000)
])  # fmt: skip
def test_a_thousand_intervals_cover_as_they_say(law: Distribution, load: float, requests: int) -> None:
    mean = 1 + load * law.moment(2) / 2 / (1 - load)
    cover, short = covering(one_class(FCFS(), load, law), mean, requests, 1_000)
    assert 0.93 <= cover <= 0.97
    assert short < 0.1


@pytest.mark.parametrize(("name", "within"), [("fcfs", 0.007), ("lcfs", 0.007), ("ps", 0.008)])
@pytest.mark.slow
def test_means_at_very_high_load_are_not_biased(name: str, within: float) -> None:
    """M/M/1 at 0.95 is 20 s on average; over 200 runs the mean is that, by its own standard error."""
    scenario = one_class(preset(name), 0.95)
    found = [simulate(scenario, requests=400_000, seed=s, percentiles=(), tell=None) for s in range(1, 201)]
    means = np.array([answer["all"].mean_response_s for answer in found])
    error = means.std(ddof=1) / math.sqrt(means.size)
    assert error < within * 20.0
    assert abs(means.mean() - 20.0) < 2.6 * error


def test_a_warm_up_chosen_by_its_look_is_biased_and_ours_is_not() -> None:
    """MSER-5 drops long queues: M/M/1 at 0.9, mean 10 s, in 400 short runs."""
    ours, chosen = [], []
    for seed in range(400):
        run = run_once(one_class(FCFS(), 0.9), 20_000, np.random.SeedSequence(seed))
        assert run is not None
        response = run.series.response_s
        ours.append(response[warm_up(response.size) :].mean())
        chosen.append(response[mser5(response) :].mean())
    error = np.std(ours, ddof=1) / math.sqrt(400)
    assert error < 0.12
    assert abs(np.mean(ours) - 10.0) < 3 * error
    assert np.mean(chosen) < 10.0 - 4 * error


@pytest.mark.parametrize(("law", "load", "requests"), [(Exponential(1.0), 0.8, 3_000), (H2, 0.8, 8_000)])
def test_runs_whose_intervals_would_not_cover_are_called_short(
    law: Distribution, load: float, requests: int
) -> None:
    mean = 1 + load * law.moment(2) / 2 / (1 - load)
    cover, short = covering(one_class(FCFS(), load, law), mean, requests, 200)
    assert cover < 0.93
    assert short > 0.9
