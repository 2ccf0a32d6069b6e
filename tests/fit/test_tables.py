"""Tables: cell means kept, nothing said beyond the edges, uncertainty from replicates or from left-out levels."""

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit import fit_measurements, next_measurements
from qmodel.fit.cells import Cells
from qmodel.fit.table import Measurements
from qmodel.fit.tables import TableCandidate
from qmodel.service.model import ServiceModel

from .test_planted_truth import band, seeds


def measured(seed, replicates=4, noise=0.03, tiles=0):
    rng = np.random.default_rng(seed)
    grid = [(n, m) for n in (1.0, 2, 4, 8, 16) for m in (16.0, 32, 64, 128) for _ in range(replicates)]
    frame = pd.DataFrame(grid, columns=["n", "m"])
    y = 0.01 + 0.001 * np.sqrt(frame.n) * frame.m
    frame["latency_s"] = y * rng.gamma(noise**-2, noise**2, len(frame))
    return Measurements(frame, "latency_s", ("n", "m"))


def test_values_are_the_means_and_go_through_a_file(tmp_path):
    m = measured(0)
    result = fit_measurements(m, forms=["table"], analysis=False)
    cells = Cells.of(m.frame, m.factors, m.y)
    np.testing.assert_allclose(result.model.predict(cells.levels), cells.mean, rtol=1e-12)
    result.model.save(tmp_path / "m.json")
    model = ServiceModel.load(tmp_path / "m.json")
    with pytest.raises(InputError, match="does not extrapolate"):
        model.predict({"n": 17, "m": 16})
    assert model.outside_domain({"n": 17, "m": 16}) == ["n = 17 is outside the measured range 1 to 16"]
    assert result.model.statistics["in_sample"]["max"] < 1e-12
    assert max(map(len, result.summary().splitlines())) <= 80


@pytest.mark.parametrize("n", seeds(60, 500))
def test_intervals_of_the_values(n):
    hits = 0
    for seed in range(n):
        low, high = fit_measurements(measured(seed), forms=["table"], analysis=False).model.interval(
            {"n": 4.0, "m": 64.0}
        )
        hits += low <= 0.01 + 0.001 * 2 * 64 <= high
    assert band(n, 0.95)[0] <= hits <= band(n, 0.95)[1]


def test_without_replicates_left_out_levels_tell():
    result = fit_measurements(measured(1, replicates=1), forms=["table"], analysis=False)
    low, high = result.model.interval({"n": 4.0, "m": 64.0})
    assert 0.02 < (high - low) / 2 / result.model.predict({"n": 4.0, "m": 64.0}) < 0.5


def test_holes_and_size_are_refused():
    m = measured(2)
    frame = m.frame[(m.frame["n"] != 4) | (m.frame["m"] != 64)]
    holes = Measurements(frame.reset_index(drop=True), "latency_s", ("n", "m"))
    with pytest.raises(InputError, match="do not determine a table when any level is left out"):
        fit_measurements(holes, forms=["table"], analysis=False)
    x = np.arange(1.0, 2600.0)
    many = pd.DataFrame({"n": x, "latency_s": x})
    assert TableCandidate(("n",)).fit(Cells.of(many, ["n"], x)) is None


def test_designs_for_a_table():
    plan = next_measurements(fit_measurements(measured(3), forms=["table"], analysis=False), count=2)
    assert plan.table["error"].iloc[-1] < plan.before


def test_tiles_are_found():
    x = np.arange(8.0, 1025.0, 8.0)
    y = 0.001 * np.ceil(x / 64) + 1e-6 * x
    m = Measurements(pd.DataFrame({"tokens": x, "latency_s": y}), "latency_s", ("tokens",))
    result = fit_measurements(m, forms=["table"], analysis=False)
    assert result.model.form.tiles == (64.0,)
    assert "stepping at multiples of 64" in result.model.describe()
    assert result.model.statistics["cross_validated"]["max"] < 0.01
