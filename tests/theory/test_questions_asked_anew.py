"""A question in several forms has one answer: other units, classes in another order, in halves, beside a rare one.

Asked of stations, engines, closed populations, routing, batches, bursts and transforms drawn from seeds, and of all
the rooms of `any_scenario`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, PS
from qmodel.scenario import Scenario, System
from qmodel.theory import analyse
from qmodel.theory.arrivals.bursty import mean_wait, superposed_scv
from qmodel.theory.arrivals.e_k_g_1 import DealtQueue
from qmodel.workload import Exponential, Gamma, Poisson, Renewal, RequestClass
from tests.theory.any_network import QUESTIONS
from tests.theory.any_scenario import ROOMS

PERCENTILES = (50.0, 99.0)
MEANS, INVERTED, SPREAD = 1e-7, 3e-4, 1e-6
"""Relative differences: of means, of percentiles by inversion, of standard deviations."""


def answered(scenario):
    """The answer, or what was said in its place; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyse(scenario, percentiles=PERCENTILES)
    if isinstance(found, NotAnalysable):
        return "not analysable"
    return found if found.stable else "unstable"


def slack(metric, value, whole):
    if metric.startswith("p") and metric[1].isdigit():
        return INVERTED * abs(value)
    if metric == "std_response_s":
        return SPREAD * abs(value)
    return MEANS * (max(whole, abs(value)) if metric == "mean_wait_s" else abs(value)) + 1e-9 * metric.endswith(
        "share"
    )


def scale(metric, unit):
    if "per_s" in metric:
        return 1.0 / unit
    return unit if metric.endswith("_s") else 1.0


def same(one, other, unit=1.0, skip=(), say="", part_of_flow=1.0):
    """Every metric of the classes of `one` is that of the class of the same name in `other`."""
    if isinstance(one, str) or isinstance(other, str):
        assert one == other, say
        return
    there = {part.name.removesuffix("'"): part.metrics for part in other.classes}
    for part in one.classes:
        if part.name in skip:
            continue
        for metric, value in part.metrics.items():
            found = there[part.name][metric]
            assert (found is None) == (value is None), (say, part.name, metric)
            if value is not None:
                of_flow = part_of_flow if part.name != "all" and metric.startswith("throughput") else 1.0
                off = abs(found / scale(metric, unit) / of_flow - value)
                assert off <= slack(metric, value, part.mean_response_s or 0.0), (
                    say,
                    part.name,
                    metric,
                    value,
                    found,
                )


def held(question, seed):
    asked = question(np.random.default_rng([seed, QUESTIONS.index(question)]))
    answer = answered(asked.scenario())
    same(answer, answered(asked.reversed()), say=f"reversed {asked}")
    for unit in (1e-9, 1e9):
        same(answer, answered(asked.scenario(unit)), unit, say=f"unit {unit} {asked}")
    if asked.open_rates:
        same(answer, answered(asked.beside_a_rare_class()), skip=("all",), say=f"rare {asked}")
    if asked.halves:
        same(answer, answered(asked.split()), say=f"split {asked}", part_of_flow=0.5)
    return answer


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_a_question_in_several_forms(question):
    answers = [held(question, seed) for seed in range(4)]
    assert any(not isinstance(answer, str) for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_many_questions_in_several_forms(question):
    for seed in range(100, 140):
        held(question, seed)


def turned(room, seed):
    asked = room(np.random.default_rng([seed, ROOMS.index(room)]))
    scenario = asked.scenario()
    return asked, scenario, replace(scenario, classes=scenario.classes[::-1])


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_the_order_of_classes_says_nothing(room):
    for seed in range(300, 306):
        asked, scenario, reversed_ = turned(room, seed)
        same(answered(scenario), answered(reversed_), say=str(asked))


def test_queues_dealt_to_in_nanoseconds():
    """Rates of 1e9 per second: distances between roots are measured by the rate."""
    slow = DealtQueue(16, 12.0, Exponential(1.0))
    fast = DealtQueue(16, 12.0e9, Exponential(1e-9))
    assert fast.mean_wait == pytest.approx(1e-9 * slow.mean_wait, rel=1e-10)
    assert fast.no_wait == pytest.approx(slow.no_wait, rel=1e-10)


def beside(scv, servers=1):
    classes = [
        RequestClass("a", Renewal(0.5 * servers, scv), service=Exponential(1.0)),
        RequestClass("b", Poisson(0.2 * servers), service=Exponential(1.0)),
    ]
    return Scenario(classes, policy=FCFS(), system=System(servers=servers))


@pytest.mark.parametrize("scv", [1 / 150, 0.004, 1e-3, 1e-6])
def test_gaps_of_more_phases_than_a_chain_may_have(scv):
    """A class whose gaps hardly vary beside a Poisson one: both streams as one, by two moments."""
    answer = analyse(beside(scv), percentiles=())
    gaps = superposed_scv([(0.5, scv), (0.2, 1.0)], 0.7)
    assert answer.method == "approximation"
    assert answer["b"].mean_response_s == pytest.approx(1.0 + mean_wait(0.7, gaps, 1.0, 1.0), rel=1e-12)


def test_and_at_several_servers():
    """They go on to GI/G/k, and lie between its answers for gaps that do not vary and for Poisson arrivals."""
    hardly, not_at_all, poisson = (
        analyse(beside(scv, servers=2), percentiles=()) for scv in (0.004, 1e-9, 1.0 - 1e-9)
    )
    assert hardly.method == "approximation" and "Allen-Cunneen" in hardly.result
    found = [answer["b"].mean_response_s for answer in (not_at_all, hardly, poisson)]
    assert found == sorted(found) and found[0] < found[1] < found[2]


def test_a_scaled_law_that_is_scaled_again_is_still_known_by_its_kind():
    """Processor sharing of exponential sizes: percentiles by roots, whatever the sizes have been multiplied by."""
    size = Exponential(4.0).scaled(0.5).scaled(0.25)
    whole, scaled = (
        analyse(Scenario([RequestClass("a", Poisson(1.2), service=law)], policy=PS()), percentiles=(99.0,))
        for law in (Exponential(0.5), size)
    )
    assert scaled["all"].p99_response_s == pytest.approx(whole["all"].p99_response_s, rel=1e-6)
    assert math.isfinite(scaled["all"].p99_response_s)


def test_rare_gaps():
    """Gamma gaps beside next to nobody are GI/G/1 alone: two routes to one number, within the stated phases."""
    alone = Scenario([RequestClass("a", Renewal(0.6, 0.5), service=Gamma(1.0, 0.3))])
    both = Scenario([*alone.classes, RequestClass("b", Poisson(1e-12), service=Exponential(1.0))])
    first, second = (analyse(each, percentiles=())["a"].mean_response_s for each in (alone, both))
    assert second == pytest.approx(first, rel=1e-8)  # scv 1/2: two phases, Wiener-Hopf against the chain
