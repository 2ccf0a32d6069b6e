"""The smallest time at which a distribution function reaches a level: bracketing, no derivative, jumps allowed."""

from __future__ import annotations

from collections.abc import Callable

TOLERANCE = 1e-11
"""Relative width at which the bracket of a percentile is closed."""


def first_reaching(
    cdf: Callable[[float], float], level: float, start: float, tolerance: float = TOLERANCE
) -> float:
    """Smallest t >= 0 with cdf(t) >= level, for a non-decreasing cdf; `start` > 0 sets the scale.

    >>> import math
    >>> round(first_reaching(lambda t: 1 - math.exp(-t), 0.5, 1.0), 9) == round(math.log(2), 9)
    True
    >>> round(first_reaching(lambda t: float(t >= 3), 0.5, 1.0), 9)
    3.0
    """
    low, high = 0.0, start
    at_low, at_high = cdf(low) - level, cdf(high) - level
    if at_low >= 0:
        return 0.0
    while at_high < 0:
        low, at_low, high = high, at_high, 2.0 * high
        at_high = cdf(high) - level
    return _close(lambda t: cdf(t) - level, low, at_low, high, at_high, tolerance)


def _close(
    gap: Callable[[float], float], low: float, at_low: float, high: float, at_high: float, tolerance: float
) -> float:
    """Regula falsi with the Anderson-Bjorck weights; a bisection whenever the bracket fails to halve."""
    weight_low, weight_high = at_low, at_high
    width = high - low
    steps = 0
    while high - low > tolerance * high:
        steps += 1
        if weight_high > 0:
            middle = (low * weight_high - high * weight_low) / (weight_high - weight_low)
        else:  # the level is met exactly; it may have been met before
            middle = 0.5 * (low + high)
        margin = 0.25 * tolerance * high
        middle = min(max(middle, low + margin), high - margin)
        if steps % 3 == 0:
            if high - low > 0.5 * width:
                middle = 0.5 * (low + high)
            width = high - low
        value = gap(middle)
        if value >= 0:
            weight_low *= _shrink(value, weight_high)
            high, weight_high = middle, value
        else:
            weight_high *= _shrink(value, weight_low)
            low, weight_low = middle, value
    return high


def _shrink(value: float, before: float) -> float:
    """Factor for the weight of the end that stays."""
    factor = 1.0 - value / before if before else 0.0
    return factor if factor > 0 else 0.5
