"""Which column is what: the response and its unit, the factors, and what only describes the run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qmodel.errors import InputError, nearest
from qmodel.fit.csv_text import TextTable
from qmodel.service.units import SUFFIXES

RUN_COLUMNS = (
    "run_id",
    "target",
    "device",
    "phase",
    "replicate",
    "run_order",
    "block",
    "status",
    "started_at",
    "valid",
)
"""Columns of a profile CSV that are neither factors nor responses."""

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ABSENT = {"", "nan", "na", "n/a", "null", "none", "-"}
OTHER_UNITS = {"j": "_j", "w": "_w", "bytes": "_bytes"}


def require(table: TextTable, column: str) -> None:
    """Raise InputError unless `table` has `column`."""
    if column not in table.frame:
        raise InputError(f"{table.path}, column {column}", "is missing", nearest(column, list(table.frame.columns)))


def response_scale(tables: Sequence[TextTable], response: str, unit: str | None) -> tuple[float, str]:
    """Factor to the base unit, and the response's canonical name with the base unit as suffix."""
    for table in tables:
        if response not in table.frame:
            raise _wrong_unit(table, response)
    suffix, base = _time_suffix(response), slug(response)
    if unit is not None and unit.lower() not in (*TIME_UNITS, *OTHER_UNITS, "1"):
        raise InputError("unit", f"'{unit}' is unknown", "known: s, ms, us, ns, j, w, bytes, 1")
    if unit is None and suffix is None and not any(base.endswith(end) for end in SUFFIXES):
        raise InputError(
            f"column {response}", "does not name its unit", "give --unit s, ms, us, ns, j, w, bytes or 1"
        )
    if unit is not None and suffix is not None and unit.lower() != suffix:
        raise InputError(
            "unit", f"'{unit}' contradicts the column name {response}", f"leave it out or give {suffix}"
        )
    kind = (unit or suffix or "").lower()
    if kind in TIME_UNITS:
        return TIME_UNITS[kind], base.removesuffix(f"_{kind}") + "_s"
    ending = OTHER_UNITS.get(kind, "")
    return 1.0, base if base.endswith(ending) else base + ending


def _wrong_unit(table: TextTable, response: str) -> InputError:
    """The response is missing: perhaps it is there in another unit, or without one."""
    place, columns = f"{table.path}, column {response}", list(table.frame.columns)
    root = response.rsplit("_", 1)[0]
    for name in columns:
        if slug(name).rsplit("_", 1)[0] == root and _time_suffix(name):
            fault = f"is missing, but there is {name} in {_time_suffix(name)}"
            return InputError(place, fault, f"convert it, or read it as it is with --response {name}")
        if slug(name) == root:
            fault = f"is missing, but there is '{name}' without a unit"
            return InputError(place, fault, f"--response '{name}' --unit s (or ms, us, ns)")
    return InputError(place, "is missing", nearest(response, columns) + ", or name another with --response")


def _time_suffix(name: str) -> str | None:
    last = slug(name).rsplit("_", 1)[-1]
    return last if last in TIME_UNITS and "_" in slug(name) else None


def factor_names(tables: Sequence[TextTable], response: str, factors: Sequence[str] | None) -> list[str]:
    """Names of the factor columns: those given, or all that are neither of the run nor a response."""
    if factors is not None:
        for name in factors:
            if name == response:
                raise InputError("factors", f"'{name}' is the response", "remove it from the factors")
            for table in tables:
                require(table, name)
        return list(dict.fromkeys(factors))
    found = [
        [n for n in map(str, table.frame) if n != response and not _of_the_run(n) and _filled(table, n)]
        for table in tables
    ]
    for table, names in zip(tables[1:], found[1:], strict=True):
        if extra := [name for name in names if name not in found[0]]:
            fault = f"is missing or empty, but {table.path} has it"
            place = f"{tables[0].path}, column {extra[0]}"
            raise InputError(place, fault, "fit files of one design, or name the factors")
    return found[0]


def _filled(table: TextTable, name: str) -> bool:
    """Whether any row has a level: factors of another phase are empty throughout."""
    return not table.frame[name].str.lower().isin(ABSENT).all()


def _of_the_run(name: str) -> bool:
    """Columns of the run, and everything with the unit of a response."""
    ends = (*SUFFIXES, "_ms", "_us", "_ns", "_mb", "_gb", "_at")
    return name in RUN_COLUMNS or slug(name).endswith(ends)


def slug(name: str) -> str:
    """A plain identifier: the grammar of terms, LaTeX and file keys need one.

    >>> slug("Batch size"), slug("Batch latency (s)"), slug("2nd")
    ('batch_size', 'batch_latency_s', 'f_2nd')
    """
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "factor"
    return plain if plain[0].isalpha() else f"f_{plain}"
