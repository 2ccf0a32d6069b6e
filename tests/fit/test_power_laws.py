"""Power laws with an offset: planted parameters come back inside their intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from qmodel.fit import fit_measurements
from qmodel.fit.cells import Cells
from qmodel.fit.least_squares import Fitting
from qmodel.fit.power_laws import PowerLawCandidate, power_law_candidates
from qmodel.fit.table import Measurements
from qmodel.service.model import ServiceModel

from .test_planted_truth import band, seeds

TRUTH = {"offset": 0.01, "scale": 0.002, "exponent of n": 0.7}


def measured(seed, noise=0.02, replicates=3, outliers=0):
    rng = np.random.default_rng(seed)
    n = np.repeat([1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512], replicates)
    y = (0.01 + 0.002 * n**0.7) * rng.lognormal(0, noise, len(n))
    y[rng.permutation(len(n))[:outliers]] *= 3
    return Measurements(pd.DataFrame({"n": n, "latency_s": y}), "latency_s", ("n",))


@pytest.mark.parametrize("n", seeds(20, 500))
def test_parameters_lie_in_their_intervals(n):
    hits = dict.fromkeys(TRUTH, 0)
    for seed in range(n):
        model = fit_measurements(measured(seed), forms=["power-law"], analysis=False).model
        t = stdtrit(model.degrees_of_freedom, 0.975)
        for label, (value, error) in model.labelled_coefficients().items():
            hits[label] += abs(value - TRUTH[label]) <= t * error
    for label, count in hits.items():
        assert band(n, 0.95)[0] <= count <= band(n, 0.95)[1], label


def test_chosen_among_all_forms_and_saved(tmp_path):
    result = fit_measurements(measured(0, noise=0.005), analysis=False)
    assert result.model.form.name == "power-law"
    result.model.save(tmp_path / "m.json")
    assert ServiceModel.load(tmp_path / "m.json").predict({"n": 100}) == pytest.approx(
        0.01 + 0.002 * 100**0.7, rel=0.01
    )
    assert "exponent of n" in result.summary() and max(map(len, result.summary().splitlines())) <= 80


def test_a_straight_truth_is_not_curved():
    rng = np.random.default_rng(0)
    n = np.repeat([1.0, 2, 4, 8, 16, 32, 64], 4)
    y = (0.01 + 0.002 * n) * rng.lognormal(0, 0.02, len(n))
    frame = pd.DataFrame({"n": n, "latency_s": y})
    model = fit_measurements(Measurements(frame, "latency_s", ("n",)), analysis=False).model
    assert model.form.name == "affine"


def test_two_factors_and_a_third_that_does_nothing():
    rng = np.random.default_rng(3)
    grid = [(a, b, c) for a in (1.0, 2, 4, 8) for b in (1.0, 3, 9, 27) for c in (1.0, 2, 3, 4)]
    frame = pd.DataFrame(grid, columns=["a", "b", "c"])
    frame["latency_s"] = (0.1 + 0.5 * frame.a**0.6 * frame.b**1.3) * rng.lognormal(0, 0.005, len(frame))
    m = Measurements(frame, "latency_s", ("a", "b", "c"))
    cells = Cells.of(m.frame, m.factors, m.y)
    assert ("a", "b") in [c.inputs for c in power_law_candidates(cells, m.numeric)]
    form = fit_measurements(m, forms=["power-law"], analysis=False).model.form
    assert form.inputs == ("a", "b")
    assert form.parameters == pytest.approx((0.1, 0.5, 0.6, 1.3), rel=0.06)


def test_huber_withstands_outliers():
    m = measured(1, outliers=3, replicates=1)
    cells = Cells.of(m.frame, m.factors, m.y)
    robust, plain = (PowerLawCandidate(("n",)).fit(cells, None, Fitting(loss)) for loss in ("huber", "relative"))
    at = {"n": np.array([4.0, 64.0, 512.0])}
    truth = 0.01 + 0.002 * at["n"] ** 0.7
    assert np.max(np.abs(robust.evaluate(at) / truth - 1)) < 0.5 * np.max(np.abs(plain.evaluate(at) / truth - 1))
    absolute = PowerLawCandidate(("n",)).fit(cells, None, Fitting("absolute", nonnegative=False))
    assert absolute is not None


def test_too_little_to_determine_one():
    frame = pd.DataFrame({"n": [1.0, 2, 3, 1, 2, 3], "latency_s": [1.0, 2, 3, 1, 2, 3]})
    cells = Cells.of(frame, ["n"], frame["latency_s"].to_numpy())
    assert PowerLawCandidate(("n",)).fit(cells) is None and power_law_candidates(cells, ["n"]) == []
