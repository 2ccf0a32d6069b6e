"""E[min(S, x)] and its square, both at once, are those of `limited_moment`."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.theory.numerics.limited_moments import first_two_limited
from qmodel.workload import (
    Deterministic,
    Discrete,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
)
from qmodel.workload.partial import limited_moment

LAWS = (
    Exponential(2.0),
    Hyperexponential(1.0, 20.0),
    Lognormal(1.0, 4.0),
    Weibull(1.0, 5.0),
    Gamma(1.0, 0.3),
    Uniform(0.2, 1.8),
    Pareto(1.0, 2.5),
    Deterministic(1.5),
    Discrete((0.0, 0.5, 3.0), (0.2, 0.5, 0.3)),
    Lognormal(1.0, 4.0).scaled(2.0),
    Exponential(1.0).shifted(0.5),
    Mixture((0.0, 0.25, 0.75), (Exponential(9.0), Deterministic(1.0), Hyperexponential(2.0, 4.0))),
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_both_are_those_of_one_at_a_time(law):
    x = np.array([0.0, 1e-3, 0.4, 0.5, 1.0, 1.5, 2.0, 7.0, 300.0, 1e5, np.inf])
    for k, found in zip((1, 2), first_two_limited(law, x), strict=True):
        assert found.tolist() == pytest.approx(limited_moment(law, k, x).tolist(), rel=1e-9)
        assert found[-1] == pytest.approx(law.moment(k), rel=1e-12)
