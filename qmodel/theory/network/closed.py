"""Closed populations: users who think, ask, wait for the answer, and think again.

Every class has `population` users with mean think time `think_s`; one system, or stations in line, answers them.
By mean value analysis (`mva`): exact in product form, whatever the law of thinking. A round is think time,
response, and the ways between stations. By Little X = N / (Z + E[T]), so rates here are throughputs.

Sources: Reiser & Lavenberg, *J. ACM* 27 (1980) 313-322; Baskett, Chandy, Muntz & Palacios, *J. ACM* 22 (1975)
248-260.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qmodel.answer import NotAnalysable
from qmodel.policy import FCFS, LCFS, PS, LCFSPreemptive, Policy, RandomOrder
from qmodel.scenario import Scenario, ServedClass, System
from qmodel.theory.network.mva import Network, Queue, closed_network
from qmodel.theory.numerics.phases import exponential_phases
from qmodel.theory.one_server.m_g_1 import INDEPENDENT
from qmodel.theory.result import ClassResult, Result
from qmodel.workload import Closed, Distribution, Poisson

STATED = "stated error: mean response 5 %, up to 20 % near the population at which several servers fill"


@dataclass(frozen=True)
class Stop:
    """A station, or the one system (of name ""): policy, servers, and the law of each class's service."""

    name: str
    policy: Policy
    servers: int
    laws: tuple[Distribution | None, ...]
    transfer_s: float = 0.0


def closed_population(scenario: Scenario) -> Result | NotAnalysable:
    """Mean response and throughput of every class."""
    users = [served.arrivals for served in scenario.served]
    populations = [user.population for user in users if isinstance(user, Closed)]
    if len(populations) < len(users):
        return NotAnalysable("open and closed classes together have no result", "all classes closed, or none")
    refusal = _refusal(scenario)
    if refusal is not None:
        return refusal
    stops = _stops(scenario)
    stopped = next((stop for stop in stops if not _product_form(stop)), None)
    if stopped is not None:
        where = f" at station '{stopped.name}'" if stopped.name else ""
        reason = f"policy '{stopped.policy.name}' with these service laws{where} has no product form"
        return NotAnalysable(reason, "ps, or fcfs with one exponential law for all classes")
    ways = [_way(r, stops) for r in range(len(users))]
    thinking = [user.think_s + way for user, way in zip(users, ways, strict=True) if isinstance(user, Closed)]
    queues = [Queue(tuple(_mean(law) for law in stop.laws), stop.servers) for stop in stops]
    return _result(scenario, stops, closed_network(populations, thinking, queues), ways)


def _refusal(scenario: Scenario) -> NotAnalysable | None:
    system = scenario.system
    plain = System(servers=1 if scenario.stations else system.servers, model=system.model)
    if system != plain or scenario.condition is not None:
        return NotAnalysable("a closed population is analysed with servers alone", "the same without the rest")
    if scenario.stations and scenario.transforms:
        return NotAnalysable(
            "transforms of service at stations in line have no result", "the same laws written out"
        )
    if any(served.service.delivered_at is not None for served in scenario.served):
        return NotAnalysable("results leave before their service ends", "the same early exit with delivery 'stop'")
    return None


def _stops(scenario: Scenario) -> list[Stop]:
    if not scenario.stations:
        laws = tuple(served.size for served in scenario.served)
        return [Stop("", scenario.policy, scenario.system.servers, laws)]
    stops = []
    for station in scenario.stations:
        here = tuple(served.at_stations.get(station.name) for served in scenario.served)
        if any(law is not None for law in here):
            stops.append(Stop(station.name, station.policy, station.servers, here, station.transfer_s))
    return stops


def _mean(law: Distribution | None) -> float:
    return 0.0 if law is None else law.mean


def _product_form(stop: Stop) -> bool:
    kind = type(stop.policy)
    if kind is PS or (kind is LCFSPreemptive and stop.servers == 1):
        return True
    laws = [law for law in stop.laws if law is not None]
    means = {mean for law in laws for _, mean in exponential_phases(law) or [(1.0, math.nan)]}
    return kind in (FCFS, LCFS, RandomOrder) and len(means) == 1 and not math.isnan(next(iter(means)))


def _way(r: int, stops: Sequence[Stop]) -> float:
    """The ways between the stations that class r visits (s)."""
    return math.fsum([stop.transfer_s for stop in stops if stop.laws[r] is not None][:-1])


def _result(scenario: Scenario, stops: Sequence[Stop], network: Network, ways: Sequence[float]) -> Result:
    parts = tuple(_class_result(served, r, stops, network, ways[r]) for r, served in enumerate(scenario.served))
    load = max(
        math.fsum(x * _mean(law) for x, law in zip(network.throughput, stop.laws, strict=True)) / stop.servers
        for stop in stops
    )
    return Result(
        classes=parts,
        name="closed population: " + ("mean value analysis" if network.exact else "Schweitzer's approximation"),
        source="Reiser & Lavenberg 1980" if network.exact else "Schweitzer 1979; Bard 1979",
        assumptions=(INDEPENDENT, "each user asks anew a think time after the answer"),
        method="exact" if network.exact else "approximation",
        utilisation=min(load, 1.0),
        notes=("rates are throughputs", *(() if network.exact else (STATED,))),
    )


def _class_result(served: ServedClass, r: int, stops: Sequence[Stop], network: Network, way: float) -> ClassResult:
    service = math.fsum(_mean(stop.laws[r]) for stop in stops)
    times = zip(stops, network.times[r], strict=True)
    extra: dict[str, float | None] = {f"mean_at_{stop.name}_s": float(time) for stop, time in times if stop.name}
    return ClassResult(
        served=replace(served, arrivals=Poisson(network.throughput[r])),
        mean_service=service,
        mean_response=network.response(r) + way,
        extra=extra | {"mean_wait_s": network.response(r) - service},
    )
