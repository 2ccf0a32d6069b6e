"""Scenarios in TOML: the tables of a scenario file, read and checked.

The schema classes say what a file may hold; `read_scenario` turns it into the question.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from qmodel.errors import InputError
from qmodel.policy import make_policy
from qmodel.scenario import Scenario, System
from qmodel.service.from_model import FittedModel
from qmodel.service.iteration_time import IterationTime
from qmodel.service.transform import REQUIRED, TRANSFORMS, QueueCondition, Transform
from qmodel.validation import Table, parse_value, read_toml, set_field, validated
from qmodel.workload import PredictedSize, RequestClass
from qmodel.workload.grammar import arrivals_from_table, service_from_table


class IterationTable(Table):
    """[system.iteration_time], seconds."""

    base: float
    per_sequence: float = 0.0
    per_context_token: float = 0.0
    per_prefill_token: float = 0.0


class SystemTable(Table):
    """[system]."""

    servers: int = 1
    batching: Literal["none", "processor-sharing", "dynamic", "continuous"] = "none"
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    service: str | dict[Literal["prefill", "decode"], str] | None = None
    iteration_time: IterationTable | None = None


class PolicyTable(Table):
    """[policy]; `options` are the preset's own (thresholds, quantum, ...)."""

    preset: str = "fcfs"
    preemption_cost_s: float = Field(default=0.0, ge=0.0)
    options: dict[str, Any] = Field(default_factory=dict)


class PredictedSizeTable(Table):
    """class.predicted_size."""

    error: Literal["none", "exact", "exponential", "lognormal"] = "exact"
    scv: float = 0.0


class ClassTable(Table):
    """[[class]]; the grammar of workload reads arrivals and laws."""

    name: str
    arrivals: Any = Field(description="e.g. arrivals = { process = 'poisson', rate = 0.5 }")
    service: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    factors: dict[str, Any] = Field(default_factory=dict)
    priority: int = 0
    weight: float = 1.0
    predicted_size: PredictedSizeTable = PredictedSizeTable()
    slo: dict[str, float] = Field(default_factory=dict)


class TransformTable(Table):
    """[[transform]]; which keys belong to which kind is checked when the transform is made."""

    kind: Literal["model-swap", "steps", "early-exit", "cache"]
    above_queue: int | None = None
    below_queue: int | None = None
    swap_time_s: float | None = None
    quality: float | None = None
    service_factor: float | None = None
    energy_factor: float | None = None
    fraction: float | None = None
    fractions: list[float] | None = None
    probabilities: list[float] | None = None
    delivery: Literal["stop", "release"] | None = None
    hit_ratio: float | None = None
    saved_fraction: float | None = None
    lookup_s: float | None = None


class ScenarioTables(Table):
    """The whole file."""

    name: str | None = None
    system: SystemTable = SystemTable()
    policy: PolicyTable = PolicyTable()
    request_class: list[ClassTable] = Field(alias="class", min_length=1, description="add a [[class]]")
    transform: list[TransformTable] = Field(default_factory=list)


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
            policy=make_policy(checked.policy.preset, folder, **_options(checked.policy)),
            system=_system(checked.system, folder),
            transforms=tuple(make_transform(table) for table in checked.transform),
            name=checked.name or default_name,
        )
    except InputError as error:
        raise InputError(f"{source}: {error.place}", error.fault, error.remedy) from error


def _options(table: PolicyTable) -> dict[str, Any]:
    if table.preemption_cost_s:
        raise InputError(
            "policy.preemption_cost_s", "is not analysed or simulated by this version", "leave it at 0"
        )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in copy.deepcopy(table.options).items()}


def _system(table: SystemTable, folder: Path) -> System:
    return System(
        servers=table.servers,
        batching=table.batching,
        max_batch=table.max_batch,
        kv_capacity_tokens=table.kv_capacity_tokens,
        model=None if table.service is None else _model(table.service, folder),
        iteration_time=IterationTime(**table.iteration_time.model_dump()) if table.iteration_time else None,
    )


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
    return RequestClass(
        name=table.name,
        arrivals=arrivals_from_table(table.arrivals, f"{place}.arrivals", folder),
        service=None if table.service is None else service_from_table(table.service, f"{place}.service", folder),
        factors=factors,
        priority=table.priority,
        weight=table.weight,
        predicted_size=PredictedSize(table.predicted_size.error, table.predicted_size.scv),
        slo=table.slo,
    )


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
