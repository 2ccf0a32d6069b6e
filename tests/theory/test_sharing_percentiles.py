"""Percentiles of laws that share a server: read off, or searched."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from qmodel.theory.one_server.sharing_any_law import AnySharedServer
from qmodel.theory.one_server.sharing_percentiles import SharedServerLaw
from qmodel.theory.one_server.sharing_phases import PointMasses
from qmodel.workload import Deterministic, Exponential, Gamma, Lognormal, Uniform

UNIT = Exponential(1.0)
LEVELS = (1.0, 30.0, 50.0, 90.0, 99.0, 99.9)


@dataclass
class RoughServer:
    """P(T <= t) = 1 - exp(-t), with an error that halves as the terms double."""

    rough: float
    size: object = UNIT
    load: float = 0.5
    most_terms: int = 640
    error: float = 0.0
    others: tuple = ()
    atoms: tuple = (np.empty(0), np.empty(0))
    values: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def times(self, terms):
        return [t for t, known in self.asked if known == terms]

    def probability(self, law, t, terms):
        self.asked.append((t, terms))
        return -math.expm1(-t / law.mean) + self.rough * math.exp(-t / law.mean) * t / terms


def law_of(server, own=UNIT):
    return SharedServerLaw([(1.0, own)], server)


@pytest.mark.parametrize("own", [UNIT, Exponential(3.0)])
def test_read_off(own):
    found = law_of(RoughServer(0.0), own)
    for percent in LEVELS:
        t = found.percentile(percent)
        assert -math.expm1(-t / own.mean) == pytest.approx(percent / 100, abs=3e-6, rel=1e-5)
    assert found.error <= 1e-6


def test_terms_are_doubled_until_the_values_stand():
    found = law_of(RoughServer(4e-3))
    t = found.percentile(90.0)
    assert {terms for _, terms in found.server.asked} >= {20, 40, 80}
    assert -math.expm1(-t) == pytest.approx(0.9, abs=5e-5)
    assert found.error > 1e-6


def test_a_change_that_is_felt_is_looked_at_next_to_the_percentile():
    """One known from the median is not enough for the 90th percentile."""
    found = law_of(RoughServer(2e-4))
    t = {percent: found.percentile(percent) for percent in (50.0, 90.0)}
    assert min(abs(math.log(t[90.0] / each)) for each in found.server.times(40)) < 0.3
    assert -math.expm1(-t[90.0]) == pytest.approx(0.9, abs=1e-5)


def test_what_other_laws_asked_for_is_asked_for_once():
    """Three classes and all requests: hardly more times than for one."""
    laws = [Lognormal(mean, 4.0) for mean in (1.0, 2.0, 0.5)]
    server = AnySharedServer(0.8, laws[0], tuple(laws))
    classes = [law_of(server, own) for own in laws]
    together = classes[0].together([0.3, 0.3, 0.4], classes)
    for each in [*classes, together]:
        for percent in (50.0, 90.0, 95.0, 99.0, 99.9):
            assert each.cdf(each.percentile(percent)) == pytest.approx(percent / 100, abs=5e-6)
    assert len(server.values) == 3


@pytest.mark.parametrize("size", [Uniform(0.5, 1.5), Gamma(1.0, 0.001)], ids=["uniform", "all but constant"])
def test_laws_that_bend_are_searched(size):
    found = law_of(AnySharedServer(0.1, size, (size,)), size)
    for percent in (5.0, 50.0, 95.0):
        assert found.cdf(found.percentile(percent)) == pytest.approx(percent / 100, abs=3e-5)


def test_jumps_are_found():
    own = Deterministic(0.5)
    found = law_of(AnySharedServer(0.2, UNIT, (own,)), own)
    assert found.percentile(60.0) == pytest.approx(0.5, rel=1e-6)


def test_point_masses_on_average():
    """V(x) = n x where t/x is large: the mean of the mass up to t over a span of x."""
    x = np.array([0.01, 0.4])
    masses = PointMasses.of(0.9, 0.9, np.array([0.01, 0.4]), x)
    shifts = (np.arange(400) + 0.5) / 400 - 0.5
    mean = np.mean([masses.upto(1.0 + 0.01 * shift)[0] for shift in shifts])
    found = masses.upto_on_average(1.0, 40)
    assert found[0] == pytest.approx(mean, rel=1e-3)
    assert found[1] == masses.upto(1.0)[1]


def test_many_multiples_of_small_sizes_make_no_steps():
    """Half of the sizes are below 1e-5 there; P(T <= t) is smooth in log t."""
    size = Gamma(1.0, 20.0)
    server = AnySharedServer(0.95, size, (size,))
    found = [server.probability(size, float(t), 20) for t in np.geomspace(1e-4, 1.6e-4, 9)]
    steps = np.diff(found)
    assert steps.min() > 0.97 * steps.max()
