"""A row in another time: every rate, limit, cost and quantum of its tables; only the sizes are left to set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Tables = dict[str, Any]

SERVED = ("quantum", "thresholds", "step")
"""Options of policies that are seconds of service."""
SECONDS = ("preemption_cost_s", "grain_s", "swap_time_s", "lookup_s", "migration_s")
LAWS = ("patience", "setup_s", "vacation_s", "duration")
"""Fields that are seconds, and fields that are a law of seconds."""
LONGER, RARER = ("times_s", "period_s", "think_s"), ("rate", "rates", "generator", "d0", "d1")
"""Of arrivals: what takes longer as time is stretched, and what gets rarer."""


def in_time(own: Tables, factor: float) -> Tables:
    """The tables with every time but the services `factor` times as long.

    >>> in_time({"policy": {"preset": "mlfq", "options": {"thresholds": [1, 3]}}, "class": []}, 0.5)["policy"]
    {'preset': 'mlfq', 'options': {'thresholds': [0.5, 1.5]}}
    """
    made = copy.deepcopy(own)
    options = made.get("policy", {}).get("options", {})
    options |= {name: longer(options[name], factor) for name in SERVED if name in options}
    for table in (made.get("policy", {}), made.get("system", {}), *made.get("transform", []), *made["class"]):
        _times(table, factor)
    for table in made["class"]:
        table["arrivals"] = arrivals_in_time(table["arrivals"], factor)
        table["slo"] = {name: limit * factor for name, limit in table.get("slo", {}).items()}
        _times(table.get("pause", {}), factor)
    if "environment" in made.get("system", {}):
        channel = made["system"]["environment"]
        channel["generator"] = longer(channel["generator"], 1.0 / factor)
    return made


def _times(table: Tables, factor: float) -> None:
    table |= {name: table[name] * factor for name in SECONDS if name in table}
    table |= {name: scaled_law(table[name], factor) for name in LAWS if name in table}


def scaled_law(law: Any, factor: float) -> dict[str, Any]:
    """A law of seconds, as a table or in its one-line spelling, of times that are longer."""
    return {"distribution": "scaled", "factor": factor, "law": law}


def arrivals_in_time(arrivals: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An arrival process with time stretched.

    >>> arrivals_in_time({"process": "poisson", "rate": 2.0}, 0.5)
    {'process': 'poisson', 'rate': 4.0}
    """
    scales = dict.fromkeys(LONGER, factor) | dict.fromkeys(RARER, 1.0 / factor)
    return {name: longer(value, scales[name]) if name in scales else value for name, value in arrivals.items()}


def longer(value: Any, factor: float) -> Any:
    """A number, or lists of them, times the factor."""
    if isinstance(value, list | tuple):
        return [longer(each, factor) for each in value]
    return value * factor
