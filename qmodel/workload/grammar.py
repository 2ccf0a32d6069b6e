"""The one-line and the table spelling of laws and arrival processes (command line and scenario files).

`exponential:1`, `lognormal:2,4`, `empirical:sizes.csv:seconds`, `poisson:0.8`, and as a table
`{ distribution = "lognormal", mean = 2, scv = 4 }`. All go through one registry: a new law is one line there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, nearest, short
from qmodel.workload import arrivals as arrival_processes
from qmodel.workload import continuous, discrete, heavy_tailed, markov_arrivals, nonstationary
from qmodel.workload.arrivals import ArrivalProcess
from qmodel.workload.distribution import Distribution, Mixture, Scaled, Shifted

LAWS: dict[str, tuple[Callable[..., Distribution], tuple[str, ...]]] = {
    "exponential": (continuous.Exponential, ("mean",)),
    "deterministic": (discrete.Deterministic, ("value",)),
    "erlang": (continuous.Erlang, ("k", "mean")),
    "gamma": (continuous.Gamma, ("mean", "scv")),
    "hyperexponential": (continuous.Hyperexponential, ("mean", "scv")),
    "lognormal": (heavy_tailed.Lognormal, ("mean", "scv")),
    "weibull": (heavy_tailed.Weibull, ("mean", "scv")),
    "uniform": (continuous.Uniform, ("low", "high")),
    "pareto": (heavy_tailed.Pareto, ("mean", "alpha")),
    "bounded_pareto": (heavy_tailed.BoundedPareto, ("low", "high", "alpha")),
    "geometric": (discrete.Geometric, ("mean",)),
}
PROCESSES: dict[str, tuple[Callable[..., ArrivalProcess], tuple[str, ...]]] = {
    "poisson": (arrival_processes.Poisson, ("rate",)),
    "renewal": (arrival_processes.Renewal, ("rate", "scv")),
}
TABLED_PROCESSES: dict[str, tuple[Callable[..., ArrivalProcess], tuple[str, ...], tuple[str, ...]]] = {
    "mmpp": (markov_arrivals.Mmpp, ("rates", "generator"), ()),
    "map": (markov_arrivals.Map, ("d0", "d1"), ()),
    "piecewise": (nonstationary.Piecewise, ("times_s", "rates"), ("period_s",)),
    "closed": (nonstationary.Closed, ("population",), ("think_s",)),
}
"""Processes that a table spells: what makes them, what they need and what else they may have."""
FILED = ("mmpp", "map", "piecewise")
"""Of these, the ones whose table may stand in a JSON file of its own: `mmpp:FILE.json`."""

Registry = Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]]
COMPOSED = {"scaled": ("factor", "law"), "shifted": ("offset", "law"), "mixture": ("probabilities", "laws")}
TABLED = {"empirical": ("file", "column"), "discrete": ("values", "probabilities")} | COMPOSED
DEEPEST = 20
"""Laws made of laws may be nested so deep."""


def parse_service(text: str, folder: Path = Path()) -> Distribution:
    """A law from its one-line spelling, e.g. `hyperexponential:1,4`. Raises InputError.

    >>> parse_service("erlang:4,1").scv
    0.25
    """
    place = f"service '{text}'"
    kind, _, rest = text.strip().partition(":")
    if kind != "empirical":
        return _parse(place, LAWS, kind, rest, "empirical")
    file, _, column = rest.rpartition(":")
    if not (file and column):
        raise InputError(place, "needs a file and a column", "write empirical:FILE.csv:COLUMN")
    return discrete.Empirical.from_csv(_path(place, folder, file), column)


def parse_arrivals(text: str, folder: Path = Path()) -> ArrivalProcess:
    """An arrival process from its one-line spelling, e.g. `poisson:0.8`. Raises InputError.

    >>> parse_arrivals("renewal:2,0.5")
    Renewal(rate=2.0, scv=0.5)
    """
    place = f"arrivals '{text}'"
    kind, _, file = text.strip().partition(":")
    if kind in FILED:
        return _filed(place, kind, file, folder)
    if kind == "renewal" and ":" in file:
        return _renewal(place, _at(place, lambda: parse_service(file, folder)))
    if kind == "closed":
        return _make(place, nonstationary.Closed, _closed_numbers(place, file))
    if kind != "trace":
        return _parse(place, PROCESSES, kind, file, "trace", *TABLED_PROCESSES)
    if not file:
        raise InputError(place, "needs a file", "write trace:FILE.csv")
    return arrival_processes.Trace.from_csv(_path(place, folder, file))


def _renewal(place: str, gaps: Distribution) -> ArrivalProcess:
    """Renewal arrivals with gaps of this law, under the name that theory knows best."""
    if isinstance(gaps, continuous.Gamma):
        rate = 1.0 / gaps.mean
        return arrival_processes.Poisson(rate) if gaps.scv == 1.0 else arrival_processes.Renewal(rate, gaps.scv)
    return _make(place, arrival_processes.RenewalGaps, {"gaps": gaps})


def _closed_numbers(place: str, text: str) -> dict[str, float]:
    try:
        population, think_s = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(place, "needs two numbers", "write closed:POPULATION,THINK_S") from error
    return {"population": population, "think_s": think_s}


def _filed(place: str, kind: str, file: str, folder: Path) -> ArrivalProcess:
    """A process whose table stands in a JSON file."""
    if not file:
        raise InputError(place, "needs a file", f"write {kind}:FILE.json")
    path = _path(place, folder, file)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "is no JSON", "write a table in braces") from error
    if not isinstance(table, dict):
        raise InputError(str(path), "holds no table", f"give {', '.join(TABLED_PROCESSES[kind][1])} in braces")
    return arrivals_from_table({"process": kind} | table, str(path), folder)


def service_from_table(value: object, place: str, folder: Path = Path(), depth: int = 0) -> Distribution:
    """A law as a scenario file spells it: a table, the one-line spelling, or a number for a constant.

    Raises InputError naming `place`.
    """
    if depth > DEEPEST:
        raise InputError(place, "is nested too deep", f"at most {DEEPEST} laws inside one another")
    if isinstance(value, Mapping):
        return _law_from_table(value, place, folder, depth)
    if isinstance(value, str):
        return _at(place, lambda: parse_service(value, folder))
    return _make(place, discrete.Deterministic, {"value": _number(place, value)})


def arrivals_from_table(value: object, place: str, folder: Path = Path()) -> ArrivalProcess:
    """An arrival process as a scenario file spells it: a table or the one-line spelling.

    Raises InputError naming `place`.
    """
    if isinstance(value, str):
        return _at(place, lambda: parse_arrivals(value, folder))
    if not isinstance(value, Mapping):
        raise InputError(place, f"{short(value)} is no table", "e.g. { process = 'poisson', rate = 0.5 }")
    kind, given = _split(value, "process", [*PROCESSES, "trace", *TABLED_PROCESSES], place)
    if kind in TABLED_PROCESSES:
        return _tabled(place, kind, given, folder)
    if kind == "renewal" and "gaps" in given:
        _expect(place, given, ("gaps",))
        return _renewal(place, service_from_table(given["gaps"], f"{place}.gaps", folder))
    if kind != "trace":
        return _from_table(place, *PROCESSES[kind], given)
    if "times_s" in given:
        _expect(place, given, ("times_s",))
        return _make(place, arrival_processes.Trace, {"recorded_s": _numbers(f"{place}.times_s", given["times_s"])})
    _expect(place, given, ("file",))
    return arrival_processes.Trace.from_csv(_path(f"{place}.file", folder, given["file"]))


def _tabled(place: str, kind: str, given: Mapping[str, Any], folder: Path) -> ArrivalProcess:
    factory, needed, optional = TABLED_PROCESSES[kind]
    if kind in FILED and "file" in given:
        _expect(place, given, ("file",))
        return _at(place, lambda: _filed(place, kind, _text(f"{place}.file", given["file"]), folder))
    _expect(place, given, needed, optional)
    return _make(place, factory, {name: _entry(f"{place}.{name}", given[name]) for name in given})


def _entry(place: str, value: object) -> Any:
    """A number, or a list of numbers, or of such lists, as tuples."""
    if isinstance(value, list | tuple):
        return tuple(_entry(f"{place}.{i}", entry) for i, entry in enumerate(value))
    return _number(place, value)


def _law_from_table(table: Mapping[str, Any], place: str, folder: Path, depth: int) -> Distribution:
    kind, given = _split(table, "distribution", [*LAWS, *TABLED], place)
    if kind in LAWS:
        return _from_table(place, *LAWS[kind], given)
    _expect(place, given, TABLED[kind])
    if kind == "empirical":
        column = _text(f"{place}.column", given["column"])
        return discrete.Empirical.from_csv(_path(f"{place}.file", folder, given["file"]), column)
    if kind == "discrete":
        columns = {name: _numbers(f"{place}.{name}", given[name]) for name in TABLED[kind]}
        return _make(place, discrete.Discrete, columns)
    return _composed(kind, given, place, folder, depth + 1)


def _composed(kind: str, given: Mapping[str, Any], place: str, folder: Path, depth: int) -> Distribution:
    if kind == "mixture":
        spelled = _list(f"{place}.laws", given["laws"])
        laws = tuple(service_from_table(law, f"{place}.laws.{i}", folder, depth) for i, law in enumerate(spelled))
        probabilities = _numbers(f"{place}.probabilities", given["probabilities"])
        return _make(place, Mixture, {"probabilities": probabilities, "laws": laws})
    law = service_from_table(given["law"], f"{place}.law", folder, depth)
    made, name = (Scaled, "factor") if kind == "scaled" else (Shifted, "offset")
    return _make(place, made, {"law": law, name: _number(f"{place}.{name}", given[name])})


def _parse(place: str, registry: Registry, kind: str, rest: str, *also: str) -> Any:
    if kind not in registry:
        fault = f"'{kind}' is unknown" if kind else "is empty"
        raise InputError(place, fault, nearest(kind, [*registry, *also]))
    factory, names = registry[kind]
    spelling = f"{kind}:" + ",".join(name.upper() for name in names)
    parts = rest.split(",") if rest else []
    if len(parts) != len(names):
        raise InputError(place, f"has {len(parts)} of {len(names)} values", f"write {spelling}")
    try:
        values = {name: float(part) for name, part in zip(names, parts, strict=True)}
    except ValueError as error:
        raise InputError(place, "holds text where a number should be", f"write {spelling}") from error
    return _make(place, factory, values)


def _from_table(place: str, factory: Callable[..., Any], names: tuple[str, ...], given: Mapping[str, Any]) -> Any:
    _expect(place, given, names)
    return _make(place, factory, {name: _number(f"{place}.{name}", given[name]) for name in names})


def _split(table: Mapping[str, Any], key: str, known: list[str], place: str) -> tuple[str, dict[str, Any]]:
    """The kind that `key` names, checked, and the rest of the table."""
    kind = table.get(key)
    if kind is None:
        raise InputError(f"{place}.{key}", "is missing", "known: " + ", ".join(known))
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"{place}.{key}", f"{short(kind)} is unknown", nearest(str(kind), known))
    return kind, {name: value for name, value in table.items() if name != key}


def _expect(place: str, given: Mapping[str, Any], names: tuple[str, ...], also: tuple[str, ...] = ()) -> None:
    unknown = next((name for name in given if name not in (*names, *also)), None)
    if unknown is not None:
        raise InputError(f"{place}.{unknown}", "is not known", nearest(unknown, [*names, *also]))
    missing = next((name for name in names if name not in given), None)
    if missing is not None:
        raise InputError(f"{place}.{missing}", "is missing", "needs " + ", ".join(names))


def _make(place: str, factory: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """factory(**values), its complaint about a parameter placed at that parameter of `place`."""
    try:
        return factory(**values)
    except InputError as error:
        parameter = error.place.rpartition(", ")[2]
        where = f"{place}.{parameter}" if parameter in values and "'" not in place else f"{place}, {error.place}"
        raise InputError(where, error.fault, error.remedy) from error


def _at(place: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except InputError as error:
        raise InputError(f"{place}: {error.place}", error.fault, error.remedy) from error


def _path(place: str, folder: Path, name: object) -> Path:
    text = _text(place, name)
    if "\0" in text:
        raise InputError(place, "holds a null character", "give the name of a file")
    return folder / text


def _text(place: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(place, f"{short(value)} is no text", "write it in quotes")
    return value


def _number(place: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(place, f"{short(value)} is not a number", "give a number")
    return value


def _list(place: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise InputError(place, f"{short(value)} is no list", "write [ ..., ... ]")
    return value


def _numbers(place: str, value: object) -> tuple[float, ...]:
    return tuple(_number(f"{place}.{i}", entry) for i, entry in enumerate(_list(place, value)))


def law_to_table(law: Distribution) -> dict[str, Any]:
    """The table spelling of a law; `service_from_table` reads it back.

    >>> from qmodel.workload import Lognormal
    >>> law_to_table(Lognormal(mean=2.0, scv=4.0))
    {'distribution': 'lognormal', 'mean': 2.0, 'scv': 4.0}
    """
    if isinstance(law, discrete.Discrete) and not isinstance(law, discrete.Deterministic):
        return {"distribution": "discrete", "values": list(law.values), "probabilities": list(law.probabilities)}
    if isinstance(law, Scaled):
        return {"distribution": "scaled", "factor": law.factor, "law": law_to_table(law.law)}
    if isinstance(law, Shifted):
        return {"distribution": "shifted", "offset": law.offset, "law": law_to_table(law.law)}
    if isinstance(law, Mixture):
        laws = [law_to_table(part) for part in law.laws]
        return {"distribution": "mixture", "probabilities": list(law.probabilities), "laws": laws}
    kind = next((kind for kind, (made, _) in LAWS.items() if type(law) is made), None)
    if kind is None:
        raise InputError(f"law {type(law).__name__}", "has no spelling in a scenario file", "register it in LAWS")
    return {"distribution": kind} | {name: _parameter(law, name) for name in LAWS[kind][1]}


def arrivals_to_table(process: ArrivalProcess) -> dict[str, Any]:
    """The table spelling of an arrival process; `arrivals_from_table` reads it back; a trace by its times."""
    if isinstance(process, arrival_processes.Poisson):
        return {"process": "poisson", "rate": process.rate}
    if isinstance(process, arrival_processes.Renewal):
        return {"process": "renewal", "rate": process.rate, "scv": process.scv}
    if isinstance(process, arrival_processes.RenewalGaps):
        return {"process": "renewal", "gaps": law_to_table(process.gaps)}
    if isinstance(process, arrival_processes.Trace):
        return {"process": "trace", "times_s": list(process.recorded_s)}
    for kind, (made, needed, optional) in TABLED_PROCESSES.items():
        if type(process) is made:
            entries = {name: getattr(process, name) for name in (*needed, *optional)}
            return {"process": kind} | {name: _listed(v) for name, v in entries.items() if v is not None}
    raise InputError(
        f"arrivals {type(process).__name__}", "has no spelling in a scenario file", "use a known process"
    )


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _parameter(law: Distribution, name: str) -> float:
    if name == "k":
        return round(1.0 / law.__dict__["_scv"])
    stored = law.__dict__.get(f"_{name}")
    return float(getattr(law, name) if stored is None else stored)
