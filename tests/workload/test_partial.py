"""Partial and limited moments and E[1/S], against integrals of the textbook densities and sums over atoms."""

import math

import mpmath as mp
import numpy as np
import pytest

from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Empirical,
    Erlang,
    Exponential,
    Gamma,
    Geometric,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
)
from qmodel.workload.partial import limited_moment, partial_moment, reciprocal_mean
from tests.workload.reference_laws import REFERENCES


@pytest.mark.parametrize("name", REFERENCES)
def test_partial_moments_of_continuous_laws(name):
    reference = REFERENCES[name]
    for x in np.asarray(reference.law.quantile([0.05, 0.5, 0.95])):
        for k in (0, 1, 2):
            exact = float(reference.integral(lambda t, k=k: t**k, end=float(x)))
            assert float(partial_moment(reference.law, k, x)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", REFERENCES)
def test_partial_moments_end_at_the_moments(name):
    law = REFERENCES[name].law
    for k in (1, 2):
        if math.isfinite(law.moment(k)) and not isinstance(law, Pareto):
            assert float(partial_moment(law, k, 1e6 * law.mean)) == pytest.approx(law.moment(k), rel=1e-6)
    assert float(partial_moment(law, 1, -1.0)) == 0.0


ATOMS = [
    Discrete((4.0, 1.0, 2.0), (0.5, 0.25, 0.25)),
    Deterministic(2.5),
    Empirical([1.0, 1.0, 3.0]),
    Geometric(4.0),
]


@pytest.mark.parametrize("law", ATOMS, ids=str)
def test_partial_moments_of_atoms(law):
    for x in (0.5, 1.0, 2.2, 3.0, 50.0):
        for k in (0, 1, 3):
            exact = sum(p * value**k for value, p in law.atoms() if value <= x)
            assert float(partial_moment(law, k, x)) == pytest.approx(exact, rel=1e-12)


def test_composed_laws():
    law = Mixture((0.25, 0.75), (Exponential(2.0).scaled(0.5), Uniform(0.0, 4.0).shifted(1.0)))
    for x in (0.5, 1.5, 3.0, 9.0):
        exact = 0.25 * (1 - math.exp(-x) * (1 + x)) + 0.75 * (max(min(x, 5.0), 1.0) ** 2 - 1) / 8
        assert float(partial_moment(law, 1, x)) == pytest.approx(exact, rel=1e-12)


def test_laws_without_closed_form_are_summed_over_quantiles():
    class Unknown(Gamma):
        pass

    partial_moment.register(Unknown, partial_moment.dispatch(object))
    reciprocal_mean.register(Unknown, reciprocal_mean.dispatch(object))
    for x in (0.5, 1.0, 3.0):
        exact = float(partial_moment(Gamma(1.0, 0.5), 2, x))
        assert float(partial_moment(Unknown(1.0, 0.5), 2, x)) == pytest.approx(exact, abs=2e-3)
    assert reciprocal_mean(Unknown(1.0, 0.5)) == pytest.approx(2.0, rel=1e-7)
    assert reciprocal_mean(Exponential(1.0).shifted(1.0)) == pytest.approx(float(mp.e * mp.expint(1, 1)), rel=1e-9)


def test_limited_moment():
    for x in (0.5, 2.0):
        exact = 2 * (1 - math.exp(-x) * (1 + x))  # E[min(S, x)^2] = int_0^x 2 t P(S > t) dt
        assert float(limited_moment(Exponential(1.0), 2, x)) == pytest.approx(exact, rel=1e-12)
    assert float(limited_moment(Pareto(1.0, 1.5), 1, 1e12)) == pytest.approx(1.0, rel=1e-5)
    assert float(limited_moment(Uniform(0.0, 1.0), 1, math.inf)) == 0.5


@pytest.mark.parametrize(
    ("law", "exact"),
    [
        (Exponential(1.0), math.inf),
        (Erlang(2, 1.0), 2.0),
        (Gamma(2.0, 0.5), 1.0),
        (Gamma(2.0, 2.0), math.inf),
        (Hyperexponential(1.0, 2.0), math.inf),
        (Lognormal(2.0, 3.0), 2.0),
        (Weibull(1.0, 2.0), math.inf),
        (Uniform(0.0, 1.0), math.inf),
        (Uniform(1.0, math.e), 1 / (math.e - 1)),
        (Pareto(1.0, 1.5), 1.5 / (2.5 / 3)),
        (Deterministic(4.0), 0.25),
        (Discrete((0.0, 1.0), (0.5, 0.5)), math.inf),
        (Geometric(1.0), 1.0),
        (Geometric(2.0), math.log(2.0)),
        (Deterministic(4.0).scaled(0.5), 0.5),
        (Mixture((0.5, 0.5), (Deterministic(1.0), Deterministic(2.0))), 0.75),
    ],
    ids=str,
)
def test_reciprocal_mean(law, exact):
    assert reciprocal_mean(law) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("law", [Weibull(1.0, 0.3), BoundedPareto(0.5, 50.0, 1.3)], ids=str)
def test_reciprocal_mean_by_integration(law):
    low, high = max(law.support()[0], 1e-9), min(law.support()[1], 30.0)
    exact = mp.quad(lambda x: float(law.pdf(float(x))) / x, list(np.geomspace(low, high, 40)))
    assert reciprocal_mean(law) == pytest.approx(float(exact), rel=1e-4)


def test_distribution_functions_are_those_of_scipy():
    for law in (Gamma(2.0, 0.3), Lognormal(1.0, 4.0), Weibull(1.0, 0.5), Uniform(1.0, 3.0), Pareto(1.0, 1.7)):
        x = law.frozen.ppf([0.01, 0.3, 0.9, 0.999])
        np.testing.assert_allclose(law.cdf(x), [0.01, 0.3, 0.9, 0.999], rtol=1e-10)
        np.testing.assert_allclose(law.pdf(x), law.frozen.pdf(x), rtol=1e-10)
        np.testing.assert_allclose(law.sf(x), law.frozen.sf(x), rtol=1e-10)


@pytest.mark.parametrize("factor", [0.05855839207647974 * 1.95e-07, 0.3, 1.0 / 3.0, 1e9 / 7.0])
def test_a_point_mass_is_found_again_when_the_law_is_scaled_or_shifted(factor):
    table = Discrete((0.5, 1.0, 4.0), (0.4, 0.4, 0.2))
    for law in (table.scaled(factor), table.shifted(factor), table.scaled(factor).shifted(1.0 / 3.0)):
        seen = 0.0
        for value, p in law.atoms():
            seen += p
            assert float(law.cdf(value)) == pytest.approx(seen, rel=1e-12)
            assert float(partial_moment(law, 0, value)) == pytest.approx(seen, rel=1e-12)
            assert float(law.sf(value * (1 - 1e-12))) == pytest.approx(1.0 - seen + p, rel=1e-12)
