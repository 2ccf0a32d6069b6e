"""Scenarios in TOML: the tables of a scenario file (`qmodel.scenario_schema`), read and made the question."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmodel.errors import InputError
from qmodel.policy import make_policy
from qmodel.policy.preemption import Preemption
from qmodel.policy.routing import Routing
from qmodel.scenario import Scenario, System
from qmodel.scenario_schema import (
    ClassTable,
    EngineTable,
    EnvironmentTable,
    LengthsTable,
    PauseTable,
    PredictedSizeTable,
    ScenarioTables,
    StationTable,
    SystemTable,
    TransformTable,
)
from qmodel.service.engine import Engine
from qmodel.service.environment import Environment
from qmodel.service.from_model import FittedModel
from qmodel.service.iteration_time import IterationTime
from qmodel.service.pool import Pool
from qmodel.service.station import Station
from qmodel.service.transform import REQUIRED, TRANSFORMS, QueueCondition, Transform
from qmodel.validation import parse_value, read_toml, set_field, validated
from qmodel.workload import Distribution, Pause, PredictedSize, RequestClass
from qmodel.workload.grammar import arrivals_from_table, service_from_table
from qmodel.workload.joint_lengths import Copula, JointLengths, Pairs
from qmodel.workload.predicted_size import ERRORS

CONDITION = ("above_queue", "below_queue", "swap_time_s")


def read_scenario(path: Path, settings: Mapping[str, str] | None = None) -> Scenario:
    """The scenario of a TOML file, with `--set` settings (dotted path -> text) applied first.

    Paths inside are relative to the file. Raises InputError naming file and place.
    """
    tables = read_toml(path)
    for place, text in (settings or {}).items():
        set_field(tables, place, parse_value(text))
    return from_tables(tables, str(path), path.parent, default_name=path.stem)


def from_tables(tables: Mapping[str, Any], source: str, folder: Path, default_name: str = "scenario") -> Scenario:
    """The scenario that these tables spell. Raises InputError naming `source` and the place."""
    checked = validated(ScenarioTables, tables, source)
    try:
        return Scenario(
            classes=tuple(_class(table, folder) for table in checked.request_class),
            policy=make_policy(checked.policy.preset, folder, **_options(checked.policy.options)),
            system=_system(checked.system, folder),
            transforms=tuple(make_transform(table) for table in checked.transform),
            preemption=Preemption(checked.policy.preemption_cost_s, checked.policy.grain_s),
            stations=tuple(_station(table, folder) for table in checked.station),
            name=checked.name or default_name,
        )
    except InputError as error:
        raise InputError(f"{source}: {error.place}", error.fault, error.remedy) from error


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in copy.deepcopy(dict(given)).items()}


def _station(table: StationTable, folder: Path) -> Station:
    return Station(table.name, table.servers, make_policy(table.policy, folder), table.transfer_s)


def _law(value: object, place: str, folder: Path) -> Distribution | None:
    return None if value is None else service_from_table(value, place, folder)


def _system(table: SystemTable, folder: Path) -> System:
    return System(
        servers=table.servers,
        batching=table.batching,
        max_batch=table.max_batch,
        kv_capacity_tokens=table.kv_capacity_tokens,
        model=None if table.service is None else _model(table.service, folder),
        iteration_time=IterationTime(**table.iteration_time.model_dump()) if table.iteration_time else None,
        min_batch=table.min_batch,
        bins=tuple(table.bins) if isinstance(table.bins, list) else table.bins,
        buffer=table.buffer,
        routing=Routing.parse(table.routing),
        migration_s=table.migration_s,
        setup_s=_law(table.setup_s, "system.setup_s", folder),
        vacation_s=_law(table.vacation_s, "system.vacation_s", folder),
        environment=_environment(table.environment),
        engine=_engine(table.engine),
    )


def _engine(table: EngineTable | None) -> Engine | None:
    if table is None:
        return None
    given = table.model_dump(exclude_none=True)
    if isinstance(given.get("lookahead"), bool):
        given["lookahead"] = "reserve" if given["lookahead"] else "none"
    given["pools"] = tuple(Pool(**each) for each in given.get("pools", ()))
    return Engine(**given)


def _environment(table: EnvironmentTable | None) -> Environment | None:
    if table is None:
        return None
    return Environment(tuple(table.speeds), tuple(tuple(row) for row in table.generator))


def _model(service: str | Mapping[Any, str], folder: Path) -> FittedModel:
    """One fitted model, or the prefill and decode models of a language model."""
    from qmodel.service.model import ServiceModel

    if isinstance(service, str):
        return ServiceModel.load(folder / service)
    from qmodel.service.token_service import TokenService

    for phase in ("prefill", "decode"):
        if phase not in service:
            raise InputError(f"system.service.{phase}", "is missing", "name the model files of both phases")
    return TokenService(*(ServiceModel.load(folder / service[phase]) for phase in ("prefill", "decode")))


def _class(table: ClassTable, folder: Path) -> RequestClass:
    place = f"class.{table.name}"
    factors = {n: service_from_table(law, f"{place}.factors.{n}", folder) for n, law in table.factors.items()}
    for name in ("input_tokens", "output_tokens"):
        law = getattr(table, name)
        if law is not None:
            factors[name] = service_from_table(law, f"{place}.{name}", folder)
    joint = _joint(table.lengths, f"{place}.lengths", folder)
    if isinstance(joint, Pairs):
        twice = next((name for name in joint.laws() if name in factors), None)
        if twice is not None:
            raise InputError(f"{place}.{twice}", "comes beside the pairs of lengths", "give one of the two")
        factors |= joint.laws()
    return RequestClass(
        name=table.name,
        arrivals=arrivals_from_table(table.arrivals, f"{place}.arrivals", folder),
        service=_law(table.service, f"{place}.service", folder),
        factors=factors,
        priority=table.priority,
        weight=table.weight,
        predicted_size=_predicted_size(table.predicted_size, f"{place}.predicted_size", folder),
        slo=table.slo,
        patience=_law(table.patience, f"{place}.patience", folder),
        pause=_pause(table.pause, place, folder),
        prefix_hit=table.prefix_hit,
        encode_s=_law(table.encode_s, f"{place}.encode_s", folder),
        services={n: service_from_table(law, f"{place}.services.{n}", folder) for n, law in table.services.items()},
        joint=joint,
    )


def _joint(table: LengthsTable | str | None, place: str, folder: Path) -> JointLengths | None:
    """A correlation, or pairs: of a file (in short `empirical:FILE.csv`) or listed. Raises InputError."""
    if isinstance(table, str):
        kind, _, file = table.partition(":")
        if kind != "empirical" or not file:
            raise InputError(place, f"'{table}' is unknown", "write empirical:FILE.csv or { correlation = 0.3 }")
        table = LengthsTable(file=file)
    if table is None:
        return None
    given = tuple(table.model_dump(exclude_none=True, exclude={"name", "own"}))
    if given == ("correlation",) and table.correlation is not None:
        return Copula(table.correlation)
    if given == ("file",) and table.file is not None:
        return Pairs.from_csv(folder / table.file)
    if given == ("input_tokens", "output_tokens") and table.input_tokens and table.output_tokens:
        return Pairs(tuple(table.input_tokens), tuple(table.output_tokens))
    raise InputError(place, "is incomplete, or too much", "give correlation, or file, or two lists of lengths")


def _predicted_size(table: PredictedSizeTable, place: str, folder: Path) -> PredictedSize:
    """The prediction a table spells. Raises InputError for keys that its kind lacks or needs."""
    given = {k: v for k, v in table.model_dump(exclude={"error", "scv"}).items() if v is not None}
    file = given.pop("file", None)
    names = [name for name in ERRORS[table.error] if name != "scv"]
    known = [*names, *(["file"] if table.error == "file" else [])]
    unknown = next((name for name in (*given, *(["file"] if file else [])) if name not in known), None)
    if unknown is not None:
        remedy = "it has " + ", ".join(known) if known else "leave it out"
        raise InputError(f"{place}.{unknown}", f"does not belong to '{table.error}'", remedy)
    if file is not None:
        return PredictedSize.from_csv(folder / file)
    missing = next((name for name in names if name not in given), None)
    if missing is not None:
        what = "file" if table.error == "file" else missing
        raise InputError(f"{place}.{what}", "is missing", f"'{table.error}' needs it")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return PredictedSize(table.error, scv=table.scv, **values)


def _pause(table: PauseTable | None, place: str, folder: Path) -> Pause | None:
    if table is None:
        return None
    duration = service_from_table(table.duration, f"{place}.pause.duration", folder)
    return Pause(table.probability, duration, table.kv)


def make_transform(table: TransformTable) -> Transform:
    """The transform a table spells. Raises InputError for keys that its kind lacks or needs."""
    given = {k: v for k, v in table.model_dump(exclude={"kind", "name", "own"}).items() if v is not None}
    condition = {k.removesuffix("_queue"): given.pop(k) for k in CONDITION if k in given}
    made, names = TRANSFORMS[table.kind]
    place = f"transform {table.kind}"
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise InputError(f"{place}, {unknown}", "does not belong to it", "it has " + ", ".join(names))
    missing = next((name for name in REQUIRED[table.kind] if name not in given), None)
    if missing is not None:
        raise InputError(f"{place}, {missing}", "is missing", "without it nothing changes")
    if condition and "above" not in condition:
        raise InputError(f"{place}, above_queue", "is missing", "the other queue keys need it")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return made(when=QueueCondition(**condition) if condition else None, **values)
