import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as t_law

from qmodel.errors import InputError
from qmodel.fit import fit_measurements
from qmodel.fit.planning import _updated, design_summary, next_measurements, replicates_needed
from qmodel.fit.table import Measurements

from .planted import planted


@pytest.fixture(scope="module")
def result():
    m = replace(planted(0), out_of_memory=({"batch_size": 64.0},))
    return fit_measurements(m, terms=["1", "steps", "batch_size:steps"], analysis=False)


def test_one_more_measurement_adds_its_information():
    """Sherman and Morrison against inverting the sum of informations."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 3))
    covariance, g = np.linalg.inv(a.T @ a), rng.normal(size=3)
    expected = np.linalg.inv(a.T @ a + np.outer(g, g) / 0.3)
    np.testing.assert_allclose(_updated(covariance, g, 0.3), expected, rtol=1e-10)


def test_error_falls_with_every_cell(result):
    plan = next_measurements(result, count=4)
    errors = [plan.before, *plan.table["error"]]
    assert all(a > b for a, b in itertools.pairwise(errors))
    assert plan.outside_share == 0.0
    assert set(plan.table["replicates"]) == {3}


def test_now_is_what_the_intervals_say(result):
    """One wanted prediction: its error is the half width of its interval over Student's quantile."""
    levels = {"steps": [30.0], "batch_size": [6.0]}
    plan = next_measurements(result, levels, count=1)
    low, high = result.model.interval(levels)
    quantile = t_law.ppf(0.975, result.model.degrees_of_freedom)
    expected = (high[0] - low[0]) / 2 / quantile / result.model.predict(levels)[0]
    assert plan.before == pytest.approx(expected, rel=1e-9)


def test_the_best_cell_is_the_best_of_all(result):
    """The first proposal against trying every cell of the grid."""
    wanted = {"steps": [50.0, 20.0], "batch_size": [16.0, 1.0]}
    plan = next_measurements(result, wanted, weights=[3, 1], count=1)
    model, noise = result.model, result.model.residual_scv / 3
    missed = result.uncertainty.lack_of_fit.spread**2

    def error(covariance):
        total = 0.0
        for weight, s, b in ((0.75, 50.0, 16.0), (0.25, 20.0, 1.0)):
            at = {"steps": s, "batch_size": b}
            g = model.gradient(at)[0] / model.predict(at)
            total += weight * g @ covariance @ g
        return np.sqrt(total)

    best = np.inf
    for s in (5.0, 10.0, 20.0, 50.0):
        for b in (1.0, 4.0, 8.0, 16.0):
            for pacing in ("back-to-back", "idle-gaps"):
                at = {"steps": s, "batch_size": b, "pacing": pacing}
                g = model.gradient(at)[0] / model.predict(at)
                best = min(best, error(_updated(model.covariance, g, missed + noise)))
    assert plan.table.loc[0, "error"] == pytest.approx(best, rel=1e-9)


def test_wanted_beyond_the_range_is_measured_there(result):
    plan = next_measurements(result, {"steps": [50.0], "batch_size": [40.0]}, count=2)
    assert plan.outside_share == 1.0
    assert plan.table.loc[0, "batch_size"] == 40.0
    assert bool(plan.table.loc[0, "new"]) and bool(plan.table.loc[0, "outside"])
    assert "100 % of the wanted levels lie beyond what was measured: measure there first." in plan.summary()
    assert "| steps |" in plan.to_markdown() or "| batch_size |" in plan.to_markdown()
    assert max(map(len, plan.summary().splitlines())) <= 80


def test_what_ran_out_of_memory_is_not_proposed(result):
    plan = next_measurements(result, {"steps": [50.0], "batch_size": [80.0]}, count=3)
    assert plan.table["batch_size"].max() < 64


def test_a_line_is_pinned_at_its_ends():
    """For a straight line under absolute-like relative weights the slope is learnt from the extremes."""
    rng = np.random.default_rng(1)
    n = np.repeat(np.arange(1.0, 11.0), 3)
    frame = pd.DataFrame({"n": n, "latency_s": (100 + n) * rng.lognormal(0, 0.001, len(n))})
    result = fit_measurements(Measurements(frame, "latency_s", ("n",)), analysis=False)
    assert set(next_measurements(result, count=4).table["n"]) == {1.0, 10.0}


def test_very_many_levels_are_thinned():
    rng = np.random.default_rng(2)
    grid = pd.DataFrame(rng.integers(1, 500, (400, 3)).astype(float), columns=["a", "b", "c"])
    y = (1 + 0.01 * grid.a + 0.02 * grid.b + 0.03 * grid.c) * rng.lognormal(0, 0.01, 400)
    m = Measurements(grid.assign(latency_s=y), "latency_s", ("a", "b", "c"))
    result = fit_measurements(m, terms=["1", "a", "b", "c"], analysis=False)
    assert len(next_measurements(result, count=2, replicates=4).table) == 2


@pytest.mark.parametrize(("scv", "precision"), [(0.01, 0.05), (0.0004, 0.01), (1.0, 0.1)])
def test_replicates(scv, precision):
    """The least n whose interval is narrow enough, by trying them all."""
    n = replicates_needed(scv, precision)
    width = [t_law.ppf(0.975, k - 1) * np.sqrt(scv / k) for k in range(2, n + 1)]
    assert width[-1] <= precision and all(w > precision for w in width[:-1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: next_measurements(r, count=0), "count: 0 is below 1"),
        (lambda r: next_measurements(r, {"steps": [5.0]}), "factor 'batch_size' has no level"),
        (
            lambda r: next_measurements(r, {"steps": [5.0, 6], "batch_size": [1.0, 1]}, weights=[1]),
            "weights: are not 2",
        ),
        (lambda r: next_measurements(r, {"steps": [5.0], "batch_size": [1.0]}, weights=[-1]), "weights: are not 1"),
        (lambda r: replicates_needed(0.01, 0.0), "precision: 0.0 is not above 0"),
        (lambda r: replicates_needed(0.01, 1e-9), "needs more than 100000 repetitions"),
        (lambda r: replicates_needed(0.01, 0.1, 1.0), "confidence: 1.0 is not between 0 and 1"),
    ],
)
def test_bad_requests(result, call, message):
    with pytest.raises(InputError) as caught:
        call(result)
    assert message in str(caught.value)


def test_a_constant_has_nothing_to_plan():
    frame = pd.DataFrame({"n": [1.0, 2, 3, 4] * 4, "latency_s": np.tile([1.0, 1.01, 0.99, 1.0], 4)})
    result = fit_measurements(Measurements(frame, "latency_s", ("n",)), terms=["1"], analysis=False)
    with pytest.raises(InputError, match="planning: the function has no factor"):
        next_measurements(result)


def test_design_summary_reads_well(result):
    """Repetitions by the half width of the interval; at most 30 are proposed."""
    text = design_summary(result, {"steps": [50.0, 80.0], "batch_size": [4.0, 16.0]}, count=2, precision=0.01)
    needed = replicates_needed(result.model.residual_scv, 0.01)
    words = " ".join(text.split())
    assert f"{needed} repetitions tell a cell's mean to within 1.0 %" in words
    assert "steps is wanted at 50 to 80, measured at 5 to 50." in words
    assert max(map(len, text.splitlines())) <= 80
    fine = " ".join(design_summary(result, count=1, precision=0.001).split())
    assert "The plan takes 30" in fine and "Next measurements ---" in fine
