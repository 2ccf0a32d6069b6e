"""Values as a scenario file spells them on one line, for people to paste."""

from __future__ import annotations

import json

DIGITS = 12
"""Significant digits of a number that is pasted: enough to give the same figures back."""


def inline(value: object) -> str:
    """A value in TOML on one line.

    >>> inline({"process": "renewal", "gaps": {"distribution": "weibull", "mean": 0.5, "scv": 1 / 3}})
    '{ process = "renewal", gaps = { distribution = "weibull", mean = 0.5, scv = 0.333333333333 } }'
    """
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(one) for one in value) + "]"
    return json.dumps(float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value)
