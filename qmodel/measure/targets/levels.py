"""Reading a cell's factor levels: which are known, which are whole numbers, in what range."""

from __future__ import annotations

from collections.abc import Mapping

from qmodel.errors import InputError, nearest
from qmodel.measure.targets.base import Levels


def check_factors(phase: str, levels: Levels, factors: Mapping[str, tuple[str, ...]]) -> None:
    """Raise InputError for a phase or a factor that the target does not have."""
    if phase not in factors:
        raise InputError("phase", f"'{phase}' is unknown", nearest(phase, list(factors)))
    for name in levels:
        if name not in factors[phase]:
            raise InputError(
                f"factor of phase {phase}", f"'{name}' is unknown", nearest(name, list(factors[phase]))
            )


def whole(levels: Levels, name: str, default: int, low: int = 1, high: int | None = None) -> int:
    """The level of a factor as a whole number in [low, high].

    >>> whole({"steps": 4.0}, "steps", 16)
    4
    >>> whole({}, "steps", 16)
    16
    """
    level = levels.get(name, default)
    wanted = f"use a whole number from {low}" + (" up" if high is None else f" to {high}")
    if isinstance(level, bool | str) or not float(level).is_integer():
        raise InputError(name, f"{level!r} is not a whole number", wanted)
    if level < low or (high is not None and level > high):
        raise InputError(name, f"{level} is out of range", wanted)
    return int(level)
