"""What is looked up for speed is what it stands for: exponentials, powers, expectations of predictions."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from qmodel.scenario import Scenario
from qmodel.theory.numerics.exponentials import FARTHEST, exponential, powers
from qmodel.theory.prediction.prediction_copula import Correlated
from qmodel.theory.prediction.prediction_laws import _ends_of, _with_factor, error_law, predictors
from qmodel.theory.prediction.prediction_table import Tabled, in_means
from qmodel.workload import Gamma, Hyperexponential, Lognormal, Pareto, PredictedSize, Weibull

from .scenarios import request_class


@pytest.mark.parametrize("size", [1e-9, 0.01, 1.0, 700.0, 2e4])
def test_exponentials_to_the_last_digits(size):
    """Up to the bound of the table and beyond it; more numbers than are taken at a time."""
    rng = np.random.default_rng(1)
    z = rng.uniform(-2.0, 2.0, 5000) + 1j * size * rng.uniform(-1.0, 1.0, 5000)
    found = exponential(z)
    for i in (0, 1, 4095, 4096, 4999):
        exact = complex(mpmath.exp(mpmath.mpc(z[i])))
        assert abs(found[i] - exact) < 3e-15 * abs(exact)
    assert np.abs(found / np.exp(z) - 1.0).max() < 3e-15


def test_exponentials_far_out_and_none():
    z = np.array([[0.5 + 1.5j * FARTHEST], [1.0 - 0.5j * FARTHEST]])
    np.testing.assert_allclose(exponential(z), np.exp(z), rtol=1e-12)
    assert exponential(np.empty(0, dtype=complex)).shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_powers(count):
    z = np.array([2.0 + 0.0j, 0.5 - 0.25j, 1.0j])
    np.testing.assert_allclose(powers(z, count), z[:, None] ** np.arange(count), rtol=1e-13)


@pytest.mark.parametrize("law", [Gamma, Hyperexponential, Lognormal, Weibull], ids=lambda law: law.__name__)
def test_shape_and_mean_of_a_law(law):
    unit, mean = in_means(law(3.0, 2.0).scaled(0.5))
    assert (type(unit), unit.mean, mean) == (law, 1.0, 1.5)
    assert unit.scv == pytest.approx(2.0, rel=1e-12)


def test_shape_and_mean_of_a_power_law():
    assert in_means(Pareto(3.0, 2.5)) == (Pareto(1.0, 2.5), 3.0)


SIZE = Gamma(3.0, 0.5)


def plain(guess):
    """The component itself, without a table."""
    if guess.error == "correlated":
        return Correlated(SIZE, guess.normal_correlation, _ends_of(SIZE))
    return _with_factor(error_law(guess), SIZE)


@pytest.mark.parametrize(
    "guess",
    [
        PredictedSize("exponential"),
        PredictedSize("lognormal", scv=0.5),
        PredictedSize("correlated", correlation=0.8),
    ],
    ids=lambda guess: guess.error,
)
def test_tables_are_the_functions_they_stand_for(guess):
    """Sizes of mean 3, whose table is that of mean 1, at predictions away from its nodes."""
    served = Scenario([request_class("a", 0.1, SIZE, predicted_size=guess)]).served[0]
    ((share, table),) = predictors(served)
    assert share == 1.0
    assert isinstance(table, Tabled)
    direct, y = plain(guess), np.array([0.013, 0.4, 1.7, 5.5, 23.0])
    for k in (0, 1, 2):
        np.testing.assert_allclose(table.upto(k, y), direct.upto(k, y), rtol=1e-8)
    for k in (0, 1):
        np.testing.assert_allclose(table.density(k, y), direct.density(k, y), rtol=1e-8)
    # where requests of some ages are no longer interrupted, the sums bend, inside panels too
    for limit, near in ((np.inf, 1e-8), (0.4, 2e-4)):
        np.testing.assert_allclose(table.kept(y, limit), direct.kept(y, limit), rtol=1e-6)
        np.testing.assert_allclose(table.passing(y, limit), direct.passing(y, limit), rtol=near)
        assert table.beyond(limit) == pytest.approx(direct.beyond(limit), rel=1e-9)
    assert table.density(0, np.array([1e9]))[0] == 0.0
