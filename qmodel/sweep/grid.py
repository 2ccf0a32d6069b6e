"""The points of a sweep: every combination of field values, rates and policies, each a question of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmodel.errors import InputError
from qmodel.policy import Policy
from qmodel.predict import questions
from qmodel.scenario import Scenario


@dataclass(frozen=True)
class Point:
    """One question of a sweep, and the values that its fields were varied to."""

    scenario: Scenario
    settings: dict[str, Any] = field(default_factory=dict)


def grid(
    question: Scenario | str | Path,
    vary: Mapping[str, Sequence[Any]] | None = None,
    policies: Sequence[Policy] = (),
    rates: Sequence[float] = (),
    settings: Mapping[str, str] | None = None,
) -> list[Point]:
    """Every combination: the fields of `vary` outermost in their order, then rates, then policies.

    `vary` maps a dotted field of the scenario file to its values, as TOML has them; `settings` (path to text) are
    fixed first. A rate asked for takes the place of whatever was varied; so does a policy. Raises InputError for a
    field that does not exist and a value that it cannot have, before any point is answered.

    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> points = grid(Scenario(classes=[chat]), {"system.servers": [1, 2]}, rates=[0.3, 0.6])
    >>> [(point.settings["system.servers"], point.scenario.rate) for point in points]
    [(1, 0.3), (1, 0.6), (2, 0.3), (2, 0.6)]
    """
    fields = dict(vary or {})
    empty = next((path for path, values in fields.items() if not len(values)), None)
    if empty is not None:
        raise InputError(f"--vary {empty}", "has no value", "e.g. --vary system.servers=1,2,4")
    points = []
    for values in itertools.product(*fields.values()):
        chosen = dict(zip(fields, values, strict=True))
        scenario = _scenario(question, chosen, settings or {})
        points += [Point(one, chosen) for one in questions(scenario, policies, rates)]
    return points


def _scenario(question: Scenario | str | Path, chosen: dict[str, Any], settings: Mapping[str, str]) -> Scenario:
    if isinstance(question, Scenario):
        return _changed(question, chosen, settings)
    from qmodel.scenario_file import from_tables, read_scenario
    from qmodel.validation import read_toml

    path = Path(question)
    if not chosen:
        return read_scenario(path, settings)
    tables = read_toml(path)
    _set_all(tables, chosen, settings)
    return from_tables(tables, str(path), path.parent, default_name=path.stem)


def _changed(scenario: Scenario, chosen: dict[str, Any], settings: Mapping[str, str]) -> Scenario:
    """The scenario with other values in some fields, by way of its tables."""
    if not (chosen or settings):
        return scenario
    from qmodel.scenario_file import from_tables
    from qmodel.scenario_tables import to_tables

    if scenario.system.model is not None:
        raise InputError("sweep", "a scenario with a fitted model is varied by its file", "give the file's path")
    tables = copy.deepcopy(to_tables(scenario))
    _set_all(tables, chosen, settings)
    return from_tables(tables, "sweep", Path(), scenario.name)


def _set_all(tables: dict[str, Any], chosen: dict[str, Any], settings: Mapping[str, str]) -> None:
    from qmodel.validation import parse_value, set_field

    for path, text in settings.items():
        set_field(tables, path, parse_value(text))
    for path, value in chosen.items():
        set_field(tables, path, copy.deepcopy(value))
