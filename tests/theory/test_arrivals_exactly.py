"""Arrivals and environments, part by part: balance of single states, and many points as few."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import SRPT, NonPreemptivePriority
from qmodel.scenario import Scenario, System
from qmodel.service.environment import Environment
from qmodel.theory.arrivals import gi_g_1, modulated_work, random_environment
from qmodel.theory.arrivals.e_k_g_1 import DealtQueue
from qmodel.theory.arrivals.modulated_work import ModulatedWork
from qmodel.theory.arrivals.random_environment import Capacity
from qmodel.theory.dispatch import result_of
from qmodel.workload import Exponential, Gamma, Poisson, RequestClass
from qmodel.workload.markov_arrivals import Map

from .scenarios import request_class

RATE, FAILS, COMES_BACK = 0.3, 0.2, 0.5
PRIORITIES = ((0.2, Gamma(1.0, 0.5)), (0.3, Exponential(0.8)), (0.1, Gamma(2.0, 2.0)))
POINTS = np.array([0.1, 0.5 + 2.0j, 3.0, 1.0 - 4.0j, 20.0])


def failing():
    rates = np.array([[-FAILS - RATE, FAILS], [COMES_BACK, -COMES_BACK - RATE]])
    return ModulatedWork(rates, (RATE * np.eye(2),), (Gamma(1.0, 0.5),), np.array([1.0, 0.0]))


def test_an_empty_queue_at_a_stopped_server():
    """(no work, stopped) is entered from (no work, working) alone and left by an arrival or the server's return."""
    working, stopped = failing().empty
    assert stopped * (COMES_BACK + RATE) == pytest.approx(working * FAILS, rel=1e-12)
    # work flows in as it flows out: load = P(working) - P(working, no work)
    assert pytest.approx(COMES_BACK / (FAILS + COMES_BACK) - working, rel=1e-9) == RATE * 1.0


def test_an_environment_that_never_changes_is_none():
    """M/G/1 by Pollaczek and Khinchine: 0.6 x 1.5 / (2 x 0.4) s of wait."""
    system = System(environment=Environment((1.0,), ((0.0,),)))
    made = Scenario([request_class("a", 0.6, Gamma(1.0, 0.5))], system=system)
    assert result_of(made).classes[0].mean_response == pytest.approx(1.0 + 1.125, rel=1e-12)


def test_orders_by_size_in_an_environment_are_refused():
    system = System(environment=Environment((1.0, 0.4), ((-0.2, 0.2), (0.5, -0.5))))
    made = Scenario([request_class("a", 0.3, Gamma(1.0, 0.5))], policy=SRPT(), system=system)
    assert isinstance(result_of(made), NotAnalysable)


def in_blocks(monkeypatch, module, make):
    """The same point by point, and at once."""
    whole = make()(POINTS)
    monkeypatch.setattr(module, "BLOCK", 1)
    alone = make()(POINTS)
    return alone, whole


def test_points_one_by_one_are_points_at_once(monkeypatch):
    environment = Environment((1.0, 0.4), ((-0.2, 0.2), (0.5, -0.5)))
    size = Gamma(1.0, 0.5)

    def response():
        capacity = Capacity.of(environment, [Poisson(RATE)], [size])
        return lambda s: capacity.transform(s, 0, size)

    for module, make in (
        (gi_g_1, lambda: gi_g_1.Factors(0.7, 0.4, size).positive),
        (modulated_work, lambda: failing().transform),
        (random_environment, response),
    ):
        np.testing.assert_allclose(*in_blocks(monkeypatch, module, make), rtol=1e-9)


def test_many_dealt_queues_far_out_overflow_nothing():
    found = DealtQueue(40, 32.0, Exponential(1.0)).positive_wait(np.array([32e9, 32e12]))
    assert np.isfinite(found).all()
    assert (np.abs(found) < 1e-9).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_laws_of_priorities_with_vacations_have_the_mean(place):
    """The tail of each class's law, summed, is its mean response."""
    classes = [request_class(f"c{k}", rate, law, k) for k, (rate, law) in enumerate(PRIORITIES)]
    system = System(vacation_s=Exponential(0.5))
    part = result_of(Scenario(classes, policy=NonPreemptivePriority(), system=system)).classes[place]
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.concatenate(([0.0], np.geomspace(0.05, 40.0, 14) * part.mean_response))
    tail = 0.0
    for low, high in pairwise(edges.tolist()):
        times = low + 0.5 * (high - low) * (nodes + 1.0)
        tail += 0.5 * (high - low) * float(weights @ [1.0 - part.law.cdf(t) for t in times])
    assert tail == pytest.approx(part.mean_response, rel=1e-4)


def test_bursty_arrivals_in_an_environment_have_at_most_128_phases_together():
    erlang = Map(d0=((-0.1, 0.1), (0.0, -0.1)), d1=((0.0, 0.0), (0.1, 0.0)))
    system = System(environment=Environment((1.0, 0.4), ((-0.2, 0.2), (0.5, -0.5))))
    streams = [RequestClass(f"c{k}", erlang, service=Exponential(0.1)) for k in range(7)]
    assert isinstance(result_of(Scenario(streams, system=system)), NotAnalysable)
