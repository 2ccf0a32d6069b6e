"""Percentiles of batched responses are where the law says; the closed bound stands where it holds only."""

from __future__ import annotations

import pytest

from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.theory import analyse
from qmodel.theory.dispatch import result_of
from qmodel.workload import Deterministic, Poisson, RequestClass


def batched(rate=3.0, **given):
    system = System(batching="dynamic", iteration_time=IterationTime(0.3, 0.05), **given)
    return Scenario([RequestClass("a", Poisson(rate), service=Deterministic(0.35))], system=system)


@pytest.mark.parametrize("percent", [30.0, 41.0, 90.0, 99.0])
def test_percentiles_invert_the_law(percent):
    law = result_of(batched(max_batch=4)).classes[0].law
    assert law.cdf(law.percentile(percent)) == pytest.approx(percent / 100.0, abs=1e-9)


def test_who_comes_to_an_idle_server_is_served_at_once():
    assert result_of(batched(max_batch=4)).classes[0].law.percentile(3.0) == pytest.approx(0.35, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "has"), [({}, True), ({"max_batch": 4}, False), ({"min_batch": 2}, False), ({"min_batch": 3}, False)]
)
def test_the_closed_bound_is_for_batches_of_all_that_wait(given, has):
    notes = analyse(batched(**given), percentiles=()).notes
    assert any("closed bound" in note for note in notes) == has
