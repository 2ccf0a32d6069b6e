"""Two-moment flows by hand, stations that only look constant, and pauses of no length."""

from __future__ import annotations

import math

import pytest

from qmodel.policy import FCFS
from qmodel.scenario import Scenario
from qmodel.service.station import Station
from qmodel.theory.dispatch import result_of
from qmodel.theory.network.feedback import _scale
from qmodel.theory.network.qna import Flow, departures, mean_wait, merged_flow
from qmodel.workload import Deterministic, Exponential, Poisson, RequestClass
from qmodel.workload.pause import Pause

from .scenarios import one


def test_merged_flows():
    """Parts 1/4 and 3/4: v = 1.6, w = 1 / (1 + 4 x 0.4^2 x 0.6) = 1 / 1.384, mean c^2 0.875."""
    found = merged_flow([Flow(1.0, 2.0), Flow(3.0, 0.5)], 0.6)
    assert found.rate == 4.0
    assert found.scv == pytest.approx(0.875 / 1.384 + 1.0 - 1.0 / 1.384, rel=1e-12)


def test_wait_of_regular_arrivals_at_two_servers():
    """M/M/2 at 0.6: 0.36 / 0.64 = 0.5625 s of wait; g = exp(-2 x 0.4 x 0.75^2 / (3 x 0.6 x 0.75)) = exp(-1/3)."""
    exact = 0.5625 * 0.375 * math.exp(-1.0 / 3.0)
    assert mean_wait(2, Flow(1.2, 0.25), 1.0, 0.5) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("service_scv", "scv"), [(2.0, 0.75), (0.0, 0.525)])
def test_departures_of_four_servers(service_scv, scv):
    """Load 1/2: 1 + 0.75 (0.5 - 1) + 0.25 (max(c^2, 0.2) - 1) / 2."""
    assert departures(4, Flow(2.0, 0.5), 1.0, service_scv).scv == pytest.approx(scv, rel=1e-12)


@pytest.mark.parametrize(("second", "constant"), [(0.5, True), (0.7, False)])
def test_constant_services_are_the_same_for_all_classes(second, constant):
    stations = (Station("s"), Station("t"))
    classes = [
        RequestClass(name, Poisson(0.5), services={"s": Deterministic(time), "t": Deterministic(0.2)})
        for name, time in (("a", 0.5), ("b", second))
    ]
    found = result_of(Scenario(classes, stations=stations))
    assert ("constant services" in found.name) == constant


def test_services_again_at_once_are_one_long_service():
    """Services of 1 s, 4 on average: E[N^2] = 28, so that work waits 28 lambda / 2 in place of 4 x 4 lambda / 2."""
    paused = one(0.1, Deterministic(1.0), FCFS(), pause=Pause(0.75, Exponential(1e-12)))
    assert _scale(paused) == pytest.approx(1.75, rel=1e-9)
