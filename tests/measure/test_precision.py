"""The interval of the median against the binomial distribution itself, and against its promise."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from qmodel.measure.precision import RunningMedian, median_interval, median_rank, relative_half_width


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 8, 9, 10, 15, 24, 25, 99, 100, 500, 3001])
def test_rank_is_the_largest_that_covers(n: int) -> None:
    k = median_rank(n)
    assert k == 0 or 2 * binom.cdf(k - 1, n, 0.5) <= 0.05
    assert 2 * binom.cdf(k, n, 0.5) > 0.05


def test_ranks_of_published_tables() -> None:
    # Conover, Practical Nonparametric Statistics, 3rd ed., and standard sign-test tables at 95 %.
    assert {n: median_rank(n) for n in (6, 8, 9, 12, 15, 17, 20, 25, 30, 40, 50)} == {
        6: 1, 8: 1, 9: 2, 12: 3, 15: 4, 17: 5, 20: 6, 25: 8, 30: 10, 40: 14, 50: 18,
    }  # fmt: skip


def test_interval_takes_these_order_statistics() -> None:
    values = [float(v) for v in range(20, 0, -1)]
    assert median_interval(values) == (6.0, 15.0)
    assert median_interval(values[:5]) is None
    assert math.isinf(relative_half_width(values[:5]))
    assert relative_half_width(values) == pytest.approx((15 - 6) / 2 / 10.5, rel=1e-12)


def test_interval_covers_as_promised() -> None:
    rng = np.random.default_rng(5)
    samples = rng.lognormal(0.0, 1.0, size=(4000, 25))
    covered = np.mean([low <= 1.0 <= high for low, high in map(median_interval, samples.tolist())])
    exact = 1 - 2 * binom.cdf(median_rank(25) - 1, 25, 0.5)  # 0.9567
    assert covered == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def test_running_median_agrees_with_the_whole_sample() -> None:
    values = np.random.default_rng(1).exponential(size=60).tolist()
    running = RunningMedian(values[:10])
    for n in range(10, 60):
        assert len(running) == n
        assert running.precision == pytest.approx(relative_half_width(values[:n]), rel=1e-12)
        running.add(values[n])
    assert math.isinf(RunningMedian(values[:5]).precision)
