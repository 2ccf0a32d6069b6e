"""Arrival processes: rate, regularity, and independence of counts, within 4 standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.workload import ArrivalProcess, Poisson, Renewal, Trace

PROCESSES = {
    "poisson": Poisson(3.0),
    "regular": Renewal(3.0, 0.25),
    "renewal like poisson": Renewal(3.0, 1.0),
    "bursty": Renewal(3.0, 4.0),
    "very bursty": Renewal(3.0, 40.0),
}
EVERY = pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))


@EVERY
def test_times_increase_inside_the_horizon(process: ArrivalProcess) -> None:
    times = process.times(np.random.default_rng(1), 500.0)
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < 500.0


@EVERY
def test_the_mean_count_is_rate_times_horizon_however_short(process: ArrivalProcess) -> None:
    """Stationarity: a renewal process that started afresh at 0 would be off by (scv - 1)/2 requests."""
    rng = np.random.default_rng(2)
    for horizon in (1.0, 20.0):
        counts = np.array([len(process.times(rng, horizon)) for _ in range(4000)])
        error = counts.std() / math.sqrt(len(counts))
        assert abs(counts.mean() - 3.0 * horizon) < 4 * error
        assert error < 0.25 * math.sqrt(horizon)


@EVERY
def test_gaps_have_their_mean_and_scv(process: ArrivalProcess) -> None:
    times = process.times(np.random.default_rng(3), 40_000.0)
    gaps = np.diff(times)
    scv = getattr(process, "scv", 1.0)
    n = len(gaps)
    assert abs(gaps.mean() * 3.0 - 1.0) < 4 * math.sqrt(scv / n)
    # standard error of a sample variance: sqrt((kurtosis - 1)/n) in units of the variance; gamma: 3 + 6 scv
    assert abs(gaps.var() * 9.0 / scv - 1.0) < 4 * math.sqrt((2 + 6 * scv) / n) + 4 * 2 * math.sqrt(scv / n)
    lag1 = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]
    assert abs(lag1) < 4 / math.sqrt(n)


def test_poisson_counts_are_dispersed_as_poisson() -> None:
    times = Poisson(3.0).times(np.random.default_rng(4), 30_000.0)
    counts, _ = np.histogram(times, bins=10_000, range=(0.0, 30_000.0))
    dispersion = counts.var() / counts.mean()
    assert abs(dispersion - 1.0) < 4 * math.sqrt(2 / 10_000)


def test_same_seed_same_times() -> None:
    for process in PROCESSES.values():
        one, two = (process.times(np.random.default_rng(5), 50.0) for _ in range(2))
        assert one.tolist() == two.tolist()


def test_is_poisson() -> None:
    assert Poisson(1.0).is_poisson and Renewal(1.0, 1.0).is_poisson
    assert not Renewal(1.0, 2.0).is_poisson and not Trace((0.0, 1.0)).is_poisson


def test_at_rate_keeps_the_shape() -> None:
    assert Poisson(1.0).at_rate(2.5) == Poisson(2.5)
    assert Renewal(1.0, 3.0).at_rate(2.5) == Renewal(2.5, 3.0)
    stretched = Trace((1.0, 2.0, 5.0)).at_rate(0.25)
    assert stretched.recorded_s == (2.0, 4.0, 10.0) and stretched.rate == 0.25


class TestTrace:
    def test_rate_counts_gaps(self) -> None:
        assert Trace((2.0, 3.0, 6.0)).rate == 0.5

    def test_replays_what_lies_in_the_horizon(self) -> None:
        assert Trace((0.0, 1.0, 4.0)).times(np.random.default_rng(0), 4.0).tolist() == [0.0, 1.0]

    def test_same_rate_is_the_same_trace(self) -> None:
        trace = Trace((0.0, 1.0, 4.0))
        assert trace.at_rate(trace.rate) is trace

    def test_simultaneous_arrivals_are_allowed(self) -> None:
        assert Trace((0.0, 1.0, 1.0, 2.0)).rate == 1.5

    @pytest.mark.parametrize(
        ("times", "fault"),
        [
            ((), "at least two"),
            ((1.0,), "at least two"),
            ((0.0, math.nan), "at least two finite"),
            ((0.0, math.inf), "at least two finite"),
            ((-1.0, 1.0), "at least two finite times >= 0"),
            ((0.0, 2.0, 1.0), "arrival 3: comes before"),
            ((3.0, 3.0), "all arrivals come at once"),
        ],
    )
    def test_bad_times(self, times: tuple[float, ...], fault: str) -> None:
        with pytest.raises(InputError, match=fault):
            Trace(times)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Poisson(0.0),
        lambda: Poisson(-1.0),
        lambda: Poisson(math.nan),
        lambda: Poisson("1"),
        lambda: Renewal(1.0, 0.0),
        lambda: Renewal(1.0, 1e5),
        lambda: Poisson(1.0).at_rate(-2.0),
        lambda: Renewal(1.0, 2.0).at_rate(math.inf),
        lambda: Trace((0.0, 1.0)).at_rate(0.0),
    ],
)
def test_bad_rates(make) -> None:
    with pytest.raises(InputError):
        make()
