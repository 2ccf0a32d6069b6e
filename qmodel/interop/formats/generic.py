"""Any other CSV: the user names response, unit and factors."""

from __future__ import annotations

from qmodel.errors import InputError, nearest
from qmodel.fit.columns import RUN_COLUMNS, TIME_UNITS, slug
from qmodel.interop.cells import column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.profiles import profile
from qmodel.interop.reading import Options, Reader


def read(content: Content, options: Options) -> Imported:
    """A profile of the named columns. Raises InputError without response, factors and a unit."""
    if not content.header:
        raise InputError(content.path, "is no CSV file", "give a file with a header line")
    if options.response is None or not options.factors:
        raise InputError(content.path, "is a CSV of no known tool", "give --response COLUMN --factors F[,F...]")
    for name in (options.response, *options.factors):
        if name not in content.header:
            raise InputError(f"{content.path}, column {name}", "is missing", nearest(name, list(content.header)))
    unit = _unit(options)
    frame = csv_frame(content)
    taken = [name for name in RUN_COLUMNS if name in frame and name not in options.factors]
    columns = {slug(name): frame[name].to_numpy() for name in options.factors}
    mapping = [Translation(name, slug(name)) for name in options.factors if slug(name) != name]
    mapping.append(Translation(options.response, "latency_s", f"{unit} to seconds"))
    columns |= {"latency_s": column(frame, options.response) * TIME_UNITS[unit]}
    columns |= {name: frame[name].to_numpy() for name in taken}
    factors = [slug(name) for name in options.factors]
    lines = [int(k) for k in frame.index]
    return profile(content.path, lines, columns, factors, options, mapping=mapping)


def _unit(options: Options) -> str:
    """That of --unit, or the suffix of the column's name; never assumed."""
    suffix = slug(options.response or "").rsplit("_", 1)[-1]
    named = suffix if suffix in TIME_UNITS and "_" in slug(options.response or "") else None
    unit = (options.unit or named or "").lower()
    if unit not in TIME_UNITS:
        fault = f"'{options.unit}' is no unit of time" if options.unit else "is not said, and never assumed"
        raise InputError("--unit", fault, "give s, ms, us or ns")
    if options.unit and named and unit != named:
        raise InputError(
            "--unit", f"'{unit}' contradicts the column {options.response}", f"leave it out or {named}"
        )
    return unit


READER = Reader("csv", "CSV with named columns", lambda content: False, read)
