"""The numerical tools against the errors that their theory promises, and the work they may take."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.theory.numerics import euler
from qmodel.theory.numerics.inversion import InvertedLaw


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
    assert sum(asked) == 1024
