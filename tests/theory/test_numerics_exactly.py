"""The numerical tools against the errors that their theory promises, and the work they may take."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.theory.numerics import euler
from qmodel.theory.numerics.inversion import InvertedLaw
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.numerics.roots import first_reaching, interpolated
from qmodel.theory.numerics.sizes import landmarks
from qmodel.workload import Exponential, Hyperexponential, Mixture


@pytest.mark.parametrize("t", [0.3, 2.0])
def test_eulers_error_is_the_first_alias(t):
    """The trapezoidal rule at A = 20 adds exp(-A) F(3t), the rest is exp(-40): Abate & Whitt 1992, (5.30)."""
    s = euler.contour(t, 48)
    found = float((np.exp(s * t) / s / (1 + s)).real @ euler.weights(48) / t)
    assert found + math.expm1(-t) == pytest.approx(math.exp(-20.0) * -math.expm1(-3 * t), rel=1e-3)


def test_a_series_has_as_many_terms_as_it_takes_to_stand():
    asked = []
    law = InvertedLaw(lambda s: asked.append(len(s)) or 1 / (1 + s), 1.0, lambda t: 0.0, scale=1.0)
    assert law.cdf(1.0) == pytest.approx(-math.expm1(-1.0), abs=2e-8)
    assert sum(asked) == 256


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_scaled_mixture_is_the_mixture_of_the_scaled(factor):
    law = Mixture((0.25, 0.75), (Hyperexponential(1.0, 4.0), Exponential(2.0))).scaled(factor)
    parts = [(0.25 * p, factor * mean) for p, mean in Hyperexponential(1.0, 4.0).phases]
    for found, part in zip(exponential_phases(law), [*parts, (0.75, factor * 2.0)], strict=True):
        assert found == pytest.approx(part, rel=1e-15)


def test_sizes_are_followed_to_probability_1e_17():
    assert landmarks(Exponential(1.0))[-1] == pytest.approx(17.0 * math.log(10.0), rel=1e-12)
    assert min(end for end in landmarks(Exponential(1.0)) if end > 0) == pytest.approx(1e-17, rel=1e-9)


def counted(cdf):
    asked = []
    return asked, lambda t: asked.append(t) or cdf(t)


def test_a_level_is_found_in_few_steps():
    """About a dozen values of the distribution function each, where bisection takes 37 and more."""
    asked, cdf = counted(lambda t: -math.expm1(-t))
    for level in (0.5, 0.9, 0.99):
        assert first_reaching(cdf, level, 2.0) == pytest.approx(-math.log1p(-level), rel=1e-11)
    assert len(asked) <= 48


def test_a_level_is_interpolated_in_fewer():
    asked, cdf = counted(lambda t: -math.expm1(-t) - math.exp(-t) * (t + t * t / 2.0))  # Erlang of three phases
    for level, place in ((0.5, 2.674060314), (0.9, 5.322320338), (0.999, 11.228867)):
        assert interpolated(cdf, level, {}, 1.0) == pytest.approx(place, rel=1e-6)
    assert len(asked) <= 26


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_interpolation_knows_no_unit(unit):
    plain = interpolated(lambda t: -math.expm1(-t), 0.95, {}, 1.0, still=1e-3)
    assert interpolated(lambda t: -math.expm1(-t / unit), 0.95, {}, unit, still=1e-3) == pytest.approx(
        unit * plain, rel=1e-9, abs=0.0
    )
