"""Which levels a factor may take, and how levels are written in files and on command lines."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from qmodel.errors import InputError
from qmodel.measure.rows import RESERVED_COLUMNS
from qmodel.measure.targets.base import Level

COUNT_FACTORS = frozenset({"batch_size", "steps", "input_tokens", "output_tokens", "context_tokens", "exit_layer"})
"""Factors that count something: whole numbers from 1."""


def check_factor(place: str, name: str, levels: Any) -> None:
    """Refuse what cannot be a factor; `place` names file and phase, for the message."""
    place = f"{place}, factor {name}"
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise InputError(place, "is not a name", "use letters, digits and underscores")
    if name in RESERVED_COLUMNS:
        raise InputError(place, "is the name of a column that every measurement has", "rename the factor")
    if not isinstance(levels, list):
        raise InputError(place, f"is {levels!r}, not a list of levels", f"write {name} = [{_toml(levels)}]")
    if not levels:
        raise InputError(place, "has no levels", "give at least one, two or more for a fit")
    for level in levels:
        _check_level(place, name, level)
    _check_together(place, levels)


def _check_level(place: str, name: str, level: Any) -> None:
    if isinstance(level, bool) or not isinstance(level, int | float | str):
        raise InputError(place, f"has the level {level!r}", "use numbers or text")
    if isinstance(level, str):
        _check_text(place, name, level)
    elif not math.isfinite(level):
        raise InputError(place, f"has the level {level}", "use finite numbers")
    elif level < 0:
        raise InputError(place, f"has the negative level {level}", "use numbers from 0")
    elif name in COUNT_FACTORS and (level != int(level) or level < 1):
        raise InputError(place, f"has the level {level}", "use whole numbers from 1")


def _check_text(place: str, name: str, level: str) -> None:
    if name in COUNT_FACTORS or _is_number(level):
        remedy = f"write {level} without quotes" if _is_number(level) else "use whole numbers from 1"
        raise InputError(place, f'has the text "{level}" where a number should be', remedy)
    if not level.strip() or not level.isprintable():
        raise InputError(place, f"has the level {level!r}", "use text that can be read in a table")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_together(place: str, levels: Sequence[Level]) -> None:
    if len({isinstance(level, str) for level in levels}) > 1:
        raise InputError(place, "mixes text and numbers", "make all its levels one or the other")
    for i, level in enumerate(levels):
        if level in levels[:i]:
            raise InputError(place, f"has the level {level} twice", "name each level once")


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
