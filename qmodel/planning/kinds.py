"""Kinds of servers that a plan chooses among: each a TOML file of fields of [system], with the price of one server.

price = 2.5              # of one server, in any unit; without prices servers are counted
max_batch = 64
iteration_time = { base = 0.006, per_sequence = 1e-4 }
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qmodel.errors import InputError
from qmodel.planning.candidates import Setting, settings_of
from qmodel.policy import Policy
from qmodel.scenario import Scenario
from qmodel.validation import read_toml


@dataclass(frozen=True)
class Kind:
    """A kind of server: what it changes of the scenario, as `--set` texts, and what one costs."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    price: float = 1.0


def read_kind(text: str) -> Kind:
    """A kind from `NAME=FILE`. Raises InputError."""
    name, sign, file = text.partition("=")
    if not (name and sign and file):
        raise InputError(f"--kind {text}", "is no NAME=FILE", "e.g. --kind h100=h100.toml")
    path = Path(file)
    fields = read_toml(path)
    price = fields.pop("price", 1.0)
    if isinstance(price, bool) or not isinstance(price, int | float) or not (math.isfinite(price) and price > 0):
        raise InputError(f"{file}: price", f"{price} is no price", "give a number above 0")
    if not fields:
        raise InputError(file, "changes nothing", "give fields of [system], e.g. max_batch = 64")
    if isinstance(fields.get("service"), str):
        fields["service"] = str((path.parent / fields["service"]).resolve())
    return Kind(name, dict(_flat("system", fields)), float(price))


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    """Dotted paths of plain values, each spelled as TOML reads it.

    >>> _flat("system", {"max_batch": 8, "engine": {"prefill": "first"}})
    [('system.max_batch', '8'), ('system.engine.prefill', '"first"')]
    """
    if isinstance(value, dict):
        return [pair for name, each in value.items() for pair in _flat(f"{path}.{name}", each)]
    return [(path, json.dumps(value))]


def settings_of_kinds(
    question: Scenario | Path, vary: Mapping[str, Sequence[Any]], policies: Sequence[Policy],
    fixed: Mapping[str, str], kinds: Sequence[Kind],
) -> list[Setting]:  # fmt: skip
    """Every combination of fields and policies on every kind (on the scenario's own where none is given)."""
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise InputError("--kind", "one name is there twice", "name each kind once")
    found = []
    for kind in kinds or [Kind("")]:
        for one in settings_of(question, vary, policies, {**fixed, **kind.settings}):
            changed = {"kind": kind.name, **one.changed} if kinds else one.changed
            found.append(replace(one, changed=changed, price=kind.price))
    return found
