"""min(S, most) against its definition."""

import math

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.workload import Discrete, Exponential, Geometric, Lognormal
from qmodel.workload.limited import Limited


@pytest.mark.parametrize("law", [Exponential(1.0), Lognormal(1.0, 4.0), Geometric(3.0)], ids=str)
def test_moments_against_the_tail(law):
    limited = Limited(law, 2.5)
    x = np.linspace(0, 2.5, 200_001)
    middle = 0.5 * (x[1:] + x[:-1])
    for k in (1, 2):
        by_tail = float((k * middle ** (k - 1) * law.sf(middle)).sum() * (x[1] - x[0]))
        assert limited.moment(k) == pytest.approx(by_tail, rel=1e-5)


def test_law_of_a_continuous_one():
    limited = Limited(Exponential(1.0), 2.0)
    top = math.exp(-2.0)
    assert limited.cdf([1.0, 2.0, 3.0]) == pytest.approx([1 - math.exp(-1), 1.0, 1.0], rel=1e-12)
    assert limited.sf([1.0, 2.0]) == pytest.approx([math.exp(-1), 0.0], rel=1e-12)
    assert limited.pdf([1.0, 2.0]) == pytest.approx([math.exp(-1), 0.0], rel=1e-12)
    assert limited.quantile([0.5, 0.95]) == pytest.approx([math.log(2), 2.0])
    assert limited.upper_quantile([0.5, 0.05]) == pytest.approx([math.log(2), 2.0])
    assert limited.atoms() == [(2.0, pytest.approx(top))] and limited.support() == (0.0, 2.0)
    exact = (1 - math.exp(-4.0)) / 2.0 + math.exp(-2.0) * top  # E[exp(-s min(S, 2))] at s = 1
    assert limited.lst(1.0) == pytest.approx(exact, abs=3e-4)


def test_law_of_a_discrete_one():
    limited = Limited(Discrete((1.0, 2.0, 7.0), (0.2, 0.3, 0.5)), 2.0)
    assert limited.atoms() == [(1.0, 0.2), (2.0, pytest.approx(0.8))]
    assert limited.lst(0.5) == pytest.approx(0.2 * math.exp(-0.5) + 0.8 * math.exp(-1.0), rel=1e-12)
    whole = Limited(Discrete((1.0, 2.0), (0.5, 0.5)), 9.0)
    assert whole.atoms() == [(1.0, 0.5), (2.0, 0.5)] and whole.support() == (1.0, 2.0)


def test_samples():
    drawn = Limited(Exponential(1.0), 0.5).sample(np.random.default_rng(1), 10_000)
    assert drawn.max() == 0.5 and (drawn == 0.5).mean() == pytest.approx(math.exp(-0.5), abs=0.02)


def test_refused():
    with pytest.raises(InputError, match="limited, most"):
        Limited(Exponential(1.0), 0.0)
