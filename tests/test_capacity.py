"""Capacity under an SLO against closed forms."""

import math

import pytest

from qmodel.capacity import Capacity, capacity, first_miss, metric_of_slo
from qmodel.errors import InputError
from qmodel.policy import FCFS, PreemptivePriority
from qmodel.predict import Asking, answer_one
from qmodel.scenario import Scenario
from qmodel.workload import Exponential, Poisson, RequestClass


def mm1(slo, rate=0.1):
    one = RequestClass("one", arrivals=Poisson(rate=rate), service=Exponential(mean=1.0), slo=slo)
    return Scenario(classes=(one,), policy=FCFS())


@pytest.mark.parametrize(
    ("slo", "limit_rate"),
    [
        ({"response_p95_s": 10.0}, 1.0 - math.log(20.0) / 10.0),
        ({"response_p99_s": 10.0}, 1.0 - math.log(100.0) / 10.0),
        ({"response_s": 4.0}, 1.0 - 1.0 / 4.0),
        ({"response_s": 4.0, "response_p95_s": 8.0}, 1.0 - math.log(20.0) / 8.0),
    ],
)
def test_mm1_capacity_is_the_closed_form(slo, limit_rate):
    found = capacity(mm1(slo), Asking(method="theory"), precision=1e-5)
    assert found.rate == pytest.approx(limit_rate, rel=2e-5)
    assert found.rate <= limit_rate * (1 + 1e-9)


def test_the_limiting_slo_is_named():
    found = capacity(mm1({"response_s": 100.0, "response_p95_s": 8.0}), Asking(method="theory"))
    assert found.limited_by == ("one", "p95_response_s")


def test_a_priority_class_keeps_its_slo_when_the_other_gives_way():
    first = RequestClass("first", arrivals=Poisson(0.1), service=Exponential(1.0), slo={"response_s": 2.0})
    slow = {"response_s": 5.0}
    second = RequestClass("second", arrivals=Poisson(0.1), service=Exponential(1.0), priority=1, slo=slow)
    scenario = Scenario(classes=(first, second), policy=PreemptivePriority())
    found = capacity(scenario, Asking(method="theory"), precision=1e-6)
    # preemptive M/M/1, equal rates r: T2 = 1 / ((1 - r)(1 - 2r)) = 5
    r = (3 - math.sqrt(9 - 8 * (1 - 1 / 5))) / 4
    assert found.rate == pytest.approx(2 * r, rel=1e-5)
    assert found.limited_by == ("second", "mean_response_s")


def test_an_impossible_slo_gives_no_capacity():
    assert capacity(mm1({"response_s": 0.5}), Asking(method="theory")) == Capacity(0.0, ("one", "mean_response_s"))


def test_without_any_slo_there_is_nothing_to_search():
    with pytest.raises(InputError, match="has no SLO"):
        capacity(mm1({}))


def test_first_miss_names_the_worst():
    scenario = mm1({"response_s": 1.5, "response_p95_s": 2.0}, rate=0.5)
    answer = answer_one(scenario, Asking(method="theory", percentiles=(95.0,)))
    assert first_miss(answer, scenario) == ("one", "p95_response_s")
    assert first_miss(answer, mm1({"response_s": 2.5}, rate=0.5)) is None


@pytest.mark.parametrize("name", ["latency_p95_s", "response_p95_ms", "response_pXX_s", ""])
def test_unknown_slo_names_are_refused(name):
    with pytest.raises(InputError, match="is unknown"):
        metric_of_slo(name)
