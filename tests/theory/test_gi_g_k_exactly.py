"""Two-moment waits at several servers: Erlang C where all is exponential, any unit of time, the edge."""

from __future__ import annotations

import math

import pytest

from qmodel.scenario import Scenario
from qmodel.theory.result import Unstable
from qmodel.theory.servers.gi_g_k import gi_g_k
from qmodel.workload import Exponential, Gamma, Poisson, Renewal, RequestClass


def response(servers, *streams):
    classes = [RequestClass(f"c{k}", arrivals, service=law) for k, (arrivals, law) in enumerate(streams)]
    found = gi_g_k(Scenario(classes).served, servers)
    return found if isinstance(found, Unstable) else [part.mean_response for part in found.classes]


@pytest.mark.parametrize("mean", [0.4, 2.5])
def test_poisson_beside_gaps_of_scv_one_is_erlang_c(mean):
    """M/M/2 at load r: E[T] = mean / (1 - r^2)."""
    law, load = Exponential(mean), 0.8
    found = response(2, (Poisson(0.6 / mean), law), (Renewal(1.0 / mean, 1.0), law))
    assert found == pytest.approx([mean / (1.0 - load**2)] * 2, rel=1e-9)


@pytest.mark.parametrize("unit", [0.001, 7.0])
def test_a_mixture_of_flows_has_no_unit_of_its_own(unit):
    def of(unit):
        law = Gamma(1.5 * unit, 0.5)
        return response(3, (Renewal(0.7 / unit, 4.0), law), (Renewal(0.9 / unit, 0.25), law))

    assert [value / unit for value in of(unit)] == pytest.approx(of(1.0), rel=1e-9)


def test_a_load_of_one_is_too_much():
    assert isinstance(response(2, (Renewal(4.0, 0.25), Exponential(0.5))), Unstable)


def test_regular_streams_together_by_hand():
    """Two servers at 0.8: v = 2, w = 1 / 1.16, c_a^2 = 1 - 0.75 w; M/M/2 waits 0.64 / 0.36 services of 0.8 s."""
    scv, own = 1.0 - 0.75 / 1.16, 0.5
    wait = (scv + own) / 2.0 * 0.8 * 0.64 / 0.36
    wait *= math.exp(-2.0 * 0.2 * (1.0 - scv) ** 2 / (3.0 * 0.8 * (scv + own)))
    stream = (Renewal(1.0, 0.25), Gamma(0.8, own))
    assert response(2, stream, stream) == pytest.approx([0.8 + wait] * 2, rel=1e-12)


def test_more_than_the_servers_can_do_is_told_by_its_load():
    found = response(2, (Renewal(4.0, 0.25), Gamma(0.8, 0.5)))
    assert isinstance(found, Unstable)
    assert found.utilisation == pytest.approx(1.6)
