"""A class of requests: what it refuses, and how its rate is changed."""

from __future__ import annotations

import math

import pytest

from qmodel.errors import InputError
from qmodel.workload import Exponential, Geometric, Poisson, PredictedSize, RequestClass

ARRIVALS, SERVICE = Poisson(0.5), Exponential(1.0)


def test_at_rate_changes_the_rate_alone() -> None:
    chat = RequestClass("chat", ARRIVALS, SERVICE, priority=2, weight=3.0, slo={"response_p99_s": 1.0})
    faster = chat.at_rate(2.0)
    assert faster.rate == 2.0
    assert faster == RequestClass("chat", Poisson(2.0), SERVICE, priority=2, weight=3.0, slo=chat.slo)


def test_a_class_of_factors_needs_no_service() -> None:
    assert RequestClass("chat", ARRIVALS, factors={"output_tokens": Geometric(9.0)}).service is None


@pytest.mark.parametrize("name", ["response_s", "response_p50_s", "response_p99.9_s", "ttft_p95_s", "tpot_s"])
def test_slos(name: str) -> None:
    assert RequestClass("chat", ARRIVALS, SERVICE, slo={name: 2}).slo == {name: 2}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"name": ""}, "class, name: '' is not allowed"),
        ({"name": "all"}, "class, name: 'all' is not allowed; use any other word; 'all' is every class"),
        ({"service": None}, "class 'chat': has no size; give service, or factors with a fitted model"),
        ({"weight": 0.0}, "class 'chat', weight: 0.0 is not a positive number"),
        ({"weight": math.nan}, "class 'chat', weight: nan is not a positive number"),
        (
            {"slo": {"respone_p99_s": 1.0}},
            "class 'chat', slo, respone_p99_s: is unknown; did you mean 'response_p99_s'?",
        ),
        ({"slo": {"response_p100_s": 1.0}}, "slo, response_p100_s: is unknown"),
        ({"slo": {"response_p99_s": 0.0}}, "class 'chat', slo, response_p99_s: 0.0 is not a positive number"),
        ({"slo": {"response_p99_s": math.inf}}, "slo, response_p99_s: is too large"),
    ],
)
def test_refused(options: dict, line: str) -> None:
    with pytest.raises(InputError) as caught:
        RequestClass(**{"name": "chat", "arrivals": ARRIVALS, "service": SERVICE, **options})
    assert line in str(caught.value)


def test_predicted_size() -> None:
    assert PredictedSize() == PredictedSize("exact", 0.0)
    assert PredictedSize("lognormal", 0.5).scv == 0.5
    with pytest.raises(InputError, match="known: none, exact, exponential, lognormal"):
        PredictedSize("guess")
    with pytest.raises(InputError, match=r"predicted_size, scv: 0\.0 is not a positive number"):
        PredictedSize("lognormal")
