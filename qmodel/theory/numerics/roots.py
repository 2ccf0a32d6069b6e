"""The smallest time at which a distribution function reaches a level: bracketing, no derivative, jumps allowed."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-11
"""Relative width at which the bracket of a percentile is closed."""
A_SIDE = 3
"""Known points on each side of a root that an interpolation goes through."""
SMALL = 1e-4
"""Relative length of a last step whose own error, of second order, can be left."""
LONGEST_SEARCH = 12
"""Steps after which places of jumps are no longer tried."""


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
    return closing(lambda t: cdf(t) - level, low, at_low, high, at_high, tolerance)


def closing(
    gap: Callable[[float], float], low: float, at_low: float, high: float, at_high: float, tolerance: float
) -> float:
    """Smallest t where a non-decreasing gap, negative at `low` and not at `high`, is no longer negative.

    Regula falsi with the Anderson-Bjorck weights; a bisection whenever the bracket fails to halve.
    """
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


def interpolated(
    cdf: Callable[[float], float],
    level: float,
    seen: dict[float, float],
    start: float,
    jumps: Sequence[float] | NDArray[np.float64] = (),
    still: float = 1e-9,
    tolerance: float = 1e-8,
) -> float:
    """As `first_reaching` where a cdf takes milliseconds: inverse interpolation of log P(T > t), nearly straight.

    `seen` holds the values known so far, and those found here. Ends where log P(T > t) is within `still` of its
    goal, with one more step of interpolation, or where the bracket closed (at a jump; `jumps`, in order, are places
    where to expect one).

    >>> import math
    >>> round(interpolated(lambda t: 1 - math.exp(-t), 0.5, {}, 1.0), 8) == round(math.log(2), 8)
    True
    """
    goal = math.log1p(-level)
    points = {0.0: 0.0} | {t: _log_tail(p) for t, p in seen.items()}

    def look(t: float) -> float:
        seen[t] = cdf(t)
        points[t] = _log_tail(seen[t])
        return points[t]

    while min(points.values()) > goal:
        look(max(2.0 * max(points), start) if len(points) < 3 else _onward(points, goal))
    low = max(t for t, tail in points.items() if tail > goal)
    high = min(t for t, tail in points.items() if tail <= goal)
    steps, width, middle = 0, high - low, min((high, low), key=lambda t: abs(points[t] - goal))
    while high - low > tolerance * high:
        away = _away(points, goal, middle)
        if abs(points[middle] - goal) <= still and away <= SMALL * middle:
            # where known points crowd, what is interpolated through them may lead astray
            return min(max(_between(points, goal, low, high, tolerance), middle - 2.0 * away), middle + 2.0 * away)
        steps += 1
        place = bisect.bisect_right(jumps, low * (1 + tolerance))
        jump = jumps[place] if place < len(jumps) and steps > 3 else math.inf
        if jump <= high and steps < LONGEST_SEARCH:
            middle = float(jump) if jump < high else high * (1 - 0.5 * tolerance)
        elif steps % 3 == 0 and high - low > 0.25 * width:
            middle = 0.5 * (low + high)
        else:
            middle = _between(points, goal, low, high, tolerance)
        if steps % 3 == 0:
            width = high - low
        low, high = (middle, high) if look(middle) > goal else (low, middle)
    return high


def _log_tail(p: float) -> float:
    return math.log(max(1.0 - p, 1e-300))


def _away(points: dict[float, float], goal: float, t: float) -> float:
    """How far from t the goal may be, by the gentler of the slopes to the points beside it."""
    beside = [max((p for p in points if p < t), default=t), min((p for p in points if p > t), default=t)]
    slopes = [abs((points[p] - points[t]) / (p - t)) for p in beside if p != t]
    gentle = min(slopes, default=0.0)
    return abs(points[t] - goal) / gentle if gentle else math.inf


def _onward(points: dict[float, float], goal: float) -> float:
    """Past the farthest point, along the line through the last two, a little beyond where it meets the goal."""
    before, last = sorted(points)[-2:]
    slope = (points[last] - points[before]) / (last - before)
    ahead = (goal - points[last]) / slope if slope < 0 else math.inf
    return last + min(max(1.05 * ahead, 0.05 * last), 3.0 * last)


def _between(points: dict[float, float], goal: float, low: float, high: float, tolerance: float) -> float:
    """Lagrange's inverse interpolation through the nearest points on both sides, kept inside the bracket."""
    below = sorted((t for t in points if t <= low), reverse=True)[:A_SIDE]
    above = sorted(t for t in points if t >= high)[:A_SIDE]
    near = [*below, *above]
    tails = [points[t] for t in near]
    margin = 0.1 * tolerance * high
    guess = math.nan
    if len(set(tails)) == len(tails):
        guess = sum(
            t * math.prod((goal - b) / (a - b) for j, b in enumerate(tails) if j != i)
            for i, (t, a) in enumerate(zip(near, tails, strict=True))
        )
    if not low < guess < high:
        a, b = points[low], points[high]
        guess = low + (high - low) * (goal - a) / (b - a)
    return min(max(guess, low + margin), high - margin)
