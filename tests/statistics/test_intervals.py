"""Intervals against exact small cases and, by many seeded runs, against means that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qmodel.errors import InputError
from qmodel.statistics import intervals as iv
from qmodel.statistics.batch_means import counted
from qmodel.statistics.warm_up import settles, warm_up

SEEDS = 400


def autoregressive(rng: np.random.Generator, n: int, correlation: float) -> NDArray[np.float64]:
    """A stationary AR(1) series of mean 10 and variance 1."""
    from scipy.signal import lfilter

    noise = rng.normal(size=n) * math.sqrt(1 - correlation**2)
    noise[0] = rng.normal()
    return 10 + lfilter([1.0], [1.0, -correlation], noise)


def waits(rng: np.random.Generator, n: int, load: float) -> NDArray[np.float64]:
    """Waits of M/M/1 with mean service 1 by Lindley's recursion, as a walk less its running minimum."""
    steps = np.concatenate(([0.0], rng.exponential(1.0, n - 1) - rng.exponential(1 / load, n - 1)))
    walk = np.cumsum(steps)
    return walk - np.minimum.accumulate(walk)


def coverage(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def test_batch_means_of_four_values_by_hand() -> None:
    interval = iv.batch_means([1.0, 2.0, 3.0, 4.0], batches=2)
    half = (
        stats.t.ppf(0.975, 1) * math.sqrt(2) / math.sqrt(2)
    )  # batch means 1.5 and 3.5: standard deviation sqrt(2)
    assert interval.value == 2.5
    assert interval.half_width == pytest.approx(half, rel=1e-12)
    assert interval.short


def test_batches_of_unequal_length_lose_no_value() -> None:
    values = np.arange(23.0)
    assert iv.batch_averages(values, 5).tolist() == [1.5, 6.0, 10.5, 15.0, 20.0]
    assert iv.batch_means(values, batches=5).value == 11.0


def test_batch_means_of_independent_values_agree_with_the_t_interval() -> None:
    half = np.random.default_rng(1).normal(size=10)
    values = np.concatenate((half, -half))  # no skewness
    expected = stats.t.interval(0.9, 19, loc=values.mean(), scale=stats.sem(values))
    interval = iv.batch_means(np.repeat(values, 2), batches=20, confidence=0.9)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_skewed_means_is_willinks() -> None:
    values = np.random.default_rng(1).exponential(size=20)
    sample_skewness = stats.skew(values, bias=False)
    shift = sample_skewness / (6 * math.sqrt(20))
    interval = iv.batch_means(np.repeat(values, 2))
    for end, t in ((interval.low, stats.t.ppf(0.975, 19)), (interval.high, stats.t.ppf(0.025, 19))):
        z = (values.mean() - end) / stats.sem(values)
        assert shift + z + 2 * shift * z**2 + 4 / 3 * shift**2 * z**3 == pytest.approx(t, rel=1e-10)
    assert interval.high - values.mean() > 1.2 * (values.mean() - interval.low)


def test_means_of_skewed_values_are_covered_better_than_by_the_t_interval() -> None:
    values = np.random.default_rng(2).gamma(0.3, size=(SEEDS * 5, 20))
    exact = 0.3
    ours = coverage([exact in iv.batch_means(np.repeat(row, 2)) for row in values])
    ends = stats.t.interval(0.95, 19, loc=values.mean(axis=1), scale=stats.sem(values, axis=1))
    plain = float(((ends[0] <= exact) & (exact <= ends[1])).mean())
    assert plain < 0.885 and ours > plain + 0.02


def test_correlated_batches_widen_the_interval() -> None:
    series = autoregressive(np.random.default_rng(3), 32_000, 0.995)
    averages = iv.batch_averages(series, 20)
    fine = iv.batch_averages(series, 640)
    correlation = float(np.corrcoef(fine[:-1], fine[1:])[0, 1]) / 32
    plain = iv.batch_means(np.repeat(averages, 2)).half_width
    ratio = iv.batch_means(series).half_width / plain
    assert ratio == pytest.approx(math.sqrt((1 + correlation) / (1 - correlation)), rel=2e-3)
    assert ratio > 1.015


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_batch_means_cover_the_mean_of_an_autoregressive_series(correlation: float) -> None:
    rng = np.random.default_rng(7)
    intervals = [iv.batch_means(autoregressive(rng, 30_000, correlation)) for _ in range(SEEDS)]
    assert 0.92 <= coverage([10.0 in interval for interval in intervals]) <= 0.98
    assert coverage([interval.short for interval in intervals]) < 0.1


def test_short_series_are_called_short() -> None:
    rng = np.random.default_rng(8)
    intervals = [iv.batch_means(autoregressive(rng, 2_000, 0.99)) for _ in range(100)]
    assert coverage([10.0 in interval for interval in intervals]) < 0.85
    assert coverage([interval.short for interval in intervals]) == 1.0


def test_independent_values_are_seldom_called_short() -> None:
    rng = np.random.default_rng(9)
    for n in (40, 100, 300, 3_000):
        assert coverage([iv.batch_means(rng.random(n)).short for _ in range(SEEDS)]) < 0.09


def test_mean_wait_of_mm1_is_covered() -> None:
    rng = np.random.default_rng(10)
    runs = [waits(rng, 33_000, 0.5)[3_000:] for _ in range(SEEDS)]
    assert 0.925 <= coverage([1.0 in iv.batch_means(run) for run in runs]) <= 0.975
    # P(W > x) = load exp(-(1 - load) x), so the 95th percentile is 2 ln 10
    assert 0.925 <= coverage([2 * math.log(10) in iv.batch_quantile(run, 0.95) for run in runs]) <= 0.98


def test_quantile_interval_of_independent_values_lies_at_the_expected_order_statistics() -> None:
    values = np.random.default_rng(2).permutation(np.arange(1.0, 100_001.0))
    interval = iv.batch_quantile(values, 0.9, batches=1000)
    assert interval.value == pytest.approx(90_000, abs=1)
    half = stats.norm.ppf(0.975) * math.sqrt(0.9 * 0.1 * 100_000)
    assert interval.high - interval.value == pytest.approx(half, rel=0.08)
    assert interval.value - interval.low == pytest.approx(half, rel=0.08)


def test_a_quantile_beyond_the_data_is_unbounded_and_short() -> None:
    interval = iv.batch_quantile(np.random.default_rng(3).random(100), 0.99)
    assert interval.high == math.inf and interval.short


def test_share_covers_and_all_successes_keep_a_width() -> None:
    rng = np.random.default_rng(4)
    hits = [0.5 in iv.batch_share(autoregressive(rng, 10_000, 0.9) > 10.0) for _ in range(SEEDS)]
    assert 0.92 <= coverage(hits) <= 0.98
    certain = iv.batch_share(np.ones(100))
    assert certain.value == certain.high == 1.0
    assert 0.9 < certain.low < 1.0


def test_improvement_pairs_common_random_numbers() -> None:
    rng = np.random.default_rng(5)
    intervals = []
    for _ in range(SEEDS):
        baseline = autoregressive(rng, 4_000, 0.8)
        intervals.append(iv.improvement(0.8 * baseline + 0.1 * rng.normal(size=4_000), baseline))
    assert 0.92 <= coverage([20.0 in interval for interval in intervals]) <= 0.98
    assert max(interval.half_width for interval in intervals) < 0.1  # unpaired it would be above 0.8


def test_improvement_interval_is_fiellers() -> None:
    x, y = np.array([1.0, 3.0, 2.0, 4.0]), np.array([2.0, 5.0, 5.0, 6.0])
    interval = iv.improvement(np.repeat(x, 2), np.repeat(y, 2), batches=4)
    t2 = stats.t.ppf(0.975, 3) ** 2
    for end in (interval.low, interval.high):
        ratio = 1 - end / 100
        rest = x - ratio * y
        assert rest.mean() ** 2 == pytest.approx(t2 * rest.var(ddof=1) / 4, rel=1e-9)
    assert interval.value == pytest.approx(100 * (1 - 10 / 18), rel=1e-12)


def test_improvement_on_a_baseline_that_may_be_zero_is_unbounded() -> None:
    interval = iv.improvement([1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 9.0, 9.0], batches=2)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_wilson_against_statsmodels_table() -> None:
    # statsmodels.stats.proportion.proportion_confint(7, 20, method="wilson")
    interval = iv.wilson(7, 20)
    assert (interval.low, interval.high) == pytest.approx((0.1811918, 0.5671457), abs=1e-6)
    assert math.isnan(iv.wilson(0, 0).value)


def test_median_interval_takes_the_tabled_order_statistics() -> None:
    # Binomial table: for n = 10 the pair (2, 9) covers with 97.9 %, (3, 8) with 89.1 %
    interval = iv.median_interval(np.arange(1.0, 11.0))
    assert (interval.value, interval.low, interval.high) == (5.5, 2.0, 9.0)
    interval = iv.median_interval(np.arange(1.0, 101.0))
    assert (interval.low, interval.high) == (40.0, 61.0)


def test_median_interval_covers() -> None:
    rng = np.random.default_rng(6)
    hits = [math.log(2) in iv.median_interval(rng.exponential(size=30)) for _ in range(2_000)]
    assert 0.945 <= coverage(hits) <= 0.98


def test_median_of_too_few_is_short() -> None:
    interval = iv.median_interval([2.0, 1.0, 3.0])
    assert (interval.low, interval.high, interval.short) == (1.0, 3.0, True)


def test_mser5_deletes_what_was_put_before() -> None:
    rng = np.random.default_rng(11)
    steady = rng.normal(size=5_000)
    rise = np.concatenate((np.linspace(-10, 0, 500), steady))
    assert 350 <= iv.mser5(rise) <= 600
    assert iv.mser5(steady) < 2_500
    assert iv.mser5([1.0, 2.0]) == 0


def test_a_warm_up_is_as_long_as_a_batch_whatever_the_values() -> None:
    assert [warm_up(n) for n in (0, 19, 20, 1_000_000)] == [0, 0, 1, 50_000]


def test_a_series_that_goes_on_rising_does_not_settle() -> None:
    rng = np.random.default_rng(13)
    for n in (60, 1_003, 50_000):
        steady = rng.normal(size=n)
        assert settles(steady)
        assert not settles(steady + np.linspace(0, 30, n))
    assert settles([3.0, 1.0])  # too few to tell


def test_correlation_and_skewness_together_make_a_series_short() -> None:
    """Of the same correlation, 0.4 between parts of a sixteenth of a batch, the skewed one is too short."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(14)
    for noise, short in ((rng.normal(size=320), False), (rng.exponential(size=320), True)):
        series = lfilter([1.0], [1.0, -0.4], noise)
        assert iv.batch_means(np.repeat(series, 100)).short == short


@pytest.mark.parametrize("n", [5_000, 150_000])
def test_long_series_are_summed_to_the_same_in_parts(n: int) -> None:
    values = np.random.default_rng(15).exponential(size=n)
    square = iv.batch_means((values - values.mean()) ** 2)
    deviation = iv.batch_deviation(values)
    assert (deviation.low**2, deviation.value**2, deviation.high**2) == pytest.approx(
        (square.low, square.value, square.high), rel=1e-12
    )
    below = iv.batch_means(values <= np.quantile(values, 0.9))
    edges = np.arange(640) * n // 640
    assert counted(values <= 1.0, edges).tolist() == np.add.reduceat((values <= 1.0).astype(float), edges).tolist()
    assert below.value == pytest.approx(0.9, abs=1e-4)


def test_mser5_equals_its_definition() -> None:
    values = np.random.default_rng(12).exponential(size=200).cumsum() ** 0.5
    means = values.reshape(40, 5).mean(axis=1)
    statistic = [means[d:].var() / (40 - d) for d in range(21)]
    assert iv.mser5(values) == 5 * int(np.argmin(statistic))


def test_too_few_values_say_so_in_the_interval() -> None:
    for function in (iv.batch_means, iv.batch_share, lambda v: iv.batch_quantile(v, 0.5), iv.median_interval):
        assert math.isnan(function([]).value)
    for function in (iv.batch_means, iv.batch_share, lambda v: iv.batch_quantile(v, 0.5)):
        one = function([1.0])
        assert (one.value, one.low, one.high, one.short) == (1.0, -math.inf, math.inf, True)
    assert iv.improvement([1.0], [2.0]).value == 50.0


def test_interval_reads_well() -> None:
    interval = iv.Interval(2.0, 1.0, 3.0)
    assert (interval.half_width, interval.relative) == (1.0, 0.5)
    assert 1.0 in interval and 3.1 not in interval
    assert iv.Interval(0.0, -1.0, 1.0).relative == math.inf


@pytest.mark.parametrize(
    "fault",
    [
        lambda: iv.batch_means([1.0, math.nan]),
        lambda: iv.batch_quantile([1.0, 2.0], 1.0),
        lambda: iv.improvement([1.0], [1.0, 2.0]),
        lambda: iv.improvement([1.0, 1.0], [0.0, 0.0]),
        lambda: iv.wilson(3, 2),
    ],
)
def test_bad_input_is_an_input_error(fault: object) -> None:
    with pytest.raises(InputError):
        fault()  # type: ignore[operator]
