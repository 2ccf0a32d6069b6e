from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from qmodel.errors import InputError
from qmodel.workload.arrival_tests import FAULTS, FEWEST, test_arrivals
from qmodel.workload.arrivals import Poisson, Renewal

DATA = Path(os.environ.get("QMODEL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "bench"


def poisson(seed, rate=2.0, n=300):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def shared(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there: set QMODEL_DATA to the folder of shared data")
    return path


@pytest.mark.parametrize(("n", "watched"), [(20, False), (60, True), (400, True)])
def test_poisson_processes_are_refused_at_the_nominal_rate(n, watched):
    """Each test refuses 5 % at level 0.05, and all together at most 1 % at level 0.01, within 4 standard errors."""
    seeds, rate, small, refused = 400, 2.0, dict.fromkeys(FAULTS, 0), 0
    for seed in range(seeds):
        rng = np.random.default_rng([n, seed])
        if watched:
            found = test_arrivals(Poisson(rate).times(rng, n / rate), rate, horizon_s=n / rate)
        else:
            found = test_arrivals(np.cumsum(rng.exponential(1 / rate, n)), rate)
        refused += bool(found.failed)
        for name, p in found.p_values.items():
            small[name] += p < 0.05
    error = math.sqrt(0.05 * 0.95 / seeds)
    for name in found.p_values:
        assert 0.015 < small[name] / seeds < 0.05 + 4 * error, name
    assert refused / seeds <= 0.01 + 4 * math.sqrt(0.01 * 0.99 / seeds)


def test_p_values_of_the_tests_are_uniform():
    found = [test_arrivals(poisson(seed), 2.0).p_values for seed in range(400)]
    for name in ("rate", "uniformity", "gaps", "lag1"):
        assert stats.kstest([p[name] for p in found], "uniform").pvalue > 1e-3, name


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        (np.arange(200) * 0.5, "gaps"),
        (np.sort(np.arange(400) * 0.25 + np.random.default_rng(1).uniform(0, 0.1, 400)), "dispersion_short"),
        (np.repeat(poisson(1, n=100), 5), "gaps"),
        (np.repeat(poisson(1, n=100), 5), "dispersion_short"),
        (Renewal(2.0, 0.5).times(np.random.default_rng(3), 200.0), "gaps"),
        (Renewal(2.0, 2.0).times(np.random.default_rng(3), 200.0), "gaps"),
        (np.concatenate((poisson(4, 1.0, 200), 300 + poisson(5, 3.0, 200))), "uniformity"),
        (np.cumsum(np.repeat(np.random.default_rng(6).exponential(0.5, 60), 5)), "lag1"),
    ],
)
def test_what_is_not_poisson_is_refused(times, fault):
    found = test_arrivals(times)
    assert not found.poisson
    assert fault in found.failed
    assert FAULTS[fault] in found.verdict


def test_slow_changes_of_the_rate_show_in_long_windows():
    t, rng = np.linspace(0, 2000, 200_001), np.random.default_rng(8)
    rate = 2.0 * (1 + 0.5 * np.sin(2 * np.pi * t / 400))
    counts = rng.poisson(rate[:-1] * 0.01)
    times = np.sort(np.repeat(t[:-1], counts) + rng.uniform(0, 0.01, counts.sum()))
    found = test_arrivals(times, horizon_s=2000)
    assert "dispersion_long" in found.failed
    assert found.dispersion > 3
    assert found.dispersion_window_s == 100.0


def test_the_wrong_rate_is_refused():
    assert test_arrivals(poisson(7, rate=2.0), 2.0).poisson
    assert test_arrivals(poisson(7, rate=2.0), 2.6).failed == ("rate",)
    assert test_arrivals(Poisson(2.0).times(np.random.default_rng(1), 150.0), 3.0, horizon_s=150.0).failed == (
        "rate",
    )


def test_intervals_of_the_rate_are_exact():
    """A Poisson count of 10 has the 95 % interval 4.795 to 18.390 (Garwood 1936); a gamma time its quantiles."""
    counted = test_arrivals(np.linspace(0.1, 4.9, 10), horizon_s=5.0)
    assert counted.rate == 2.0
    assert counted.rate_ci95 == pytest.approx((4.795389 / 5, 18.390356 / 5), rel=1e-6)
    timed = test_arrivals(np.arange(11.0))
    assert timed.rate == 1.0
    assert timed.rate_ci95 == pytest.approx(tuple(stats.gamma.ppf([0.025, 0.975], 10) / 10), rel=1e-12)


def test_the_interval_of_the_rate_covers_it():
    covered = sum(
        low <= 2.0 <= high for low, high in (test_arrivals(poisson(s), 2.0).rate_ci95 for s in range(400))
    )
    assert 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400) < covered / 400 < 0.995


def test_known_serial_correlation():
    """Gaps 1 3 repeated: circular lag-1 correlation -1; n = 40 gaps, so p is far below any level."""
    times = np.concatenate(([0.0], np.cumsum(np.tile([1.0, 3.0], 20)))) + np.linspace(0, 1e-3, 41) ** 2
    found = test_arrivals(times * math.pi)  # off every grid of time stamps
    assert found.lag1 == pytest.approx(-1, abs=1e-6)
    assert found.p_values["lag1"] < 1e-8


def test_gaps_whose_order_cannot_matter():
    even = np.arange(100) * 2.0**-20 * 1001
    assert math.isnan(test_arrivals(even).lag1)
    one_long = even + (even > even[50]) * 2.0**-10
    assert test_arrivals(one_long).p_values["lag1"] == 1.0
    assert not test_arrivals(even).poisson


def test_serial_correlation_has_the_moments_of_a_permutation():
    """Checked by permuting: the p of a given order is the share of orders with a correlation as far out."""
    rng, gaps = np.random.default_rng(11), np.random.default_rng(10).exponential(1.0, 80)
    gaps = gaps[np.argsort(np.argsort(gaps + rng.normal(0, 2, 80)))]
    found = test_arrivals(np.concatenate(([0.0], np.cumsum(gaps))))
    x = gaps - gaps.mean()
    drawn = [float(y @ np.roll(y, 1) / (y @ y)) for y in (rng.permutation(x) for _ in range(20_000))]
    centre = np.mean(drawn)
    share = np.mean(np.abs(np.array(drawn) - centre) >= abs(found.lag1 - centre))
    assert found.p_values["lag1"] == pytest.approx(share, abs=0.03)


def test_stamps_on_a_grid_are_noted_and_do_not_refuse_a_poisson_process():
    found = test_arrivals(np.floor(poisson(2, rate=4.0, n=2000) / 3.0) * 3.0, 4.0)
    assert found.poisson
    assert found.grid_s == 3.0
    assert found.ties > 0.8
    assert "grid of 3 s" in found.notes[0]
    assert "stamp of the one before" in found.notes[1]


def test_a_grid_much_finer_than_the_gaps_does_not_matter():
    assert test_arrivals(np.round(poisson(2), 6)).grid_s is None


def test_a_grid_with_jittered_stamps_is_found():
    cells = np.floor(poisson(2, rate=4.0, n=500) / 3.0) * 3.0
    jitter = np.repeat([-0.001, 0.0, 0.001, 0.0, 0.001], 100)
    assert test_arrivals(np.sort(cells + np.sort(jitter)[np.argsort(cells, kind="stable")])).grid_s == 3.0


def test_a_poisson_bridge_may_pass_and_is_named():
    times = poisson(5, rate=4.0, n=400)
    bridge = test_arrivals(times * (100.0 / times[-1]), 4.0)
    assert bridge.poisson
    assert "Poisson bridge" in bridge.notes[0]
    assert test_arrivals(times, 4.0).notes == ()


def test_too_few_arrivals_are_not_tested():
    found = test_arrivals(poisson(1, n=FEWEST - 1))
    assert (found.tested, found.poisson) == (False, False)
    assert found.verdict == "not tested: 19 arrivals are fewer than 20"
    assert math.isnan(test_arrivals([]).rate)
    assert not test_arrivals([1.0] * 30).tested


def test_plain_values_for_files():
    plain = json.loads(json.dumps(test_arrivals(poisson(1), 2.0).to_dict()))
    assert plain["poisson"] is True
    assert plain["n"] == 300
    assert set(plain["p_values"]) == {"rate", "uniformity", "gaps", "lag1", "dispersion_short"}
    assert plain["verdict"].startswith("consistent with a Poisson process: 300 arrivals at")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.0, 2.0, 1.0],), "arrival 3: comes before"),
        (([0.0, math.nan],), "not finite"),
        (([0.0, 1.0], 0.0), "nominal rate"),
        (([0.0, 1.0], None, -1.0), "horizon"),
        (([0.0, 1.0], None, 0.5), "leave the horizon"),
    ],
)
def test_bad_input(arguments, words):
    times, *rest = arguments
    with pytest.raises(InputError, match=words):
        test_arrivals(times, rest[0] if rest else None, horizon_s=rest[1] if len(rest) > 1 else None)


@pytest.mark.parametrize("stamp", ["request_start", "targeted_start"])
def test_guidellm_arrivals_are_refused_the_name(stamp):
    with gzip.open(shared("guidellm_0.8.1_poisson20_bug.json.gz")) as file:
        requests = json.load(file)["benchmarks"][0]["requests"]["successful"]
    stamps = np.sort([request["info"]["timings"][stamp] for request in requests])
    found = test_arrivals(stamps[stamps > 1e9], 20.0)
    assert not found.poisson
    assert {"lag1", "gaps", "dispersion_short"} <= set(found.failed)


def test_vllm_arrivals_pass():
    log = json.loads(shared("vllm_bench_serve_detailed.json").read_text())
    found = test_arrivals(np.sort(np.array(log["start_times"]) - log["queue_times"]), log["request_rate"])
    assert found.poisson
