"""The Gittins rank: closed cases, brute force, and the policy that carries it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.policy import Gittins, Request
from qmodel.policy.gittins_index import _level_where_same, gittins_table
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Erlang,
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


def class_of(name, law, rate=1.0, weight=1.0, priority=0):
    return SimpleNamespace(name=name, rate=rate, weight=weight, priority=priority, size=law)


def brute_force(law, age, ends):
    """The definition, over many stopping ages."""
    left, served = float(law.sf(age)), limited_moment(law, 1, ends) - float(limited_moment(law, 1, age))
    done = left - law.sf(ends)
    held = done > 1e-9 * left
    return float((served[held] / done[held]).min())


@pytest.mark.parametrize("age", [0.0, 0.3, 1.0, 5.0, 40.0])
def test_an_exponential_never_changes(age):
    assert gittins_table(Exponential(3.0)).at(age) == pytest.approx(3.0, rel=1e-12)


def test_closed_cases():
    uniform, constant, two = (
        gittins_table(Uniform(0.0, 2.0)),
        gittins_table(Deterministic(2.0)),
        gittins_table(Discrete((1.0, 10.0), (0.8, 0.2))),
    )
    for age in (0.0, 0.25, 0.7):
        assert uniform.at(age) == pytest.approx((2.0 - age) / 2.0, rel=1e-9)
        assert constant.at(age) == pytest.approx(2.0 - age, rel=1e-12)
        assert two.at(age) == pytest.approx((1.0 - age) / 0.8, rel=1e-12)
    assert [two.at(age) for age in (1.0, 4.0, 9.5)] == pytest.approx([9.0, 6.0, 0.5], rel=1e-12)


@pytest.mark.parametrize("law", [Hyperexponential(1.0, 4.0), Gamma(1.0, 3.0), Weibull(1.0, 4.0)], ids=repr)
def test_a_falling_hazard_gives_its_reciprocal(law):
    table = gittins_table(law)
    assert table.rises and not table.falls
    for age in table.start[5:-40:7]:
        assert table.at(float(age)) == pytest.approx(float(law.sf(age) / law.pdf(age)), rel=1e-6)


@pytest.mark.parametrize(
    "law", [Erlang(4, 1.0), Weibull(1.0, 0.3), Uniform(1.0, 2.0), Deterministic(1.0)], ids=repr
)
def test_a_rising_hazard_is_first_come_first_served(law):
    table = gittins_table(law)
    assert table.falls and not table.rises
    assert table.at(0.0) == pytest.approx(law.mean, rel=1e-9)


LAWS = {
    "lognormal": Lognormal(1.0, 2.0),
    "nearly even lognormal": Lognormal(1.0, 0.3),
    "bounded Pareto": BoundedPareto(0.2, 100.0, 1.5),
    "two humps": Mixture((0.7, 0.3), (Uniform(0.0, 1.0), Uniform(3.0, 5.0))),
    "shifted and scaled": Mixture((0.5, 0.5), (Lognormal(1.0, 1.0).shifted(0.5), Gamma(2.0, 0.1).scaled(1.5))),
    "with a point mass": Mixture((0.5, 0.5), (Exponential(1.0), Deterministic(1.5))),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_against_the_definition(law):
    table = gittins_table(law)
    far = float(law.upper_quantile(1e-12))
    for age in (0.0, 0.1, 0.45, 1.2, 2.5, 4.4):
        if float(law.sf(age)) == 0:
            continue
        ends = np.unique(np.concatenate([age + np.geomspace(1e-6, far, 20_000), [1.5, 1.5 * (1 + 1e-12)]]))
        expected = brute_force(law, age, ends[ends > age * (1 + 1e-9)])
        assert table.at(age) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("factor", [1.0, 3.979708654382989e-4, 1e-9 / 7.0, 1e6 / 3.0])
def test_ages_that_rounding_hardly_tells_apart_have_the_rank_of_their_place(factor):
    """Right after the least size, where quantiles of 1e-12 are next to equal: an exponential rest has one rank."""
    table = gittins_table(Exponential(0.5).shifted(0.5).scaled(factor))
    after = table.start > 0.5 * factor * (1 + 1e-13)
    assert np.diff(table.start[after]).min() < 1e-11 * factor
    assert table.first[after] == pytest.approx(0.5 * factor, rel=1e-9)
    assert table.last[after] == pytest.approx(0.5 * factor, rel=1e-9)


def test_a_density_without_bound_after_the_least_size_keeps_its_rank():
    """At the same places the reciprocal of a hazard that falls from infinity."""
    law = Gamma(1.0, 5.0)
    table = gittins_table(law.shifted(0.5))
    ages = table.start - 0.5
    near = (ages > 1e-8) & (ages < 1e-3)
    assert near.sum() > 5
    assert table.first[near] == pytest.approx(law.sf(ages[near]) / law.pdf(ages[near]), rel=2e-4)


def test_ranks_that_rounding_sets_apart_are_made_one():
    """At the first piece, within, where a level begins and at the last; ranks without end become the largest."""
    near = 1.0 + 4e-11
    first, last = np.array([1.0, 3.0, 2.0, 2.0]), np.array([near, 2.0, 2.0 * near, 2.0 * near])
    level = _level_where_same(np.arange(4.0), np.arange(1.0, 5.0), first, last)
    assert level.first.tolist() == [1.0, 3.0, 2.0, 2.0] and level.last.tolist() == [1.0, 2.0, 2.0, 2.0]
    there = np.arange(2.0), np.arange(1.0, 3.0)
    endless = _level_where_same(*there, np.array([1.0, np.inf]), np.array([5.0, np.inf]))
    assert endless.first.tolist() == [1.0, 5.0] and endless.last.tolist() == [5.0, 5.0]
    small = _level_where_same(*there, np.array([0.25, 0.5]), np.array([np.inf, np.inf]))
    assert small.last.tolist() == [0.5, 0.5]
    apart = _level_where_same(*there, np.array([1e12, 2.0]), np.array([1.0, 3.0]))
    assert apart.first.tolist() == [1e12, 2.0] and apart.last.tolist() == [1.0, 3.0]


def test_a_rank_that_rises_goes_on_rising():
    """Pareto: age / alpha, far beyond the table too."""
    table = gittins_table(Pareto(1.0, 1.5))
    assert table.at(1e15) == pytest.approx(1e15 / 1.5, rel=1e-3)
    assert 0.0 <= gittins_table(Uniform(0.0, 2.0)).at(3.0) < 1e-9


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 20.0), st.floats(0.1, 5.0), st.floats(1e-3, 1e3))
def test_a_scaled_law_has_the_scaled_rank(scv, age, factor):
    law = Lognormal(1.0, scv)
    scaled = gittins_table(Lognormal(factor, scv))
    assert scaled.at(factor * age) == pytest.approx(factor * gittins_table(law).at(age), rel=1e-6)


class TestPolicy:
    def test_it_must_know_the_laws(self):
        with pytest.raises(InputError, match="knows no law of sizes yet"):
            Gittins().rank(Request(0.0, 1.0, 1.0, class_name="a"), 0.0)

    def test_laws_by_class_and_together(self):
        classes = [class_of("a", Deterministic(1.0)), class_of("b", Deterministic(10.0), rate=0.25)]
        a, b = (Request(0.0, 1.0, 1.0, class_name=name) for name in "ab")
        apart, together = Gittins().bound(classes), Gittins(by_class=False).bound(classes)
        assert (apart.rank(a, 0.0), apart.rank(b, 1.0)) == pytest.approx((1.0, 9.0))
        assert together.rank(a, 0.0) == together.rank(b, 0.0) == pytest.approx(1.25)

    def test_weights_divide_the_rank(self):
        policy = Gittins(weighted=True).bound([class_of("a", Exponential(2.0), weight=4.0)])
        assert policy.rank(Request(0.0, 1.0, 1.0, class_name="a"), 3.0) == pytest.approx(0.5)

    def test_binding_does_not_change_what_was_asked(self):
        bound = Gittins().bound([class_of("a", Exponential(1.0))])
        assert bound == Gittins() and hash(bound) == hash(Gittins())
        assert bound.spelled_options == {"by_class": True, "weighted": False}
        assert repr(bound) == "Gittins(by_class=True, weighted=False)"


def test_an_unbounded_expected_rest_is_a_large_rank():
    """The lowest 1e-13 of a Pareto are all alike; nothing is infinite or not a number."""
    table = gittins_table(Pareto(1.0, 1.01))
    ranks = np.concatenate((table.first, table.last))
    assert np.isfinite(ranks).all() and (ranks >= 0).all() and not math.isnan(table.at(1e6))
