"""Turns what pydantic found wrong with a file into the one line a user can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from qmodel.errors import InputError, nearest
from qmodel.validation import known_keys

_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "m": 60.0}


def readable(error: ValidationError, model: type[BaseModel], place: str, content: Mapping[str, Any]) -> InputError:
    """The first fault found in `content`, as an InputError that names the place inside the file."""
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelt key is missing, too
    location = first["loc"]
    where = ", ".join([place, *_path(location, content)])
    if first["type"] == "extra_forbidden":
        return _unknown_key(model, location, where)
    if first["type"] == "missing":
        parent = ", ".join([place, *_path(location[:-1], content)])
        return InputError(parent, f"{location[-1]} is missing", "add it")
    if first["type"] == "value_error":
        place_inside, _, rest = str(first["ctx"]["error"]).partition(": ")
        fault, _, remedy = rest.partition("; ")
        return InputError(f"{where}, {place_inside}", fault, remedy)
    return InputError(where, *_fault(first))


def _path(location: tuple[str | int, ...], content: Any) -> list[str]:
    """Names on the way to a place: tables by their name, list items by their own `name` or number from 1."""
    steps: list[str] = []
    for key in location:
        content = _inside(content, key)
        if isinstance(key, str):
            steps.append(key)
        elif isinstance(content, Mapping) and isinstance(content.get("name"), str):
            steps[-1] += f" {content['name']}"
        else:
            steps[-1] += f" {key + 1}"
    return steps


def _inside(content: Any, key: str | int) -> Any:
    try:
        return content[key]
    except (KeyError, IndexError, TypeError):
        return None


def _unknown_key(model: type[BaseModel], location: tuple[str | int, ...], where: str) -> InputError:
    key, known = str(location[-1]), known_keys(model, location[:-1])
    stem = _stem(key)
    same = [name for name in known if name != key and _stem(name) == stem]
    if same and stem != key:
        return InputError(where, "has a wrong unit suffix", f"write {same[0]}, in seconds")
    return InputError(where, "is an unknown key", nearest(key, known))


def _stem(key: str) -> str:
    name, _, unit = key.rpartition("_")
    return name if unit in _UNITS else key


def _fault(first: Any) -> tuple[str, str]:
    """What is wrong and what would be right, for the kinds of fault a TOML file can have."""
    kind, value, rules = first["type"], first["input"], first.get("ctx", {})
    if isinstance(value, float) and value != value:
        return "is NaN", "use a finite number"
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return f'is the text "{value}" where a number should be', _as_number(value)
    if kind in _BOUNDS:
        words, rule = _BOUNDS[kind]
        return f"is {value}", f"use a number {words} {rules[rule]:g}"
    if kind == "literal_error":
        return f"is {value!r}", f"use one of {rules['expected']}"
    if kind in _WANTED:
        return f"is {_short(value)}", f"use {_WANTED[kind]}"
    return f"is {_short(value)}", str(first["msg"])


_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("from", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("up to", "le"),
}
_WANTED = {
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "too_short": "at least one item",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-'",
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _as_number(text: str) -> str:
    """Remedy for text with a unit: the number of seconds it stands for.

    >>> _as_number("200ms")
    'write seconds, without quotes: 0.2'
    """
    match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([a-z]*)\s*", text)
    if not match or match[2] not in {*_UNITS, ""}:
        return "write a number, without quotes"
    try:
        number = float(match[1])
    except ValueError:
        return "write a number, without quotes"
    if not match[2]:
        return f"write {match[1]} without quotes"
    return f"write seconds, without quotes: {number * _UNITS[match[2]]:g}"
