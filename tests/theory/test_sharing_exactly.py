"""Processor sharing of mixtures: second moments part by part, and which laws are inverted at all."""

from __future__ import annotations

import pytest

from qmodel.theory.one_server.processor_sharing import MOST_COMPONENTS, quickly_inverted, second_moment
from qmodel.workload import Discrete, Gamma, Lognormal, Mixture


def test_the_second_moment_of_a_mixture_is_that_of_its_parts():
    small, large = Gamma(0.05, 0.5), Gamma(4.0, 0.25)
    size = Mixture((0.8, 0.2), (small, large))
    rate = 0.7 / size.mean
    parts = [second_moment(part, rate, size) for part in (small, large)]
    assert second_moment(size, rate, size) == pytest.approx(0.8 * parts[0] + 0.2 * parts[1], rel=1e-6)


def components(count):
    return Mixture((1.0 / count,) * count, tuple(Gamma(1.0 + k, 0.5) for k in range(count)))


def values(count):
    return Discrete(tuple(range(1, count + 1)), (1.0 / count,) * count)


@pytest.mark.parametrize("law", [components, values])
def test_only_laws_of_few_components_are_inverted_twice(law):
    assert quickly_inverted(law(MOST_COMPONENTS))
    assert not quickly_inverted(law(MOST_COMPONENTS + 1))


def test_only_laws_of_closed_transforms_are_inverted_twice():
    assert not quickly_inverted(Lognormal(1.0, 1.0))
