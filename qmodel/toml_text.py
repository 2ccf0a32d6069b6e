"""Writes plain values as TOML; reading is the standard library's `tomllib`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML text of a table of numbers, text, lists and tables; None is left out.

    >>> print(to_toml({"name": "a", "sizes": [1, 2.5], "timer": {"unit": "s"}}), end="")
    name = "a"
    sizes = [1, 2.5]
    <BLANKLINE>
    [timer]
    unit = "s"
    """
    return "\n".join(_table(table, ())) + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Lines of a table: its plain values first, then its tables, as TOML wants them."""
    present = {key: value for key, value in table.items() if value is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in present.items() if not _is_nested(value)]
    for key, value in present.items():
        if not _is_nested(value):
            continue
        inner = (*path, _key(key))
        header = "[" * (1 + isinstance(value, list)) + ".".join(inner) + "]" * (1 + isinstance(value, list))
        for one in value if isinstance(value, list) else [value]:
            lines += ["", header, *_table(one, inner)]
    return lines


def _is_nested(value: Any) -> bool:
    tables = isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
    return isinstance(value, Mapping) or tables


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value if one is not None) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return "{" + ", ".join(pairs) + "}"
    return _text(str(value))


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
