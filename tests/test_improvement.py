"""Paired improvement: exact on known pairs, and its interval covers as often as it says."""

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.improvement import mean_improvement, paired_responses, percentile_improvement


def log(responses, scheduled=None, classes=None, status="ok"):
    n = len(responses)
    times = np.arange(n, dtype=float) if scheduled is None else scheduled
    return pd.DataFrame(
        {
            "request_id": np.arange(n),
            "class": classes or ["a"] * n,
            "scheduled_s": times,
            "done_s": times + np.asarray(responses),
            "status": status if isinstance(status, list) else [status] * n,
        }
    )


def test_pairs_are_the_requests_that_both_runs_finished():
    first = log([1.0, 2.0, 3.0], classes=["a", "b", "a"], status=["ok", "ok", "failed: killed"])
    second = log([2.0, 2.0, 9.0], classes=["a", "b", "a"])
    values, baseline = paired_responses(first, second)
    assert values.tolist() == [1.0, 2.0]
    assert baseline.tolist() == [2.0, 2.0]
    assert paired_responses(first, second, "b")[0].tolist() == [2.0]


def test_runs_with_other_arrivals_are_not_compared():
    with pytest.raises(InputError, match="different arrivals"):
        paired_responses(log([1.0, 1.0]), log([1.0, 1.0], scheduled=np.array([0.0, 5.0])))


def test_a_constant_gain_is_found_exactly():
    baseline = np.random.default_rng(1).exponential(1.0, 4000)
    assert mean_improvement(0.8 * baseline, baseline).value == pytest.approx(20.0, abs=1e-9)
    found = percentile_improvement(0.8 * baseline, baseline, 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((20.0, 20.0, 20.0), abs=1e-9)


def test_a_loss_is_negative():
    baseline = np.linspace(1.0, 2.0, 1000)
    assert percentile_improvement(1.5 * baseline, baseline, 0.5).value == pytest.approx(-50.0)


def test_too_few_pairs_have_no_interval():
    found = percentile_improvement([1.0, 2.0], [2.0, 2.0], 0.5)
    assert np.isinf(found.low) and np.isinf(found.high)


def test_percentile_interval_covers_the_truth():
    """Exponential of mean 1 against mean 2, p95: the true gain is 50 per cent."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        found = percentile_improvement(rng.exponential(1.0, 3000), rng.exponential(2.0, 3000), 0.95)
        inside += found.low <= 50.0 <= found.high
    # 300 trials at 95 %: 4 standard errors are 5 points
    assert 0.90 <= inside / 300 <= 0.995
