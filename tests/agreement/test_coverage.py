"""The 95 % interval of a mean covers it between 93 % and 97 % of the time, or the run is called too short."""

from __future__ import annotations

import pytest
from scipy import stats

from qmodel.scenario import Scenario
from qmodel.simulation import simulate
from qmodel.workload import Distribution, Exponential, Hyperexponential, Poisson, RequestClass

M, H2 = Exponential(mean=1.0), Hyperexponential(mean=1.0, scv=4.0)
ENOUGH = ((M, 0.5, 20_000), (H2, 0.5, 50_000), (M, 0.8, 200_000), (H2, 0.8, 400_000))
TOO_SHORT = ((M, 0.5, 2_000), (H2, 0.5, 5_000), (M, 0.8, 20_000), (H2, 0.8, 50_000))


def runs(law: Distribution, load: float, requests: int, seeds: int) -> tuple[int, int]:
    """In how many runs the interval covers Pollaczek and Khinchine's mean, and how many are called too short."""
    scenario = Scenario(classes=(RequestClass("a", Poisson(load), law),))
    exact = 1.0 + load * law.moment(2) / (2.0 * (1.0 - load))
    covered = short = 0
    for seed in range(seeds):
        answer = simulate(scenario, requests=requests, seed=seed, percentiles=(), tell=None)
        low, high = answer["all"].ci95["mean_response_s"]
        covered += low <= exact <= high
        short += any("too short" in note and "mean_response_s" in note for note in answer.notes)
    return covered, short


@pytest.mark.parametrize(("law", "load", "requests"), ENOUGH[:3])
def test_a_run_that_is_long_enough_covers(law: Distribution, load: float, requests: int) -> None:
    """Binomial(100, 0.95) is from 87 to 99 with probability 0.993."""
    low, high = stats.binom.ppf([0.002, 0.998], 100, 0.95)
    covered, short = runs(law, load, requests, 100)
    assert low <= covered <= high and short <= 10


@pytest.mark.parametrize(("law", "load", "requests"), TOO_SHORT)
def test_a_run_that_covers_too_seldom_says_so(law: Distribution, load: float, requests: int) -> None:
    covered, short = runs(law, load, requests, 100)
    assert covered < 99 and short >= 90


@pytest.mark.slow
@pytest.mark.parametrize(("law", "load", "requests"), ENOUGH)
def test_over_a_thousand_seeds(law: Distribution, load: float, requests: int) -> None:
    covered, short = runs(law, load, requests, 1_000)
    assert 930 <= covered <= 970 and short <= 50


@pytest.mark.slow
@pytest.mark.parametrize(("law", "load", "requests"), TOO_SHORT)
def test_every_length_covers_or_says_so(law: Distribution, load: float, requests: int) -> None:
    for length in (requests, 5 * requests // 2, 5 * requests):
        covered, short = runs(law, load, length, 1_000)
        assert 930 <= covered <= 970 or short >= 900, (length, covered, short)
