"""Tables that users write: TOML in, one-line errors out, unknown keys answered with the nearest known one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qmodel.errors import InputError, nearest, short

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Table(BaseModel):
    """Base of every table schema: unknown keys are refused, NaN and infinity too, and text is no number.

    A field's `description` is the remedy when it is missing or empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


Schema = TypeVar("Schema", bound=BaseModel)
Place = tuple[int | str, ...]
WRONG_KIND = {
    "string_type": ("is no text", "write it in quotes"),
    "int_type": ("is not a whole number", "give a whole number"),
    "float_type": ("is not a number", "give a number"),
    "finite_number": ("is not a finite number", "give a finite number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "list_type": ("is no list", "write [[ ]] for tables, [ ... ] for values"),
    "dict_type": ("is no table", "write { key = value }"),
    "model_type": ("is no table", "write { key = value }"),
}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError naming the file, and the place of a syntax error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not text", "save it as UTF-8") from error
    except ValueError as error:  # TOMLDecodeError, and what Python's own number readers refuse
        raise InputError(str(path), f"is not TOML: {error}", "correct that line") from error
    except RecursionError as error:
        raise InputError(str(path), "is nested too deep", "write it flat") from error


def validated(schema: type[Schema], data: Mapping[str, Any], source: str) -> Schema:
    """The data as `schema`. Raises InputError with the first fault: file, dotted place, what is wrong and right."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        fault = _first(error.errors())
        path = _dotted(fault["loc"], data, keep_last=fault["type"] == "missing")
        place = f"{source}: {path}" if path else source
        raise InputError(place, *_wording(fault, schema)) from error


def _first(faults: list[ErrorDetails]) -> ErrorDetails:
    """The first fault; where a value may be of several kinds, what is wrong with the kind that comes nearest.

    A key that is missing beside one that is not known is most likely that one, misspelt.
    """
    parent = faults[0]["loc"][:-1]
    if faults[0]["type"] == "missing":
        misspelt = (f for f in faults if f["type"] == "extra_forbidden" and f["loc"][:-1] == parent)
        return next(misspelt, faults[0])
    return max((f for f in faults if parent and f["loc"][: len(parent)] == parent), key=_depth, default=faults[0])


def _depth(fault: ErrorDetails) -> int:
    return len(fault["loc"])


def _dotted(loc: Place, data: Any, keep_last: bool) -> str:
    """The place as `--set` takes it: list entries by their name or kind; what is not in the data is left out."""
    parts, here = [], data
    for i, part in enumerate(loc):
        if isinstance(here, Mapping) and part in here:
            here = here[part]
            parts.append(str(part))
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            parts.append(entry_name(here, part))
        elif keep_last and i + 1 == len(loc):
            parts.append(str(part))
    return ".".join(parts)


def _wording(fault: ErrorDetails, schema: type[BaseModel]) -> tuple[str, str]:
    """Fault and remedy."""
    kind, given, context = fault["type"], short(fault["input"]), fault.get("ctx", {})
    hint = _hint(schema, fault["loc"])
    if kind == "missing":
        return "is missing", hint or "add it"
    if kind == "extra_forbidden":
        return "is not known", nearest(str(fault["loc"][-1]), known_keys(schema, fault["loc"][:-1]))
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{given} is unknown", nearest(str(fault["input"]), known)
    if kind == "too_short":
        return "is empty", hint or "give at least one entry"
    if kind in WRONG_KIND:
        what, remedy = WRONG_KIND[kind]
        return f"{given} {what}", remedy
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "value_error":
        return message[0].lower() + message[1:], ""
    return f"{given} {message.replace('should be', 'is not', 1)}", f"it {message}"


def _hint(schema: type[BaseModel], loc: Place) -> str:
    table = table_at(schema, loc[:-1]) if loc else None
    fields = table.model_fields.items() if table else ()
    return next((field.description or "" for name, field in fields if loc[-1] in (name, field.alias)), "")


def known_keys(schema: type[BaseModel], place: Place) -> list[str]:
    """Keys that the table at `place` inside `schema` accepts."""
    table = table_at(schema, place)
    return [field.alias or name for name, field in table.model_fields.items()] if table else []


def table_at(schema: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Schema of the table at `place` inside `schema`; None where there is no table."""
    for part in place:
        if isinstance(part, int):
            continue
        field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
        inner = None if field is None else _table_in(field.annotation)
        if inner is None:
            return None
        schema = inner
    return schema


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_table_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((table for table in found if table is not None), None)


def entry_name(entry: Any, index: int) -> str:
    """What a list entry goes by: its name or kind, else its index."""
    given = (entry.get(key) for key in ("name", "kind")) if isinstance(entry, Mapping) else ()
    return next((name for name in given if isinstance(name, str)), str(index))


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
    names = [entry_name(entry, i) for i, entry in enumerate(entries)]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(entries):
        return int(part)
    raise InputError(f"--set {path}", f"there is no '{part}'", nearest(part, names))


def parse_value(text: str) -> object:
    """A value as one line of TOML would read it; anything that is not TOML is the text itself.

    >>> parse_value("0.5"), parse_value("srpt")
    (0.5, 'srpt')
    """
    try:
        tables = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tables["value"] if len(tables) == 1 else text
