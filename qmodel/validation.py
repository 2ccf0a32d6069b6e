"""Tables that users write: TOML in, one-line errors out, unknown keys answered with the nearest known one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qmodel.errors import InputError, nearest


class Table(BaseModel):
    """Base of every table schema: unknown keys are refused, NaN and infinity too."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError naming the file, and the place of a syntax error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not text", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(str(path), f"is not TOML: {error}", "correct that line") from error


def validated(schema: type[Schema], data: Mapping[str, Any], source: str) -> Schema:
    """The data as `schema`. Raises InputError with the first fault: file, dotted place, what is wrong and right."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        place = f"{source}: {path}" if path else source
        if first["type"] == "extra_forbidden":
            known = known_keys(schema, first["loc"][:-1])
            raise InputError(place, "is not known", nearest(str(first["loc"][-1]), known)) from error
        remedy = "" if first["type"] in ("missing", "value_error") else f"got {_short(first['input'])}"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(place, message[0].lower() + message[1:], remedy) from error


def known_keys(schema: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that the table at `place` inside `schema` accepts."""
    for part in place:
        if isinstance(part, int):
            continue
        field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
        inner = None if field is None else _table_in(field.annotation)
        if inner is None:
            return []
        schema = inner
    return [field.alias or name for name, field in schema.model_fields.items()]


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_table_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((table for table in found if table is not None), None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def set_field(data: dict[str, Any], path: str, value: object) -> None:
    """Set a dotted field in place; a list of tables is entered by index or by the entry's name or kind.

    Raises InputError when a part of the path does not exist.

    >>> tables = {"class": [{"name": "chat", "priority": 0}]}
    >>> set_field(tables, "class.chat.priority", 2); tables
    {'class': [{'name': 'chat', 'priority': 2}]}
    """
    *parents, last = path.split(".")
    here: Any = data
    for part in parents:
        here = _enter(here, part, path)
    if isinstance(here, list):
        here[_index(here, last, path)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise InputError(f"--set {path}", f"'{last}' is inside a plain value", "name a field of a table")


def _enter(here: Any, part: str, path: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, part, path)]
    if not isinstance(here, dict):
        raise InputError(f"--set {path}", f"'{part}' is inside a plain value", "name a field of a table")
    return here.setdefault(part, {})


def _index(entries: list[Any], part: str, path: str) -> int:
    names = [str(entry.get("name", entry.get("kind", i))) for i, entry in enumerate(entries)]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(entries):
        return int(part)
    raise InputError(f"--set {path}", f"there is no '{part}'", nearest(part, names))


def parse_value(text: str) -> object:
    """A value as TOML would read it; anything that is not TOML is the text itself.

    >>> parse_value("0.5"), parse_value("srpt")
    (0.5, 'srpt')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
