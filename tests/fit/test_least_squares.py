import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from qmodel.fit.least_squares import (
    Fitting,
    conditioning,
    fit_coefficients,
    identifiable,
    inverse_gram,
    residual_summary,
    solve,
)

RNG = np.random.default_rng(7)
X = np.column_stack([np.ones(40), np.linspace(1, 64, 40), np.linspace(1, 64, 40) ** 2])


def test_exact_data_give_exact_coefficients():
    b = np.array([1e-3, 2e-4, 3e-7])
    np.testing.assert_allclose(fit_coefficients(X, X @ b), b, rtol=1e-9)


def test_no_constraint_active_is_plain_weighted_least_squares():
    """Against the normal equations solved on their own."""
    y = (X @ [1e-3, 2e-4, 3e-7]) * RNG.lognormal(0, 0.02, 40)
    w = RNG.uniform(0.5, 2.0, 40)
    plain = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * y))
    np.testing.assert_allclose(solve(X, y, np.sqrt(w)), plain, rtol=1e-9)
    np.testing.assert_allclose(fit_coefficients(X, y, w, Fitting("absolute", False)), plain, rtol=1e-9)


def test_active_constraint_against_a_general_optimiser():
    y = (X @ [1e-3, 2e-4, -1.5e-6]) * RNG.lognormal(0, 0.01, 40)
    b = solve(X, y, 1.0 / y)
    assert b[2] == 0.0 and np.all(b[:2] > 0)
    scale = np.array([1e-3, 1e-4, 1e-6])
    loss = lambda c: np.sum((X @ (c * scale) / y - 1.0) ** 2)  # noqa: E731
    best = minimize(
        loss, [1, 1, 1], bounds=[(0, None)] * 3, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12}
    )
    assert loss(b / scale) <= best.fun * (1 + 1e-9)
    free = fit_coefficients(X, y, None, Fitting(nonnegative=False))
    assert free[2] == pytest.approx(-1.5e-6, rel=0.2)


def test_relative_loss_has_ratio_one_in_the_mean():
    """At the optimum sum x (y - f) / f^2 = 0, so y/f has mean 1; weights 1/y^2 would put it near 1 - 2 scv."""
    x = np.column_stack([np.ones(4000), np.tile([1.0, 5.0, 20.0, 60.0], 1000)])
    truth = x @ [0.01, 0.002]
    y = truth * RNG.gamma(25.0, 1 / 25.0, 4000)
    b = fit_coefficients(x, y)
    assert np.mean(y / (x @ b)) == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(x.T @ ((y - x @ b) / (x @ b) ** 2), 0.0, atol=1e-4)
    np.testing.assert_allclose(b, [0.01, 0.002], rtol=0.03)
    assert np.mean((x @ solve(x, y, 1.0 / y)) / truth) == pytest.approx(1 - 2 / 25, abs=0.02)


def test_poor_fit_keeps_the_errors_of_small_values_small():
    """A constant for 1 and 100: least sum of (f/y - 1)^2 is f = (1 + 1/100) / (1 + 1/100^2)."""
    b = fit_coefficients(np.ones((2, 1)), np.array([1.0, 100.0]))
    assert b[0] == pytest.approx(1.01 / 1.0001, rel=1e-12)


def test_huber_withstands_outliers():
    y = X @ [1e-3, 2e-4, 3e-7]
    y[[5, 17, 30]] *= 3.0
    np.testing.assert_allclose(fit_coefficients(X, y, None, Fitting("huber")), [1e-3, 2e-4, 3e-7], rtol=1e-3)
    assert abs(fit_coefficients(X, y)[1] / 2e-4 - 1) > 0.02


def test_conditioning():
    ones = np.ones(4)
    assert conditioning(np.array([[1.0, 1], [1, -1], [1, 1], [1, -1]]), ones) == pytest.approx(1.0)
    x = np.column_stack([np.ones(4), [1.0, 2, 3, 4]])
    unit = x / np.linalg.norm(x, axis=0)
    assert conditioning(x, ones) == pytest.approx(np.linalg.cond(unit), rel=1e-12)
    assert conditioning(np.column_stack([x, np.zeros(4)]), ones) == np.inf
    assert not identifiable(np.column_stack([x, x[:, 1] * 2]), ones)
    assert not identifiable(np.ones((1, 2)), np.ones(1))
    assert identifiable(x, ones)
    assert conditioning(np.ones((3, 2)), np.ones(3)) > 1e15


def test_inverse_gram():
    w = RNG.uniform(0.5, 2.0, 40)
    np.testing.assert_allclose(inverse_gram(X, np.sqrt(w)), np.linalg.inv(X.T @ (w[:, None] * X)), rtol=1e-7)


def test_summary():
    assert residual_summary([-0.1, 0.2, 0.3, np.inf, np.nan]) == pytest.approx(
        {"median": 0.2, "p95": 0.29, "max": 0.3}, rel=1e-12
    )
    assert np.isnan(residual_summary([])["median"])


@pytest.mark.parametrize("closeness", [1e-1, 1e-3, 1e-5, 1e-7])
def test_columns_that_are_nearly_alike_go_by_qr(closeness):
    """Cross products would lose twice the digits: solutions agree with QR's whatever the condition."""
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(60), 1.0 + closeness * rng.standard_normal(60)])
    b = np.array([2.0, 3.0])
    np.testing.assert_allclose(solve(x, x @ b, np.ones(60)), b, rtol=1e-9 / closeness)


def test_signs_bind_in_both_ways_of_solving():
    rng = np.random.default_rng(5)
    x = rng.random((50, 4))
    y = x @ np.array([1.0, -0.5, 0.3, 0.0]) + 0.01 * rng.standard_normal(50)
    np.testing.assert_allclose(solve(x, y, np.ones(50)), nnls(x, y)[0], rtol=1e-9, atol=1e-12)
    free = solve(x, y, np.ones(50), nonnegative=False)
    np.testing.assert_allclose(free, np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-9, atol=1e-12)
