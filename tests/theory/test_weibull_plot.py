"""Percentiles read off a few known probabilities."""

import math

import pytest

from qmodel.theory.numerics.weibull_plot import one_more, plotted, reading


def exponentials(t):
    return 0.7 * -math.expm1(-t) + 0.3 * -math.expm1(-t / 20.0)


def known(times, cdf=exponentials):
    return {t: cdf(t) for t in times}


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.99])
def test_few_points_tell_what_lies_between_them_and_how_well(level):
    found = reading(known([0.05 * 1.9**k for k in range(13)]), level)
    assert abs(exponentials(found.t) - level) < 2.0 * found.error < 1e-3


def test_more_points_tell_more():
    few, many = (reading(known([0.1 * ratio**k for k in range(n)]), 0.8) for ratio, n in ((3.0, 7), (1.4, 20)))
    assert many.error < 0.2 * few.error
    assert exponentials(many.t) == pytest.approx(0.8, abs=5e-6)


def test_outside_the_known_points_the_reading_is_a_guess_a_little_beyond():
    found = reading(known([1.0, 2.0]), 0.9)
    assert math.isinf(found.error) and found.t > 2.0
    found = reading(known([0.5], lambda t: -math.expm1(-t)), 0.2)
    assert math.isinf(found.error) and -math.expm1(-found.t) == pytest.approx(0.2, rel=0.1)
    assert -math.expm1(-found.t) < 0.2


def test_a_step_outside_is_never_long():
    assert reading(known([1.0], lambda t: 1e-9), 0.5).t == pytest.approx(math.exp(4.0))


def test_what_cannot_be_plotted():
    assert reading({}, 0.5) is None
    assert reading({1.0: 0.0, 2.0: 1.0}, 0.5) is None
    assert reading({1.0: 0.6, 2.0: 0.6}, 0.5) is None


def test_too_few_points_are_a_guess():
    found = reading(known([1.0, 3.0]), 0.6)
    assert math.isinf(found.error) and 1.0 < found.t < 3.0


def test_points_too_near_to_one_another_are_left_out():
    spread = known([0.3, 0.7, 1.5, 3.0, 6.0])
    assert reading(spread | known([1.5001]), 0.5).t == pytest.approx(reading(spread, 0.5).t, rel=0.05)


def test_a_polynomial_that_does_not_part_its_bracket_is_no_reading():
    """A point within rounding of another is known, but not gone through: between the two there is none."""
    points = known([0.3, 0.7, 1.5, 3.0]) | {1.502: exponentials(1.5) + 0.01}
    found = reading(points, exponentials(1.5) + 0.009)
    assert math.isinf(found.error) and 1.5 < found.t < 1.502


def test_one_more_point_is_where_none_is():
    assert one_more([0.5, 4.0], 1.0) == 1.0
    assert one_more([1.0], 1.1) == pytest.approx(1.1 * math.exp(0.5))
    assert one_more([math.exp(0.1 * k) for k in range(-30, 30)], 1.1) is None


def test_plotted():
    assert plotted(-math.expm1(-math.e)) == pytest.approx(1.0)
