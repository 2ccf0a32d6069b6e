"""Percentiles read off times that laws share: with and without a finer look, and where nothing can be read."""

import itertools
import math

import numpy as np
import pytest

from qmodel.policy import LAS, MLFQ, SJF
from qmodel.theory.numerics.read_law import ReadLaw
from qmodel.theory.size_order.size_law import laws_by_size
from qmodel.theory.size_order.sizes_upto import marks_of
from qmodel.workload import Exponential, Gamma, Lognormal, Uniform

UNIT = Exponential(mean=1.0)


class Known(ReadLaw):
    """P(T <= t) = cdf(t) + error(t) / terms^2, of which every value is written down."""

    def __init__(self, cdf, error=lambda t: 0.0, most=64, times=(), twice=()):
        super().__init__([(1.0, UNIT)], 0.5, most)
        self.asked, self._cdf, self._off, self._times, self._twice = [], cdf, error, times, twice

    def _value(self, t, terms):
        self.asked.append((t, terms))
        return self._cdf(t) + self._off(t) / terms**2

    def _jumps(self):
        return np.empty(0)

    def _known_times(self):
        return list(self._times)

    def _checked_times(self):
        return self._twice

    @property
    def _is_smooth(self):
        return True


def weibull(t):
    return -math.expm1(-(t**0.7))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_a_level_is_read_off_and_checked(level):
    law = Known(weibull)
    assert law.percentile(100.0 * level) == pytest.approx((-math.log1p(-level)) ** (1 / 0.7), rel=1e-5)
    assert {terms for _, terms in law.asked} == {20, 40} and law.error <= 3e-6


def test_a_change_on_doubling_is_taken_back():
    """With 20 terms off by 1e-5, with 40 by a quarter of it, which is left."""
    law = Known(weibull, lambda t: 4e-3)
    found = weibull(law.percentile(90.0))
    assert found == pytest.approx(0.9 - 2.5e-6, abs=4e-7)


def test_terms_double_until_the_law_stands():
    law = Known(weibull, lambda t: 0.1)
    assert weibull(law.percentile(90.0)) == pytest.approx(0.9, abs=3.5e-5)
    assert max(terms for _, terms in law.asked) == 80


def test_a_look_that_another_law_took_does_for_this_one():
    times = np.geomspace(0.1, 30.0, 20).tolist()
    near, next_to = (min(times, key=lambda t: abs(math.log(t / at))) for at in (1.5, 2.3))
    shared = Known(weibull, times=times, twice=[near])
    alone = Known(weibull, times=times)
    for law in (shared, alone):
        law.percentile(100.0 * weibull(2.3))
    checked = [[t for t, terms in law.asked if terms == 40] for law in (shared, alone)]
    assert checked == [[near], [next_to]] and near != next_to


def test_what_cannot_be_read_off_is_searched():
    """A level beyond those that are read, a law with a step, and one that is known nowhere but where it is flat."""
    assert Known(weibull).percentile(99.99) == pytest.approx((-math.log(1e-4)) ** (1 / 0.7), rel=1e-4)
    step = Known(lambda t: 0.5 * weibull(t) + 0.5 * (t >= 2.0))
    assert step.percentile(60.0) == pytest.approx(2.0, rel=1e-6)
    flat = Known(lambda t: 0.3 if t < 5.0 else weibull(t), times=(1.0, 2.0, 3.0))
    assert flat.percentile(80.0) == pytest.approx(5.0, rel=1e-6)


def test_only_spread_out_sizes_without_levels_are_read_off():
    def smooth(policy, law):
        return laws_by_size(policy, 0.5, law, [law])[0]._is_smooth

    assert smooth(SJF(), UNIT) and smooth(LAS(), Lognormal(1.0, 4.0))
    assert not any(smooth(SJF(), law) for law in (Uniform(0.0, 2.0), Gamma(1.0, 0.1), UNIT.shifted(1.0)))
    assert not smooth(MLFQ(thresholds=(1.0,)), UNIT)


def test_components_of_one_width_share_their_panels():
    one = marks_of([UNIT])
    three = marks_of([UNIT, UNIT.scaled(2.0), UNIT.scaled(0.5)])
    assert len(one) == 12 and len(three) < 2 * len(one)
    assert min(three) == pytest.approx(0.5 * min(one)) and max(three) == pytest.approx(2.0 * max(one))
    logs = np.log(sorted(three))
    own = np.log(sorted(one))
    for shift in (0.0, math.log(2.0), -math.log(2.0)):
        for begin, end in itertools.pairwise(logs):
            met = (own[1:] + shift > begin + 1e-9) & (own[:-1] + shift < end - 1e-9)
            assert end - begin <= np.diff(own)[met].min(initial=math.inf) * (1 + 1e-6)


def test_ends_of_support_stay_ends_of_panels():
    assert {0.5, 1.5, 0.9, 1.1} <= marks_of([Uniform(0.5, 1.5), Uniform(0.9, 1.1), UNIT])
