"""A scenario as the tables of a scenario file, in one canonical form: what it is fingerprinted by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.service.transform import TRANSFORMS, Transform
from qmodel.workload.grammar import arrivals_to_table, law_to_table
from qmodel.workload.joint_lengths import LENGTHS

if TYPE_CHECKING:
    from qmodel.policy import Policy
    from qmodel.scenario import Scenario, System
    from qmodel.service.pool import Pool
    from qmodel.service.station import Station
    from qmodel.workload import RequestClass


def to_tables(scenario: Scenario) -> dict[str, Any]:
    """The tables that spell the scenario; equal scenarios give equal tables.

    `scenario_file.from_tables` reads them back, save a fitted model, which stands there by its fingerprint.

    >>> from qmodel.scenario import Scenario
    >>> from qmodel.workload import Exponential, Poisson, RequestClass
    >>> chat = RequestClass("chat", arrivals=Poisson(rate=0.8), service=Exponential(mean=1.0))
    >>> to_tables(Scenario(classes=[chat]))["class"][0]["arrivals"]
    {'process': 'poisson', 'rate': 0.8}
    """
    policy = _policy_table(scenario.policy)
    policy |= {"preemption_cost_s": scenario.preemption.cost_s} if scenario.preemption.cost_s else {}
    policy |= {"grain_s": scenario.preemption.grain_s} if scenario.preemption.grain_s else {}
    tables = {
        "system": _system_table(scenario.system),
        "policy": policy,
        "class": [_class_table(request_class) for request_class in scenario.classes],
        "transform": [_transform_table(transform) for transform in scenario.transforms],
    }
    stations = [_station_table(station) for station in scenario.stations]
    return tables | ({"station": stations} if stations else {})


def _system_table(system: System) -> dict[str, Any]:
    table: dict[str, Any] = {"servers": system.servers, "batching": system.batching}
    for name in ("max_batch", "min_batch", "bins", "kv_capacity_tokens", "buffer", "migration_s"):
        if getattr(system, name) is not None:
            value = getattr(system, name)
            table[name] = list(value) if isinstance(value, tuple) else value
    for name in ("setup_s", "vacation_s"):
        if getattr(system, name) is not None:
            table[name] = law_to_table(getattr(system, name))
    if system.routing.kind != "shared":
        table["routing"] = str(system.routing)
    if system.environment is not None:
        rows = [list(row) for row in system.environment.generator]
        table["environment"] = {"speeds": list(system.environment.speeds), "generator": rows}
    if system.model is not None:
        table["service"] = getattr(system.model, "fingerprint", repr(system.model))
    if system.iteration_time is not None:
        table["iteration_time"] = system.iteration_time.terms()
    if system.engine is not None:
        table["engine"] = {n: v for n, v in vars(system.engine).items() if v is not None and n != "pools"}
        pools = [_pool_table(pool) for pool in system.engine.pools]
        table["engine"] |= {"pools": pools} if pools else {}
    return table


def _pool_table(pool: Pool) -> dict[str, Any]:
    given = {name: value for name, value in vars(pool).items() if value is not None}
    return given | {"stages": list(pool.stages)}


def _policy_table(policy: Policy) -> dict[str, Any]:
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in policy.spelled_options.items()}
    return {"preset": policy.name or f"{type(policy).__module__}:{type(policy).__qualname__}", "options": options}


def _class_table(request_class: RequestClass) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": request_class.name,
        "arrivals": arrivals_to_table(request_class.arrivals),
        "priority": request_class.priority,
        "weight": request_class.weight,
        "predicted_size": request_class.predicted_size.to_table(),
        "slo": dict(request_class.slo),
        "factors": {name: law_to_table(law) for name, law in request_class.factors.items()},
    }
    table |= {
        n: law_to_table(law)
        for n in ("service", "patience", "encode_s")
        if (law := getattr(request_class, n)) is not None
    }
    if request_class.joint is not None:
        table["lengths"] = request_class.joint.to_table()
        if "correlation" not in table["lengths"]:  # the pairs say both laws
            table["factors"] = {n: law for n, law in table["factors"].items() if n not in LENGTHS}
    if request_class.pause is not None:
        pause = request_class.pause
        duration = law_to_table(pause.duration)
        table["pause"] = {"probability": pause.probability, "duration": duration, "kv": pause.kv}
    if request_class.prefix_hit:
        table["prefix_hit"] = request_class.prefix_hit
    if request_class.services:
        table["services"] = {name: law_to_table(law) for name, law in request_class.services.items()}
    return table


def _station_table(station: Station) -> dict[str, Any]:
    return {
        "name": station.name,
        "servers": station.servers,
        "policy": _policy_table(station.policy)["preset"],
        "transfer_s": station.transfer_s,
    }


def _transform_table(transform: Transform) -> dict[str, Any]:
    kind = next((kind for kind, (made, _) in TRANSFORMS.items() if type(transform) is made), None)
    if kind is None:
        raise InputError(
            f"transform {type(transform).__name__}", "has no spelling in a scenario file", "use a known one"
        )
    values = {
        name: getattr(transform, name) for name in TRANSFORMS[kind][1] if getattr(transform, name) is not None
    }
    if transform.when is not None:
        values |= {"above_queue": transform.when.above, "swap_time_s": transform.when.swap_time_s}
        values |= {} if transform.when.below is None else {"below_queue": transform.when.below}
    return {"kind": kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
