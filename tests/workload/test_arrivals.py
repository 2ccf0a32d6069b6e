"""Arrival processes: rate, regularity, and independence of counts, within 4 standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.scenario import Scenario
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import (
    ArrivalProcess,
    Deterministic,
    Distribution,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    Poisson,
    Renewal,
    RenewalGaps,
    RequestClass,
    Trace,
    Uniform,
    Weibull,
)
from qmodel.workload.grammar import arrivals_from_table, arrivals_to_table, parse_arrivals

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


class TestRenewalGaps:
    @pytest.mark.parametrize(
        "law", [Weibull(0.5, 4.0), Weibull(0.5, 0.2), Lognormal(0.5, 2.0), Deterministic(0.5), Uniform(0.25, 0.75)]
    )
    def test_counts_and_gaps(self, law: Distribution) -> None:
        """Seen from an arbitrary moment: the mean count is rate * horizon, however short that is."""
        process = RenewalGaps(law)
        gaps = np.diff(process.times(np.random.default_rng(1), 50_000.0))
        assert abs(gaps.mean() - 0.5) <= 4 * gaps.std() / math.sqrt(gaps.size)
        assert gaps.var() / gaps.mean() ** 2 == pytest.approx(process.scv, rel=0.1, abs=1e-9)
        counts = np.array([process.times(np.random.default_rng(s), 1.0).size for s in range(1000)])
        assert abs(counts.mean() - 2.0) < 4 * counts.std() / math.sqrt(counts.size) + 1e-12

    def test_at_rate(self) -> None:
        process = RenewalGaps(Weibull(0.5, 4.0)).at_rate(8.0)
        assert (process.rate, process.scv) == (pytest.approx(8.0), pytest.approx(4.0))
        assert process.at_rate(2.0) == RenewalGaps(Weibull(0.5, 4.0))
        assert isinstance(process.at_rate(1.0).gaps.law, Weibull)

    def test_an_infinite_mean(self) -> None:
        with pytest.raises(InputError, match="renewal, gaps: have an infinite mean"):
            RenewalGaps(Endless())

    def test_spellings(self) -> None:
        process = RenewalGaps(Weibull(0.5, 4.0))
        table = {"process": "renewal", "gaps": {"distribution": "weibull", "mean": 0.5, "scv": 4.0}}
        assert parse_arrivals("renewal:weibull:0.5,4") == process == arrivals_from_table(table, "here")
        assert arrivals_to_table(process) == table
        assert parse_arrivals("renewal:gamma:0.5,4") == Renewal(2.0, 4.0)
        assert parse_arrivals("renewal:exponential:0.5") == Poisson(2.0)
        with pytest.raises(InputError, match=r"arrivals 'renewal:foo:1': .*'foo' is unknown"):
            parse_arrivals("renewal:foo:1")

    def test_gi_m_1(self) -> None:
        """E[T] = 1/(mu (1 - x)), x = A(mu (1 - x)) with A the gaps' transform: found by simulation."""
        law = Weibull(1.6, 3.0)
        x = 0.5
        for _ in range(200):
            x = float(law.lst(1.0 - x).real)
        one = RequestClass("a", RenewalGaps(law), service=Exponential(1.0))
        found = simulate(Scenario(classes=[one]), requests=500_000, seed=1)["all"]
        low, high = found.ci95["mean_response_s"]
        assert high - low < 0.06 / (1.0 - x)
        assert abs(found.mean_response_s - 1.0 / (1.0 - x)) < high - low

    def test_theory_says_which_gaps_it_knows(self) -> None:
        def asked(law: Distribution) -> object:
            return analyse(Scenario(classes=[RequestClass("a", RenewalGaps(law), service=Exponential(1.0))]))

        refused = asked(Weibull(2.0, 4.0))
        assert isinstance(refused, NotAnalysable) and "neither gamma nor hyperexponential" in refused.reason
        law, x = Hyperexponential(2.0, 4.0), 0.5
        for _ in range(200):
            x = float(law.lst(1.0 - x).real)
        assert asked(law)["all"].mean_response_s == pytest.approx(1.0 / (1.0 - x), rel=1e-9)


class Endless(Pareto):
    """A law whose mean is infinite."""

    def __init__(self) -> None:
        super().__init__(1.0, 1.5)

    def moment(self, k: int) -> float:
        return math.inf
