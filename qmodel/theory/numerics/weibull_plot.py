"""Percentiles read off a few known probabilities on a Weibull plot: log(-log P(T > t)) against log t.

There the smooth laws of response times are nearly straight over their whole range, so that a polynomial through a
few points meets what lies between them to 1e-6 and better. Source: Newton's interpolation by divided differences,
nearest points first, whose last terms tell the error (Stoer & Bulirsch, *Introduction to Numerical Analysis*
(2002), section 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

MOST_POINTS, FEWEST = 9, 4
"""Points that a reading goes through."""
APART = 0.02
"""Points nearer than this in log t to one that is taken are not: rounding would show."""
BEFORE_LAST = 0.5
"""Share of the last but one term that counts as error as well."""
ONWARD, LONGEST = 0.08, 4.0
"""How far past the goal, and past the last point in log t, a step outside the known points leads."""
BESIDE, SPACED = (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 0.2, -0.2, 0.1, -0.1), (0.25,) * 7 + (0.09,) * 4
"""Distances in log t at which one more point helps a reading, in turn, and what it keeps from the others."""
STEPS, EVEN = 60, 1e-12


@dataclass(frozen=True)
class Reading:
    """The time at which the level is reached, and the estimated error in probability there."""

    t: float
    error: float


def plotted(p: float) -> float:
    """log(-log(1 - p)).

    >>> round(plotted(1.0 - math.exp(-1.0)), 12)
    0.0
    """
    return math.log(-math.log1p(-p))


def reading(known: Mapping[float, float], level: float) -> Reading | None:
    """The time at which P(T <= t) reaches `level`, from known values of it; an infinite error outside them.

    None where the known values cannot be plotted: none between 0 and 1, or not increasing.

    >>> exact = {t: -math.expm1(-(t**0.8)) for t in (0.1, 0.3, 1.0, 3.0, 7.0, 12.0)}
    >>> found = reading(exact, 0.5)
    >>> found.error < 1e-12, round(found.t, 9) == round(math.log(2.0) ** 1.25, 9)
    (True, True)
    """
    points = [(math.log(t), plotted(p)) for t, p in sorted(known.items()) if t > 0 and 0.0 < p < 1.0]
    if not points or any(b[1] <= a[1] for a, b in pairwise(points)):
        return None
    goal = plotted(level)
    place = sum(g < goal for _, g in points)
    if place in (0, len(points)):
        return Reading(math.exp(_outside(points, goal)), math.inf)
    (low, below), (high, above) = points[place - 1], points[place]
    guess = low + (high - low) * (goal - below) / (above - below)
    taken = _near(points, guess)
    newton = _divided(taken)
    u = _where(taken, newton, goal, low, high)
    if u is None or len(taken) < FEWEST:
        return Reading(math.exp(guess), math.inf)
    steepness = -(1.0 - level) * math.log1p(-level)
    return Reading(math.exp(u), steepness * _doubt(taken, newton, u))


def one_more(known: Iterable[float], t: float) -> float | None:
    """A time at which one more probability improves the reading at t: there, or beside it; None if all are known.

    >>> one_more([1.0, 9.0], 2.0), round(math.log(one_more([1.0, 9.0], 1.1) / 1.1), 9)
    (2.0, 0.5)
    """
    places = [math.log(each) for each in known if each > 0]
    for away, spaced in zip(BESIDE, SPACED, strict=True):
        if all(abs(math.log(t) + away - place) >= spaced for place in places):
            return t * math.exp(away)
    return None


def _outside(points: list[tuple[float, float]], goal: float) -> float:
    """A little past where the line through the two points at this end meets the goal."""
    first = goal <= points[0][1]
    at, value = points[0] if first else points[-1]
    slope = 1.0
    if len(points) > 1:
        other = points[1] if first else points[-2]
        slope = (other[1] - value) / (other[0] - at)
    away = (goal - value + math.copysign(ONWARD, goal - value)) / slope
    return at + max(-LONGEST, min(LONGEST, away))


def _near(points: list[tuple[float, float]], u: float) -> list[tuple[float, float]]:
    """The points nearest to u, nearest first, none too near to another."""
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: abs(point[0] - u)):
        if all(abs(point[0] - other[0]) >= APART for other in taken):
            taken.append(point)
    return taken[:MOST_POINTS]


def _divided(points: list[tuple[float, float]]) -> list[float]:
    """Newton's divided differences."""
    found = [value for _, value in points]
    for order in range(1, len(points)):
        for i in range(len(points) - 1, order - 1, -1):
            found[i] = (found[i] - found[i - 1]) / (points[i][0] - points[i - order][0])
    return found


def _value(points: list[tuple[float, float]], newton: list[float], u: float) -> float:
    found = newton[-1]
    for (at, _), difference in zip(reversed(points[:-1]), reversed(newton[:-1]), strict=True):
        found = found * (u - at) + difference
    return found


def _doubt(points: list[tuple[float, float]], newton: list[float], u: float) -> float:
    """The last term of the interpolation, and a share of the one before it."""
    product, terms = 1.0, [0.0]
    for (at, _), difference in zip(points, newton, strict=True):
        terms.append(difference * product)
        product *= u - at
    return abs(terms[-1]) + BEFORE_LAST * abs(terms[-2])


def _where(
    points: list[tuple[float, float]], newton: list[float], goal: float, low: float, high: float
) -> float | None:
    """Where the polynomial meets the goal between two points; None where it does not part them there."""
    at_low, at_high = (_value(points, newton, u) - goal for u in (low, high))
    if not at_low <= 0.0 <= at_high:
        return None
    middle = low
    for _ in range(STEPS):
        middle = low + (high - low) * at_low / (at_low - at_high) if at_high > at_low else low
        gap = _value(points, newton, middle) - goal
        if abs(gap) <= EVEN or high - low <= EVEN:
            break
        if gap < 0.0:
            low, at_low, at_high = middle, gap, 0.5 * at_high
        else:
            high, at_low, at_high = middle, 0.5 * at_low, gap
    return middle
