"""Waits of paused requests do not depend on the unit of time, for services of any mean."""

from __future__ import annotations

import pytest

from qmodel.policy import FCFS
from qmodel.theory import analyse
from qmodel.theory.network.feedback import _scale
from qmodel.workload import Erlang, Exponential
from qmodel.workload.pause import Pause

from .scenarios import one


def paused(unit, probability=0.75):
    rest = Pause(probability, Exponential(2.0 * unit))
    return one(0.1 / unit, Erlang(3, 1.6 * unit), FCFS(), pause=rest)


@pytest.mark.parametrize("unit", [0.001, 60.0])
def test_the_scale_of_waits_has_no_unit(unit):
    assert _scale(paused(unit)) == pytest.approx(_scale(paused(1.0)), rel=1e-9)


@pytest.mark.parametrize("unit", [0.001, 60.0])
def test_waits_are_in_the_unit(unit):
    plain = analyse(paused(1.0), percentiles=())["all"].mean_wait_s
    assert analyse(paused(unit), percentiles=())["all"].mean_wait_s == pytest.approx(unit * plain, rel=1e-9)
