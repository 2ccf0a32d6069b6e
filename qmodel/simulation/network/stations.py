"""Stations, queues and servers as rows, and the rank that each visit brings to its station."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.policy import EDF, LCFS, MLFQ, TRAIL, NonPreemptivePriority, Policy, RoundRobin
from qmodel.policy.accumulating import AccumulatingPriority
from qmodel.policy.gittins import Gittins
from qmodel.service.transform import Service
from qmodel.simulation import forms, own_rank
from qmodel.simulation.kernels import network_rows as rows
from qmodel.simulation.kernels.columns import Control

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy.preemption import Preemption
    from qmodel.policy.routing import Routing
    from qmodel.scenario import Scenario
    from qmodel.service.station import Station
    from qmodel.simulation.network.visits import Visits

MOST_TICKETS = 2.0**44
"""A ticket has 53 bits: it can name this many choices of queues and leave some bits for ties."""
ORDERS: dict[Callable, int] = {
    Policy.rank: rows.JOINED,
    LCFS.rank: rows.JOINED_LAST,
    EDF.rank: rows.DEADLINE,
    RoundRobin.rank: rows.TURN,
}
ROUTES = {"random": rows.RANDOM, "round-robin": rows.CYCLIC, "jsq": rows.SHORTEST, "least-work": rows.LEAST_WORK}


@dataclass(frozen=True)
class Place:
    """A station as the general loop takes it, whether it is the whole system or one of a tandem."""

    servers: int
    policy: Policy
    shares: bool = False
    share_limit: int | None = None
    routing: Routing | None = None
    migration_s: float | None = None
    switches: bool = False
    leaves: bool = False

    @property
    def has_own_queues(self) -> bool:
        """Whether each server has its own."""
        return self.servers > 1 and self.routing is not None and self.routing.kind != "shared"


def places_of(scenario: Scenario) -> list[Place]:
    """The stations of a scenario. Raises InputError for what does not go together."""
    system = scenario.system
    if scenario.stations:
        return [Place(s.servers, _bound(scenario, s), s.policy.sharing is not None) for s in scenario.stations]
    return [
        Place(
            servers=system.servers,
            policy=scenario.policy,
            shares=scenario.shares_server,
            share_limit=system.max_batch if system.batching == "processor-sharing" else None,
            routing=system.routing,
            migration_s=system.migration_s,
            switches=system.setup_s is not None,
            leaves=system.vacation_s is not None,
        )
    ]


def _bound(scenario: Scenario, station: Station) -> Policy:
    """The station's policy, told of the classes that come by and their services there."""
    if not station.policy.binds:
        return station.policy
    here = [served for served in scenario.served if station.name in served.at_stations]
    return station.policy.bound([replace(s, service=Service(s.at_stations[station.name])) for s in here])


@dataclass
class Layout:
    """Rows of stations, queues and servers, and what the ranks of visits are made of."""

    stations: Any
    queues: Any
    servers: Any
    key: NDArray[np.float64]
    limit_s: NDArray[np.float64]
    weight: NDArray[np.float64]
    primary: NDArray[np.float64]
    group: NDArray[np.int64]
    table: NDArray[np.int64]
    tables: list[NDArray[np.float64]]
    thresholds: NDArray[np.float64]
    own: Policy | None
    groups: int
    notes: list[str]


def lay_out(places: list[Place], visits: Visits, preemption: Preemption, control: Control) -> Layout:
    """Rows for these stations and visits. Raises InputError for what is not simulated together."""
    count = len(visits.rows)
    layout = Layout(
        np.zeros(len(places), dtype=rows.STATION), *_queues_and_servers(places),
        np.zeros(count), np.full(count, math.inf), np.ones(count), np.zeros(count), np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=np.int64), [], np.empty(0), None, 1, [],
    )  # fmt: skip
    first = 0
    for number, place in enumerate(places):
        _check(place, preemption, control)
        row = layout.stations[number]
        row.first, row.queues = first, place.servers if place.has_own_queues else 1
        first += row.queues
        row.cost_s, row.grain_s = preemption.cost_s, preemption.grain_s
        row.turn_s = row.look_s = math.inf
        _route(row, place)
        _order(layout, number, place, visits, preemption)
    return layout


def _queues_and_servers(places: list[Place]) -> tuple[Any, Any]:
    queues: list[tuple[int, int, int]] = []
    servers: list[int] = []
    for number, place in enumerate(places):
        each = [1] * place.servers if place.has_own_queues else [place.servers]
        for count in each:
            queues.append((number, len(servers), count))
            servers += [len(queues) - 1] * count
    made = np.zeros(len(queues), dtype=rows.QUEUE)
    for row, (number, first, count) in zip(made, queues, strict=True):
        row.station, row.first, row.servers = number, first, count
        row.root, row.leave_s = rows.NONE, math.inf
    idle = np.zeros(len(servers), dtype=rows.SERVER)
    for row, queue in zip(idle, servers, strict=True):
        row.queue, row.visit, row.stop_s = queue, rows.NONE, math.inf
    return made, idle


def _route(row: Any, place: Place) -> None:
    row.routing, row.choices, row.turn = rows.RANDOM, 1, -1
    row.migrates, row.migration_s = place.migration_s is not None and place.servers > 1, place.migration_s or 0.0
    row.switches, row.leaves = place.switches, place.leaves
    if not place.has_own_queues or place.routing is None:
        return
    row.routing = ROUTES[place.routing.kind]
    row.choices = place.servers if place.routing.choices is None else min(place.routing.choices, place.servers)
    if row.choices < place.servers and float(place.servers) ** row.choices > MOST_TICKETS:
        fault = f"compares {row.choices} of {place.servers} servers"
        raise InputError("system.routing", fault + ", more than is simulated", "compare fewer, or all: jsq")


def _check(place: Place, preemption: Preemption, control: Control) -> None:
    policy, alone = place.policy, place.has_own_queues or place.servers == 1
    name = policy.name or type(policy).__name__
    if place.shares and policy.sharing == "weighted" and not alone:
        raise InputError("system, servers", "several servers are not shared by weight", "use 1, or policy ps")
    if place.shares and (place.switches or place.leaves) and not alone:
        fault = "of several servers that are shared together is not simulated"
        raise InputError("system", f"setup or vacation {fault}", "give each its queue: system.routing")
    if place.switches and place.leaves:
        raise InputError("system, vacation_s", "comes beside setup_s", "give one of the two")
    if place.shares and control.swap_s > 0:
        fault = "means nothing where requests in both modes are served at once"
        raise InputError("transform, swap_time_s", fault, "set it to 0, or take another policy")
    if place.shares and place.share_limit is None and place.migration_s is not None:
        raise InputError("system, migration_s", f"nobody waits under {name}", "leave it out, or set max_batch")
    endless = place.shares or _falls_behind(policy)
    if endless and preemption.cost_s > 0 and preemption.grain_s == 0:
        fault = f"under {name} requests take turns without end"
        raise InputError("policy.preemption, cost_s", fault, "set policy.preemption.grain_s too")
    turns = place.share_limit is None and policy.sharing == "equal"
    if place.shares and not turns and not preemption.is_free:
        raise InputError("policy.preemption", f"is not simulated where {name} shares", "use ps, or leave it out")


def _falls_behind(policy: Policy) -> bool:
    """Whether the served fall behind the waiting at any age (least attained service)."""
    return forms.SLOPES.get(type(policy).rank, 0.0) < 0


def _order(layout: Layout, number: int, place: Place, visits: Visits, preemption: Preemption) -> None:
    row, policy = layout.stations[number], place.policy
    function = type(policy).rank
    if place.shares:
        row.order = rows.JOINED
        if policy.sharing is not None and preemption.grain_s > 0:  # steps of a grain in turn
            row.order, row.turn_s = rows.TURN, preemption.grain_s
            layout.notes.append(f"shared in turns of {preemption.grain_s:g} s")
            return
        row.sharing, row.weighted = True, policy.sharing == "weighted"
        if row.weighted:
            here = visits.station == number
            layout.weight[here] = visits.rows.weight[here]
        row.limit = len(visits.rows)
        if place.share_limit is not None:
            row.limit = place.share_limit * (1 if place.has_own_queues else place.servers)
        if policy.sharing is not None:
            return
    else:
        row.preemptive = policy.preemptive
    if isinstance(policy, RoundRobin) and function is RoundRobin.rank:
        row.order, row.preemptive = rows.TURN, False
        row.turn_s = policy.quantum
        if preemption.grain_s > 0:
            row.turn_s = preemption.grain_s * math.ceil(policy.quantum / preemption.grain_s - 1e-9)
        return
    if isinstance(policy, AccumulatingPriority):
        _accumulate(layout, number, policy, visits)
    else:
        _by_rank(layout, number, policy, visits)


def _by_rank(layout: Layout, number: int, policy: Policy, visits: Visits) -> None:
    inner: Policy | None = getattr(policy, "inner", None)
    if isinstance(policy, NonPreemptivePriority) and inner is not None:
        here = visits.station == number
        layout.primary[here] = visits.rows.priority[here]
        _by_rank(layout, number, inner, visits)
        if policy.preemptive and not inner.preemptive:  # its own class does not interrupt what has begun
            layout.limit_s[here] = np.nextafter(0.0, 1.0)
    elif type(policy).rank in forms.KEYS:
        _preset(layout, number, policy, visits)
    elif isinstance(policy, Gittins):
        _by_table(layout, number, policy, visits)
    elif policy.timed:
        fault = "has a rank that changes while a request waits"
        raise InputError(f"policy '{policy.name}'", f"{fault}, which is not simulated", "use accumulating")
    else:
        _users(layout, number, policy, visits)


def _accumulate(layout: Layout, number: int, policy: AccumulatingPriority, visits: Visits) -> None:
    here, classes = visits.station == number, visits.rows.classes
    layout.stations[number].order = rows.ACCUMULATED
    rates = np.array([policy.rate_of(served.name) for served in classes])
    layout.key[here] = rates[visits.rows.class_index[here]]
    layout.group[here] = visits.rows.class_index[here]
    layout.groups = len(classes)


def _by_table(layout: Layout, number: int, policy: Gittins, visits: Visits) -> None:
    here, row = visits.station == number, layout.stations[number]
    row.order = rows.TABLE
    layout.table[here] = len(layout.tables) + visits.rows.class_index[here]
    for served in visits.rows.classes:
        found = policy.tables[served.name]
        layout.tables.append(np.column_stack([found.start, found.end, found.first, found.last]))
    if row.grain_s == 0 and any(_rises(table) for table in layout.tables):
        _look(layout, number, visits)
    elif row.grain_s > 0:
        row.look_s = 1.0  # looked at at every grain


def _rises(table: NDArray[np.float64]) -> bool:
    """Whether a rank by age gets worse anywhere."""
    return bool((table[:, 3] > table[:, 2]).any() or (table[1:, 2] > table[:-1, 3]).any())


def _preset(layout: Layout, number: int, policy: Policy, visits: Visits) -> None:
    row, function = layout.stations[number], type(policy).rank
    here = visits.station == number
    row.order = ORDERS.get(function, rows.FIXED)
    if row.order == rows.FIXED:
        key = forms.KEYS[function](visits.rows)
        layout.key[here] = key[here]
        if isinstance(policy, TRAIL):
            layout.limit_s[here] = policy.limit * key[here]
    row.slope, row.sized = forms.SLOPES.get(function, 0.0), function in forms.SIZED
    if isinstance(policy, MLFQ):
        levels = np.array(policy.thresholds, dtype=float)
        if layout.thresholds.size and not np.array_equal(layout.thresholds, levels):
            raise InputError("station, policy", "two stations have different mlfq levels", "give both the same")
        layout.thresholds, row.levels = levels, True
    if row.slope < 0 and row.preemptive:
        if row.grain_s > 0:
            row.look_s = 1.0  # looked at at every grain
        else:
            _look(layout, number, visits)


def _users(layout: Layout, number: int, policy: Policy, visits: Visits) -> None:
    if layout.own is not None and layout.own != policy:
        raise InputError("station, policy", "two stations have ranks of their own", "use a preset for one")
    layout.own = policy
    row = layout.stations[number]
    row.order = rows.USERS
    if not policy.preemptive or row.grain_s > 0:
        row.look_s = 1.0 if policy.preemptive else math.inf  # with a grain, looked at at every one
        return
    seen, _ = own_rank.own(policy, visits.rows)
    if own_rank.rises(seen, visits.rows):
        _look(layout, number, visits)


def _look(layout: Layout, number: int, visits: Visits) -> None:
    look = float(visits.rows.service_s[visits.station == number].mean()) / forms.LOOKS_PER_SERVICE
    layout.stations[number].look_s = look
    layout.notes.append(forms.looks(look))
