"""Arrivals characterised: statistics against known processes, the name of Poisson, the choice by delay."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.fit.arrivals import characterise
from qmodel.fit.arrivals_delay import mean_delay, recorded_delays, simulated_delays
from qmodel.fit.arrivals_renewal import GapLaw, exponential_gaps, gamma_gaps, weibull_gaps
from qmodel.fit.arrivals_shape import (
    index_of_dispersion,
    lag_correlation,
    repeated_gaps,
    shape_of,
    silences,
    stationarity,
)
from qmodel.fit.arrivals_text import profile_lines, spelling
from qmodel.workload.grammar import arrivals_from_table
from qmodel.workload.markov_arrivals import Mmpp

BURSTS = Mmpp((20.0, 2.0), ((-0.1, 0.1), (0.05, -0.05)))


def poisson(n: int, rate: float = 2.0, seed: int = 1) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, n))


# --- shape ------------------------------------------------------------------------------------------------


def test_statistics_of_a_planted_mmpp() -> None:
    times = BURSTS.times(np.random.default_rng(2), 60_000.0)
    shape = shape_of(times)
    assert shape.rate == pytest.approx(BURSTS.rate, rel=0.03)
    assert shape.cv**2 == pytest.approx(BURSTS.scv, rel=0.03)
    for lag, value in shape.lags:
        assert value == pytest.approx(BURSTS.lag_correlation(lag), abs=0.01)
    for window, value in shape.dispersion:
        if window < 100:
            assert value == pytest.approx(BURSTS.index_of_dispersion(window), rel=0.1)


def test_counts_of_a_clock_do_not_vary() -> None:
    assert index_of_dispersion(np.arange(0.0, 1000.0, 0.25), 10.0) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(lag_correlation(np.ones(50), 1))


def test_rate_over_time_adds_up() -> None:
    shape = shape_of(poisson(5000))
    assert np.mean(shape.rates) == pytest.approx(5000 / shape.span_s)


def test_silences_are_told_apart_from_bursts() -> None:
    gaps = np.random.default_rng(1).exponential(0.1, 4000)
    assert silences(gaps) is None
    gaps[[500, 2500]] = 60.0
    found = silences(gaps)
    assert found is not None and (found.count, found.longest_s) == (2, 60.0)
    assert found.share == pytest.approx(120.0 / gaps.sum())
    assert found.cv_without == pytest.approx(1.0, abs=0.05) and found.rate_without == pytest.approx(10.0, rel=0.05)


def test_gaps_used_again() -> None:
    drawn = np.random.default_rng(1).exponential(1.0, 100)
    assert repeated_gaps(np.repeat(drawn, 10)) == pytest.approx(0.9, abs=0.01)
    assert repeated_gaps(drawn) == 0.0 and repeated_gaps(drawn[:1]) == 0.0


def test_stationarity_is_judged_against_the_bursts() -> None:
    assert "no sign" in stationarity(BURSTS.times(np.random.default_rng(3), 20_000.0)).verdict
    ramp = np.sort(1000.0 * np.sqrt(np.random.default_rng(3).uniform(size=5000)))
    assert "not stationary" in stationarity(ramp).verdict
    assert "too few" in stationarity(poisson(100)).verdict
    assert stationarity(np.arange(2000.0)).statistic < 0.5


def test_doubtful_stationarity_is_said() -> None:
    from qmodel.fit.arrivals_shape import Stationarity

    assert "doubtful" in Stationarity(0.6, 100).verdict


# --- renewal laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_renewal_laws_come_back(shape: float) -> None:
    rng = np.random.default_rng(7)
    for family, fit in (("gamma", gamma_gaps), ("weibull", weibull_gaps)):
        truth = GapLaw(family, 0.5, shape)
        gaps = truth.sample(rng, 40_000)
        found = fit([gaps[:15_000], gaps[15_000:]])
        assert found.shape == pytest.approx(shape, rel=0.03)
        assert found.mean_s == pytest.approx(gaps.mean(), rel=1e-12)
        assert gaps.var() / gaps.mean() ** 2 == pytest.approx(truth.scv, rel=0.1)


@pytest.mark.parametrize(
    "law", [GapLaw("gamma", 0.5, 0.4), GapLaw("weibull", 0.5, 0.7), GapLaw("exponential", 2.0)]
)
def test_densities_are_scipys(law: GapLaw) -> None:
    from scipy import stats
    from scipy.special import gamma

    x = np.array([0.01, 0.3, 2.0])
    if law.family == "weibull":
        expected = stats.weibull_min(law.shape, scale=law.mean_s / gamma(1 + 1 / law.shape)).logpdf(x)
    else:
        expected = stats.gamma(law.shape, scale=law.mean_s / law.shape).logpdf(x)
    assert law.log_density(x) == pytest.approx(expected, rel=1e-12)


def test_weibull_looks_at_a_part_of_many_gaps() -> None:
    gaps = np.random.default_rng(1).weibull(0.7, 300_000)
    assert weibull_gaps([gaps]).shape == pytest.approx(0.7, rel=0.02)


def test_a_clock_has_the_largest_shape() -> None:
    assert gamma_gaps([np.full(100, 2.0)]).shape == 1e4
    assert exponential_gaps([np.full(100, 2.0)]).mean_s == 2.0


# --- delay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_delay_of_poisson_arrivals_is_pollaczek_khinchine(load: float) -> None:
    rng = np.random.default_rng(1)
    found = simulated_delays(lambda r, size: r.exponential(1.0, size), 200_000, loads=(load,))[0]
    assert found.value == pytest.approx(load / (2 * (1 - load)), abs=4 * found.error)
    assert found.error < 0.01 * found.value * 3
    assert mean_delay(rng.exponential(1.0, 10), load) >= 0


def test_delay_is_lindleys_recursion() -> None:
    gaps = np.random.default_rng(5).exponential(1.0, 500)
    service, wait, waits = 0.8 * gaps.mean(), 0.0, []
    for gap in gaps:
        wait = max(0.0, wait + service - gap)
        waits.append(wait)
    assert mean_delay(gaps, 0.8) == pytest.approx(np.mean(waits) / service, rel=1e-9)
    assert recorded_delays(gaps, (0.8,))[0].value == pytest.approx(mean_delay(gaps, 0.8))


def test_a_clock_never_waits() -> None:
    assert mean_delay(np.ones(100), 0.9) == 0.0
    assert math.isnan(mean_delay(np.zeros(5), 0.9))
    assert math.isnan(simulated_delays(lambda r, size: np.empty(0), 100)[0].value)


# --- the whole --------------------------------------------------------------------------------------------


def test_poisson_keeps_its_name() -> None:
    found = characterise(poisson(3000), 2.0, "poisson")
    assert not found.refused_name and found.chosen is not None and found.chosen.name == "poisson"
    assert found.chosen.table == {"process": "poisson", "rate": pytest.approx(2.0, rel=0.05)}
    assert "nothing against it" in "\n".join(profile_lines(found))


def test_bursts_are_refused_the_name_and_fitted() -> None:
    """The chosen process waits like the record; Poisson would be far off."""
    times = BURSTS.times(np.random.default_rng(11), 8_000.0)
    found = characterise(times, None, "poisson")
    assert found.refused_name and found.chosen is not None
    assert found.chosen.name in ("mmpp-2", "map-2", "mmpp-3")
    assert found.chosen.delay_error < math.log(1.5)
    poisson_like = next(one for one in found.candidates if one.name == "poisson")
    assert poisson_like.delay_error > math.log(5)
    assert found.chosen.gain > 5 * found.chosen.gain_error
    text = "\n".join(profile_lines(found, 80))
    assert "REFUSED" in text and max(map(len, text.splitlines())) <= 80


def test_what_is_pasted_reads_back() -> None:
    import tomllib

    times = BURSTS.times(np.random.default_rng(11), 2_000.0)
    for one in characterise(times).candidates:
        if one.table is None:
            assert one.name == "weibull" and spelling(one) == ""
            continue
        table = tomllib.loads(spelling(one))["arrivals"]
        process = arrivals_from_table(table, "arrivals")
        assert process.rate == pytest.approx((times.size - 1) / (times[-1] - times[0]), rel=1e-6)


def test_gamma_gaps_are_renewal() -> None:
    gaps = np.random.default_rng(1).gamma(0.25, 4.0, 20_000)
    found = characterise(np.cumsum(gaps))
    assert found.chosen is not None and found.chosen.name in ("gamma", "weibull")
    gamma = next(one for one in found.candidates if one.name == "gamma")
    assert gamma.table is not None and gamma.table["scv"] == pytest.approx(4.0, rel=0.05)


def test_few_arrivals_are_described_only() -> None:
    found = characterise(poisson(60))
    assert found.candidates == () and found.chosen is None
    assert "arrivals" in "\n".join(profile_lines(found))


def test_plain_values() -> None:
    found = characterise(poisson(500), 2.0, "poisson").to_dict()
    assert found["chosen"] == "poisson" and found["silences"] is None and found["tests"]["poisson"]


def test_a_record_with_silences_says_so() -> None:
    gaps = np.random.default_rng(1).exponential(0.1, 1000)
    gaps[300] = 500.0
    text = "\n".join(profile_lines(characterise(np.cumsum(gaps))))
    assert "1 gap(s) of 500 to 500 s take 83 % of the time" in text.replace("\n" + " " * 18, " ")


@pytest.mark.parametrize("times", [[], [1.0], [2.0, 2.0, 2.0]])
def test_no_time_at_all_is_refused(times: list[float]) -> None:
    with pytest.raises(InputError, match="do not spread over any time"):
        characterise(times)


@pytest.mark.slow
def test_a_poisson_process_is_refused_at_the_nominal_rate() -> None:
    """One in a hundred, over 500 seeds: 12 at most with probability 0.998."""
    refused = sum(characterise(poisson(99, seed=seed), None, "poisson").refused_name for seed in range(500))
    assert refused <= 12
