"""Two-moment waits at several servers: Erlang C where all is exponential, any unit of time, the edge."""

from __future__ import annotations

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
