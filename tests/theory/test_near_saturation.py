"""Next to saturation means stay exact, and percentiles are left out, with a note, before they would be wrong."""

import math

import pytest

from qmodel.policy import FCFS, LAS, PS, PSJF, SJF, SRPT, NonPreemptivePriority, PreemptivePriority
from qmodel.scenario import Scenario
from qmodel.theory import analyse
from qmodel.workload import Exponential, Hyperexponential, Lognormal, Poisson, RequestClass


def one_class(rate, policy, law=None):
    return Scenario(classes=(RequestClass("a", Poisson(rate), law or Exponential(1.0)),), policy=policy)


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
def test_percentiles_hold_up_to_the_limit(gap):
    answer = analyse(one_class(1.0 - gap, FCFS()))
    assert answer["all"].p95_response_s == pytest.approx(math.log(20.0) / gap, rel=1e-6)


@pytest.mark.parametrize("policy", [FCFS(), NonPreemptivePriority(), PreemptivePriority(), PS()])
@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_past_it_there_are_none(policy, gap):
    answer = analyse(one_class(1.0 - gap, policy))
    # 1 - rate is only as exact as a double next to 1
    assert answer["all"].mean_response_s == pytest.approx(1.0 / gap, rel=1e-3)
    assert answer["all"].p95_response_s is None
    assert any("of saturation" in note for note in answer.notes)


def test_inversions_of_sharing_near_saturation_are_left_to_simulation():
    assert analyse(one_class(0.9995, PS(), Lognormal(1.0, 4.0)))["all"].p95_response_s is None
    quick = one_class(0.8, PS(), Hyperexponential(1.0, 4.0))
    # P(T <= 20) = 0.95189030 by two independent computations
    found = analyse(quick, percentiles=(95.18903,))["all"].metrics["p95.18903_response_s"]
    assert found == pytest.approx(20.0, rel=2e-3)


@pytest.mark.parametrize("policy", [SJF(), PSJF(), SRPT(), LAS()], ids=lambda p: p.name)
def test_orders_by_size_next_to_saturation(policy):
    """The median of most requests stays short; without laws past the limit, the exact deviation is still there."""
    near = analyse(one_class(1.0 - 1e-4, policy), percentiles=(50.0,))["all"]
    assert near.p50_response_s < 3.0 and near.std_response_s > near.mean_response_s
    past = analyse(one_class(1.0 - 1e-6, policy), percentiles=(50.0,))["all"]
    assert past.p50_response_s is None and past.std_response_s > near.std_response_s
