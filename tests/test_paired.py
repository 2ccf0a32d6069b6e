"""Paired comparisons: exact improvements covered, by intervals narrower than unpaired ones; what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import qmodel as qm
from qmodel.errors import InputError
from qmodel.paired import Paired, compare_paired
from qmodel.policy import FCFS, LCFS, PS, SRPT, NonPreemptivePriority
from qmodel.predict import Asking, predict
from qmodel.scenario import Scenario, System
from qmodel.service.iteration_time import IterationTime
from qmodel.statistics.intervals import Interval
from qmodel.workload import Closed, Exponential, Geometric, Poisson, RequestClass

ONE = Scenario(classes=[RequestClass("a", Poisson(0.8), Exponential(1.0))])
TWO = Scenario(
    classes=[
        RequestClass("first", Poisson(0.3), Exponential(1.0), priority=0),
        RequestClass("second", Poisson(0.5), Exponential(1.0), priority=1),
    ]
)
SRPT_GAIN = 100 * (1 - 2.35277263786 / 5)
"""Schrage & Miller's mean of M/M/1 at load 0.8 against 1/(mu - lambda)."""


def runs(requests: int = 20_000, seed: int = 1, **more: object) -> Asking:
    return Asking("simulation", percentiles=(50.0, 95.0), requests=requests, seed=seed, **more)  # type: ignore[arg-type]


def test_the_exact_improvement_is_covered() -> None:
    """SRPT against FCFS in M/M/1 at 0.8, over seeds."""
    means = Asking("simulation", percentiles=(), requests=100_000)
    asked = [replace(means, seed=seed) for seed in range(60)]
    found = [
        compare_paired(ONE, [ONE.with_policy(SRPT())], asking=one)[0]["all"]["mean_response_s"] for one in asked
    ]
    hits = sum(SRPT_GAIN in mean for mean in found)
    assert hits >= 51  # binomial(60, 0.95) is at least 51 with probability 0.9991
    assert np.median([mean.half_width for mean in found]) < 3


def test_common_random_numbers_narrow_the_interval() -> None:
    """LCFS has the mean of FCFS exactly; unpaired, the half widths of the two would add."""
    (found,) = compare_paired(ONE, [ONE.with_policy(LCFS())], asking=runs(100_000))
    mean = found["all"]["mean_response_s"]
    low, high = predict(ONE, asking=runs(100_000))["all"].ci95["mean_response_s"]
    assert 0.0 in mean and mean.half_width / 100 < 0.3 * (high - low) / 2 / 5.0


def test_classes_gain_and_lose() -> None:
    """Cobham's means of two priorities against FCFS's 5."""
    (found,) = compare_paired(TWO, [TWO.with_policy(NonPreemptivePriority())], asking=runs(200_000))
    assert list(found.classes) == ["all", "first", "second"]
    assert 100 * (1 - 2.142857142857 / 5) in found["first"]["mean_response_s"]
    assert 100 * (1 - 6.714285714286 / 5) in found["second"]["mean_response_s"]
    assert found["second"]["p95_response_s"].value < 0 < found["first"]["p95_response_s"].value


def test_a_run_goes_on_to_its_precision() -> None:
    (found,) = compare_paired(ONE, [ONE.with_policy(SRPT())], asking=runs(2_000, precision=0.02))
    assert found.requests > 2_000
    assert found["all"]["mean_response_s"].half_width <= 2.0 and not found["all"]["mean_response_s"].short


def test_an_overload_is_compared_over_a_horizon() -> None:
    busy = ONE.at_rate(2.0)
    (found,) = compare_paired(busy, [busy.with_policy(SRPT())], asking=runs(horizon_s=200.0))
    mean = found["all"]["mean_response_s"]
    assert mean.low > 50 and mean.half_width < 10 and found.requests == pytest.approx(20 * 400, rel=0.1)
    with pytest.raises(InputError, match="unstable under fcfs"):
        compare_paired(busy, [busy.with_policy(SRPT())], asking=runs())


def test_a_single_replication_bounds_nothing() -> None:
    asking = runs(horizon_s=100.0)
    (found,) = compare_paired(ONE, [ONE.with_policy(SRPT())], asking=asking, replications=1)
    mean = found["all"]["mean_response_s"]
    assert math.isinf(mean.high) and mean.short
    assert found.to_dict()["classes"][0]["mean_response_s"]["low"] is None
    with pytest.raises(InputError, match="no request arrives"):
        compare_paired(ONE, [ONE], asking=runs(horizon_s=1e-9), replications=2)


def test_requests_that_either_run_lost_are_left_out_of_both() -> None:
    small = Scenario(classes=ONE.classes, system=System(buffer=3))
    (found,) = compare_paired(small, [small.with_policy(LCFS())], asking=runs())
    assert found.requests < 19_000 and math.isfinite(found["all"]["mean_response_s"].value)


def test_a_batching_engine_is_compared_on_the_same_prompts() -> None:
    lengths = {"input_tokens": Geometric(200.0), "output_tokens": Geometric(30.0)}
    time = IterationTime(base=0.01, per_sequence=1e-4, per_context_token=0.0, per_prefill_token=2e-5)
    system = System(batching="continuous", max_batch=4, kv_capacity_tokens=100_000, iteration_time=time)
    busy = Scenario(classes=[RequestClass("a", Poisson(8.0), factors=lengths)], system=system)
    asking = runs(4_000)
    (same,) = compare_paired(busy, [busy], asking=asking)
    assert same["all"]["mean_response_s"].value == same["all"]["mean_response_s"].half_width == 0.0
    (found,) = compare_paired(busy, [busy.with_policy(LCFS())], asking=asking)
    assert found["all"]["p95_response_s"].high < 0  # last come first served spreads
    with pytest.raises(InputError, match="unstable"):
        compare_paired(busy.at_rate(100.0), [busy.at_rate(100.0)], asking=asking)
    (short,) = compare_paired(busy, [busy], asking=runs(horizon_s=20.0), replications=2)
    assert short.requests == pytest.approx(320, rel=0.3)


def test_what_cannot_be_paired_is_refused() -> None:
    closed = Scenario(classes=[RequestClass("a", Closed(population=3, think_s=1.0), Exponential(1.0))])
    with pytest.raises(InputError, match="closed population"):
        compare_paired(closed, [closed.with_policy(PS())], asking=runs())
    with pytest.raises(InputError, match="at one rate"):
        compare_paired(ONE, [ONE.at_rate(0.5)], asking=runs())


def test_rows_and_json() -> None:
    (found,) = qm.compare_paired(ONE, [ONE.with_policy(SRPT())], asking=runs())
    frame = found.to_frame()
    assert frame["class"].tolist() == ["all"] * 3 and frame.policy.unique() == ["srpt"]
    assert frame.metric.tolist() == ["mean_response_s", "p50_response_s", "p95_response_s"]
    assert (frame.low < frame.improvement_percent).all() and (frame.improvement_percent < frame.high).all()
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["baseline"] == "fcfs" and said["classes"][0]["class"] == "all"
    assert said["classes"][0]["mean_response_s"]["percent"] == found["all"]["mean_response_s"].value


def test_many_short_metrics_are_counted() -> None:
    metrics = dict.fromkeys(("a", "b", "c", "d", "e"), Interval(1.0, 0.0, 2.0, short=True))
    (note,) = Paired("x", "y", 1.0, 10, {"all": metrics}).notes
    assert note.endswith("a of all, b of all, c of all and 2 more")


def test_a_class_with_hardly_a_request_is_unbounded() -> None:
    rare = Scenario(classes=[*ONE.classes, RequestClass("rare", Poisson(1e-6), Exponential(1.0))])
    (found,) = compare_paired(rare, [rare.with_policy(FCFS())], asking=runs(2_000))
    assert np.isnan(found["rare"]["mean_response_s"].value) and found["rare"]["mean_response_s"].short
    assert "too short for mean_response_s of rare" in found.notes[0]
