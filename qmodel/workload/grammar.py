"""The one-line and the table spelling of laws and arrival processes (command line and scenario files).

`exponential:1`, `lognormal:2,4`, `empirical:sizes.csv:seconds`, `poisson:0.8`, and as a table
`{ distribution = "lognormal", mean = 2, scv = 4 }`. Both go through one registry: a new law is one line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qmodel.errors import InputError, nearest
from qmodel.workload import arrivals as arrival_processes
from qmodel.workload import continuous, discrete
from qmodel.workload.arrivals import ArrivalProcess
from qmodel.workload.distribution import Distribution, Mixture, Scaled, Shifted

LAWS: dict[str, tuple[Callable[..., Distribution], tuple[str, ...]]] = {
    "exponential": (continuous.Exponential, ("mean",)),
    "deterministic": (discrete.Deterministic, ("value",)),
    "erlang": (continuous.Erlang, ("k", "mean")),
    "gamma": (continuous.Gamma, ("mean", "scv")),
    "hyperexponential": (continuous.Hyperexponential, ("mean", "scv")),
    "lognormal": (continuous.Lognormal, ("mean", "scv")),
    "weibull": (continuous.Weibull, ("mean", "scv")),
    "uniform": (continuous.Uniform, ("low", "high")),
    "pareto": (continuous.Pareto, ("mean", "alpha")),
    "bounded_pareto": (continuous.BoundedPareto, ("low", "high", "alpha")),
    "geometric": (discrete.Geometric, ("mean",)),
}
PROCESSES: dict[str, tuple[Callable[..., ArrivalProcess], tuple[str, ...]]] = {
    "poisson": (arrival_processes.Poisson, ("rate",)),
    "renewal": (arrival_processes.Renewal, ("rate", "scv")),
}

COMPOSED = {"scaled": ("factor", "law"), "shifted": ("offset", "law"), "mixture": ("probabilities", "laws")}


def parse_service(text: str, folder: Path = Path()) -> Distribution:
    """A law from its one-line spelling, e.g. `hyperexponential:1,4`. Raises InputError.

    >>> parse_service("erlang:4,1").scv
    0.25
    """
    kind, _, rest = text.partition(":")
    if kind == "empirical":
        file, _, column = rest.rpartition(":")
        if not file:
            raise InputError(f"service '{text}'", "needs a file and a column", "empirical:FILE.csv:COLUMN")
        return discrete.Empirical.from_csv(folder / file, column)
    return _build(f"service '{text}'", LAWS, kind, rest)


def parse_arrivals(text: str, folder: Path = Path()) -> ArrivalProcess:
    """An arrival process from its one-line spelling, e.g. `poisson:0.8`. Raises InputError.

    >>> parse_arrivals("renewal:2,0.5")
    Renewal(rate=2.0, scv=0.5)
    """
    kind, _, rest = text.partition(":")
    if kind == "trace":
        return arrival_processes.Trace.from_csv(folder / rest)
    return _build(f"arrivals '{text}'", PROCESSES, kind, rest, also=["trace"])


def service_from_table(table: Mapping[str, Any], place: str, folder: Path = Path()) -> Distribution:
    """A law from its table spelling; a bare number is that constant. Raises InputError naming `place`."""
    kind, given = table.get("distribution"), {k: v for k, v in table.items() if k != "distribution"}
    if kind == "empirical":
        _expect(place, given, ("file", "column"))
        return discrete.Empirical.from_csv(folder / str(given["file"]), str(given["column"]))
    if kind == "discrete":
        _expect(place, given, ("values", "probabilities"))
        return _call(place, lambda **v: discrete.Discrete(**{k: tuple(x) for k, x in v.items()}), given)
    if kind in COMPOSED:
        return _composed(kind, given, place, folder)
    return _from_table(place, LAWS, "distribution", kind, given, also=["empirical", "discrete", *COMPOSED])


def _composed(kind: str, given: dict[str, Any], place: str, folder: Path) -> Distribution:
    _expect(place, given, COMPOSED[kind])
    if kind == "mixture":
        laws = tuple(service_from_table(law, f"{place}.laws.{i}", folder) for i, law in enumerate(given["laws"]))
        return _call(place, Mixture, {"probabilities": tuple(given["probabilities"]), "laws": laws})
    law = service_from_table(given["law"], f"{place}.law", folder)
    if kind == "scaled":
        return _call(place, Scaled, {"law": law, "factor": given["factor"]})
    return _call(place, Shifted, {"law": law, "offset": given["offset"]})


def arrivals_from_table(table: Mapping[str, Any], place: str, folder: Path = Path()) -> ArrivalProcess:
    """An arrival process from its table spelling. Raises InputError naming `place`."""
    kind, given = table.get("process"), {k: v for k, v in table.items() if k != "process"}
    if kind == "trace":
        _expect(place, given, ("file",))
        return arrival_processes.Trace.from_csv(folder / str(given["file"]))
    return _from_table(place, PROCESSES, "process", kind, given, also=["trace"])


def _build(place: str, registry: Mapping[str, tuple], kind: str, rest: str, also: list[str] | None = None) -> Any:
    if kind not in registry:
        known = [*registry, *(also or ["empirical"])]
        raise InputError(place, f"'{kind}' is unknown", nearest(kind, known))
    factory, names = registry[kind]
    spelling = f"{kind}:" + ",".join(name.upper() for name in names)
    parts = rest.split(",") if rest else []
    if len(parts) != len(names):
        raise InputError(place, f"has {len(parts)} values where {len(names)} are needed", f"write {spelling}")
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise InputError(place, "holds text where a number should be", f"write {spelling}") from error
    return _call(place, factory, dict(zip(names, values, strict=True)))


def _from_table(
    place: str, registry: Mapping[str, tuple], key: str, kind: object, given: dict, also: list[str]
) -> Any:
    known = [*registry, *also]
    if not isinstance(kind, str) or kind not in registry:
        fault = f"{key} {kind!r} is unknown" if kind is not None else f"has no {key}"
        raise InputError(place, fault, nearest(str(kind), known))
    factory, names = registry[kind]
    _expect(place, given, names)
    for name in names:
        if isinstance(given[name], bool) or not isinstance(given[name], int | float):
            raise InputError(f"{place}.{name}", f"{given[name]!r} is not a number", "give a number")
    return _call(place, factory, given)


def _expect(place: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for unknown in set(given) - set(names):
        raise InputError(f"{place}.{unknown}", "is not known here", nearest(unknown, list(names)))
    for missing in set(names) - set(given):
        raise InputError(f"{place}.{missing}", "is missing", "needs " + ", ".join(names))


def _call(place: str, factory: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    try:
        return factory(**values)
    except InputError as error:
        raise InputError(f"{place}, {error.place}", error.fault, error.remedy) from error


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
    """The table spelling of an arrival process; a trace is spelled by its times, for the fingerprint only."""
    if isinstance(process, arrival_processes.Poisson):
        return {"process": "poisson", "rate": process.rate}
    if isinstance(process, arrival_processes.Renewal):
        return {"process": "renewal", "rate": process.rate, "scv": process.scv}
    if isinstance(process, arrival_processes.Trace):
        return {"process": "trace", "times_s": list(process.recorded_s)}
    raise InputError(
        f"arrivals {type(process).__name__}", "has no spelling in a scenario file", "use a known process"
    )


def _parameter(law: Distribution, name: str) -> float:
    if name == "k":
        return round(1.0 / law.__dict__["_scv"])
    stored = law.__dict__.get(f"_{name}")
    return float(getattr(law, name) if stored is None else stored)
