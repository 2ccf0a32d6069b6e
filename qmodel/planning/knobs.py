"""Knobs: the fields of a scenario that a controller may turn, and between which values. It touches no others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qmodel.errors import InputError

Values = tuple[float | int, ...]
Point = tuple[float, ...]
DECADE = 10.0
"""A range whose ends are above 0 and so many times apart is turned in proportion, not in equal steps."""


@dataclass(frozen=True)
class Knob:
    """A dotted field of the scenario with its range; whole numbers where both ends are written as such.

    A place on it is a number from 0 (low) to 1 (high).

    >>> Knob("system.max_batch", 1, 256).value(0.5), Knob("transform.0.fraction", 0.5, 1.0).value(0.5)
    (16, 0.75)
    """

    path: str
    low: float | int
    high: float | int

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def proportional(self) -> bool:
        """Whether equal steps are equal ratios."""
        return self.low > 0 and self.high / self.low >= DECADE

    def value(self, place: float) -> float | int:
        """The value at a place."""
        place = min(1.0, max(0.0, place))
        if self.proportional:
            found = math.exp(math.log(self.low) + place * math.log(self.high / self.low))
        else:
            found = self.low + place * (self.high - self.low)
        return round(found) if self.whole else min(max(found, self.low), self.high)

    def place(self, value: float) -> float:
        """The place of a value; outside the range, the nearer end."""
        if self.proportional:
            found = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            found = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, found))


def parse_knob(text: str) -> Knob:
    """A knob from `PATH=LOW..HIGH`. Raises InputError.

    >>> parse_knob("system.max_batch=1..256")
    Knob(path='system.max_batch', low=1, high=256)
    """
    place = f"--knob {text}"
    path, sign, span = text.partition("=")
    first, dots, last = span.partition("..")
    if not (path and sign and dots):
        raise InputError(place, "is no PATH=LOW..HIGH", "e.g. --knob system.max_batch=1..256")
    low, high = _number(first, place), _number(last, place)
    if not low < high:
        raise InputError(place, f"{first} is not below {last}", "give the lower end first")
    return Knob(path, low, high)


def _number(text: str, place: str) -> float | int:
    try:
        value = int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    except ValueError as error:
        raise InputError(place, f"{text!r} is no number", "e.g. --knob system.max_batch=1..256") from error
    if not math.isfinite(value):
        raise InputError(place, f"{text} is not finite", "give finite ends")
    return value


def values_at(knobs: Sequence[Knob], point: Sequence[float]) -> Values:
    """The values at a point of the unit cube, one coordinate a knob."""
    return tuple(knob.value(place) for knob, place in zip(knobs, point, strict=True))


def snapped(knobs: Sequence[Knob], point: Sequence[float]) -> Point:
    """The point at which the values that a point stands for lie."""
    values = values_at(knobs, point)
    return tuple(knob.place(value) for knob, value in zip(knobs, values, strict=True))


def lattice(knobs: Sequence[Knob], most: int) -> list[Point]:
    """Points on a regular grid, at most so many, each standing for other values; at least the two ends of each."""
    each = max(2, math.floor(most ** (1.0 / len(knobs)) + 1e-9))
    axes = [np.linspace(0.0, 1.0, each).tolist() for _ in knobs]
    return list(dict.fromkeys(snapped(knobs, point) for point in itertools.product(*axes)))
