"""Requests that pause and come back."""

import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, SRPT, LCFSPreemptive, RandomOrder
from qmodel.scenario import Scenario, System
from qmodel.service.transform import EarlyExit, ModelSwap, QueueCondition
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.theory.servers.m_g_k import exponential_wait
from qmodel.workload import (
    Deterministic,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    Pause,
    Poisson,
    RequestClass,
)


def coming_back(law, load, policy=None, pause=None, probability=0.5, servers=1, **options):
    given = Pause(probability, pause or Exponential(2.0))
    rate = load * servers * (1 - probability) / law.mean
    one = RequestClass("a", Poisson(rate), service=law, pause=given)
    return Scenario([one], policy=policy or FCFS(), system=System(servers=servers), **options)


class TestProductForm:
    @pytest.mark.parametrize(
        "policy", [FCFS(), LCFS(), RandomOrder(), PS(), LCFSPreemptive()], ids=lambda p: p.name
    )
    def test_memoryless(self, policy):
        """Jackson: two services of mean response 1 / (1 - 0.8) each and one pause of 2."""
        answer = analyse(coming_back(Exponential(1.0), 0.8, policy))
        assert answer.method == "exact" and answer.utilisation == pytest.approx(0.8)
        assert answer["a"].mean_response_s == pytest.approx(2 * 5.0 + 2.0, rel=1e-12)
        assert answer["a"].mean_pause_s == pytest.approx(2.0) and answer["a"].mean_service_s == pytest.approx(2.0)
        assert answer["all"].mean_wait_s == pytest.approx(8.0, rel=1e-12)
        assert answer["a"].p95_response_s is None and "include the pauses" in answer.notes[0]

    def test_sharing_with_any_laws(self):
        scenario = coming_back(Hyperexponential(1.0, 4.0), 0.6, PS(), Lognormal(0.3, 4.0))
        answer = analyse(scenario, percentiles=())
        assert answer.method == "exact"
        assert answer["a"].mean_response_s == pytest.approx(2 / 0.4 + 0.3, rel=1e-12)
        run = simulate(scenario, requests=100_000, percentiles=())
        low, high = run["a"].ci95["mean_response_s"]
        assert high - low < 0.12 * answer["a"].mean_response_s
        assert low - 0.5 * (high - low) < answer["a"].mean_response_s < high + 0.5 * (high - low)

    def test_several_servers(self):
        answer = analyse(coming_back(Exponential(1.0), 0.8, servers=3), percentiles=())
        assert answer["a"].mean_wait_s == pytest.approx(2 * exponential_wait(3, 2.4, 1.0), rel=1e-12)

    def test_classes_with_and_without(self):
        classes = [
            RequestClass("tool", Poisson(0.1), service=Exponential(1.0), pause=Pause(0.75, Deterministic(3.0))),
            RequestClass("plain", Poisson(0.3), service=Exponential(1.0)),
        ]
        answer = analyse(Scenario(classes), percentiles=())
        assert answer["tool"].mean_response_s == pytest.approx(4 / 0.3 + 3 * 3.0, rel=1e-12)
        assert answer["plain"].mean_response_s == pytest.approx(1 / 0.3, rel=1e-12)
        assert answer["plain"].mean_pause_s == 0.0


class TestBetweenShortAndLong:
    def test_without_any_pause_all_services_are_one(self):
        """E[B^2] of a geometric number of constants of 1, of mean 2, is 6."""
        answer = analyse(coming_back(Deterministic(1.0), 0.8, pause=Deterministic(1e-9)), percentiles=())
        assert answer.method == "approximation"
        assert answer["a"].mean_wait_s == pytest.approx(0.4 * 6 / (2 * 0.2), rel=1e-6)

    def test_long_pauses_make_visits_poisson(self):
        answer = analyse(coming_back(Deterministic(1.0), 0.8, pause=Deterministic(1e9)), percentiles=())
        assert answer["a"].mean_wait_s == pytest.approx(2 * 0.8 / (2 * 0.2), rel=1e-6)

    @pytest.mark.parametrize("law", [Deterministic(1.0), Hyperexponential(1.0, 4.0)], ids=str)
    def test_stated_error(self, law):
        scenario = coming_back(law, 0.6, pause=Exponential(5.0))
        answer, run = analyse(scenario, percentiles=()), simulate(scenario, requests=150_000, percentiles=())
        low, high = run["a"].ci95["mean_response_s"]
        assert high - low < 0.08 * run["a"].mean_response_s and "stated error" in answer.notes[1]
        got, measured = (found["a"].mean_response_s - 5.0 for found in (answer, run))
        assert got == pytest.approx(measured, rel=0.08)

    def test_the_exponential_needs_no_fit(self):
        """Both limits agree there."""
        nearly = analyse(coming_back(Hyperexponential(1.0, 1.0001), 0.8), percentiles=())
        assert nearly["a"].mean_wait_s == pytest.approx(8.0, rel=1e-3)

    def test_infinite_second_moment(self):
        answer = analyse(coming_back(Pareto(1.0, 1.5), 0.5), percentiles=())
        assert answer["a"].mean_response_s is None and answer["a"].mean_wait_s is None


def test_unstable():
    answer = analyse(coming_back(Exponential(1.0), 1.2))
    assert not answer.stable and answer.utilisation == pytest.approx(1.2)


def test_refused():
    two = [
        RequestClass("a", Poisson(0.2), service=Deterministic(1.0), pause=Pause(0.5, Exponential(1.0))),
        RequestClass("b", Poisson(0.2), service=Deterministic(2.0)),
    ]
    release = EarlyExit(fractions=(0.5,), probabilities=(1.0,), delivery="release")
    swap = ModelSwap(when=QueueCondition(2), service_factor=0.5)
    for scenario in (
        coming_back(Exponential(1.0), 0.5, SRPT()),
        coming_back(Deterministic(1.0), 0.5, servers=2),
        Scenario(two),
        coming_back(Exponential(1.0), 0.5, transforms=[release]),
        coming_back(Exponential(1.0), 0.5, transforms=[swap]),
    ):
        assert isinstance(analyse(scenario), NotAnalysable)
