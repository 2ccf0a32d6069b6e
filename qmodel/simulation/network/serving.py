"""Run the general event loop on a scenario's requests, and gather what became of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.errors import InputError
from qmodel.simulation import own_rank, streams
from qmodel.simulation.invariants import Records, littles_law
from qmodel.simulation.kernels import network_rows as rows
from qmodel.simulation.kernels.network import run
from qmodel.simulation.kernels.network_rows import ABANDONED, DONE, NONE, REJECTED
from qmodel.simulation.kernels.rank import SEEN, SEEN_FIELDS, Own
from qmodel.simulation.network.environment import path_of
from qmodel.simulation.network.stations import Layout, lay_out, places_of
from qmodel.simulation.network.visits import Visits, visits_of
from qmodel.workload import Closed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.policy import Policy
    from qmodel.scenario import Scenario
    from qmodel.simulation.kernels.columns import Control
    from qmodel.simulation.requests import Requests

    Floats = NDArray[np.float64]

FIRST_POOL, LARGEST_POOL = 4_096, 1 << 27
"""Samples of setups, vacations and changes of speed at first, and where to give up."""
NO_BUFFER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Fates:
    """What became of each request, in the order of their rows. Times in seconds; NaN where there is none.

    `arrival_s` to the system, `start_s` of its first service, `done_s` end of its last or of its patience,
    `delivered_s` result out, `service_s` all its services, `size_s` what it would take alone, `away_s` pauses and
    transfers, `overhead_s` what servers spent on it beside service, `state` DONE, REJECTED, ABANDONED, or COMING if
    it never came (closed populations). `ran_out`: a closed population would have sent more before its time was up.
    `area_s`: the integral of the number in the system; `busy_s`: seconds of work and overhead that servers did.
    """

    arrival_s: Floats
    start_s: Floats
    done_s: Floats
    delivered_s: Floats
    service_s: Floats
    size_s: Floats
    away_s: Floats
    overhead_s: Floats
    reduced: NDArray[np.bool_]
    preemptions: NDArray[np.int64]
    migrations: NDArray[np.int64]
    state: NDArray[np.int64]
    ran_out: bool = False
    area_s: float = 0.0
    busy_s: float = 0.0

    def __len__(self) -> int:
        return self.state.size


@dataclass(frozen=True)
class Trail:
    """Whom servers took up, in that order, and when."""

    request: NDArray[np.int64]
    taken_s: Floats


def serve(
    scenario: Scenario,
    requests: Requests,
    seed: np.random.SeedSequence,
    control: Control,
    until_s: float = np.inf,
    trail: int = 0,
) -> tuple[Fates, Trail, list[str]]:
    """Serve all requests; returns what became of each, the first entries of the trail, and notes.

    `until_s`: closed populations send no request after it. Raises InputError for what cannot be simulated, and for
    a rank that raises or is not a number.
    """
    visits = visits_of(scenario, requests, seed)
    layout = lay_out(places_of(scenario), visits, scenario.preemption, control)
    table = _table(scenario, requests, visits, layout)
    own, callback = _own(layout.own or scenario.policy, visits.rows, is_used=layout.own is not None)
    pool = FIRST_POOL
    while True:
        net = _network(scenario, requests, visits, layout, table.copy(), own, control, seed, pool, until_s, trail)
        run(net)
        own_rank.check(own, callback, layout.own or scenario.policy, owner=visits.owner)
        if not net.clock[0].dry:
            break
        if pool >= LARGEST_POOL:
            raise InputError("simulation", "the servers are away nearly always", "give shorter absences")
        pool *= 4
    taken = min(trail, int(net.clock[0].taken_up))
    notes = [*layout.notes, *([] if callback is None or layout.own is None else [own_rank.PYTHON_RANK])]
    clock = net.clock[0]
    found = fates(net.visits, visits, len(requests))
    found = replace(found, ran_out=bool(clock.ran_out), area_s=float(clock.area_s), busy_s=float(clock.busy_s))
    littles_law(Records.of_fates(found), found.area_s)
    return found, Trail(visits.owner[net.trail[:taken]], net.trail_s[:taken]), notes


def _own(policy: Policy, requests: Requests, is_used: bool) -> tuple[Any, own_rank.Callback | None]:
    """The user's rank; where there is none, a stand-in that is never called."""
    if is_used:
        return own_rank.own(policy, requests)
    stand_in = own_rank.Callback(policy, ("",))
    return Own(stand_in, np.zeros(1, dtype=np.int64), np.empty(0, dtype=SEEN)), None


def _table(scenario: Scenario, requests: Requests, visits: Visits, layout: Layout) -> Any:
    """Rows of VISIT of which nothing is known but what they bring."""
    given = visits.rows
    table = np.zeros(len(given), dtype=rows.VISIT)
    table["station"], table["group"], table["table"] = visits.station, layout.group, layout.table
    table["next"] = visits.following
    table["gap_s"], table["route"], table["patience_s"] = visits.gap_s, visits.route, visits.patience_s
    table["service_s"], table["long_s"] = given.service_s, given.long_s
    table["mark"] = given.mark if given.mark.size else 1.0
    table["long_mark"] = given.long_mark if given.mark.size else 1.0
    table["primary"], table["key"], table["limit_s"] = layout.primary, layout.key, layout.limit_s
    table["weight"] = layout.weight
    table["deadline_after_s"] = given.deadline_after_s
    for name in ("born_s", "join_s", "start_s", "done_s", "delivered_s"):
        table[name] = np.nan
    for name in ("closed", "left", "right"):
        table[name] = NONE
    table["work_s"] = rows.NOT_BEGUN
    for number, index in enumerate(_closed(scenario)):
        table["closed"][requests.class_index[visits.owner] == index] = number
    return table


def _closed(scenario: Scenario) -> list[int]:
    """Numbers of the classes that are closed populations."""
    return [i for i, served in enumerate(scenario.served) if isinstance(served.arrivals, Closed)]


def _network(
    scenario: Scenario, requests: Requests, visits: Visits, layout: Layout, table: Any, own: Any, control: Control,
    seed: np.random.SeedSequence, pool: int, until_s: float, trail: int,
) -> rows.Network:  # fmt: skip
    pools, think_s = _populations(scenario, requests, seed)
    event_s, event = np.empty(2 * len(table) + 1), np.empty(2 * len(table) + 1, dtype=np.int64)
    opening = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(*pool[:2]) for pool in pools)])
    pools[:, 0] = pools[:, 1]
    order = opening[np.argsort(think_s[opening], kind="stable")]
    event_s[: order.size], event[: order.size] = think_s[order], order  # sorted: a heap
    changes, speeds = path_of(scenario.system.environment, seed, pool)
    clock = np.zeros(1, dtype=rows.CLOCK)
    clock[0].speed, clock[0].announced = speeds[0], order.size
    seen = np.empty(len(own.seen), dtype=SEEN)
    for name in SEEN_FIELDS if len(seen) else ():
        seen[name] = own.seen[name]
    return rows.Network(
        visits=table,
        servers=layout.servers.copy(),
        queues=layout.queues.copy(),
        stations=layout.stations.copy(),
        clock=clock,
        control=control,
        tables=np.concatenate([*layout.tables, np.empty((0, 4))]),
        table_rows=np.concatenate(([0], np.cumsum([len(each) for each in layout.tables], dtype=np.int64))),
        first_s=np.ascontiguousarray(requests.arrival_s[np.isfinite(requests.arrival_s)]),
        requests=len(requests),
        buffer=NO_BUFFER if scenario.system.buffer is None else scenario.system.buffer,
        until_s=float(until_s),
        roots=np.full((len(layout.queues), layout.groups), NONE, dtype=np.int64),
        path=np.empty(len(table), dtype=np.int64),
        event_s=event_s,
        event=event,
        thresholds=layout.thresholds,
        pools=np.ascontiguousarray(pools[:, [0, 2]]),
        think_s=think_s,
        spell_s=_spells(scenario, seed, pool),
        change_s=changes,
        speeds=speeds,
        own=own._replace(seen=seen),
        trail=np.empty(trail, dtype=np.int64),
        trail_s=np.empty(trail),
        candidates=np.empty(len(layout.queues), dtype=np.int64),
        burdens=np.empty(len(layout.queues)),
    )


def _populations(
    scenario: Scenario, requests: Requests, seed: np.random.SeedSequence
) -> tuple[NDArray[np.int64], Floats]:
    """Of each closed population the first row, the end of its first requests and of all; thinking before each."""
    closed = _closed(scenario)
    pools, think = np.zeros((len(closed), 3), dtype=np.int64), np.zeros(len(requests) if closed else 0)
    for number, index in enumerate(closed):
        mine = np.flatnonzero(requests.class_index == index)
        process = scenario.served[index].arrivals
        assert isinstance(process, Closed)
        first = int(mine[0])
        pools[number] = first, first + min(process.population, mine.size), first + mine.size
        exponential = streams.generator(seed, index, "thinking").standard_exponential(mine.size)
        think[mine] = exponential * process.think_s
    return pools, think


def _spells(scenario: Scenario, seed: np.random.SeedSequence, pool: int) -> Floats:
    law = scenario.system.setup_s or scenario.system.vacation_s
    if law is None or scenario.stations:
        return np.empty(0)
    return law.sample(np.random.default_rng(streams.system_stream(seed, "spells")), pool)


def fates(table: Any, visits: Visits, count: int) -> Fates:
    """From the visits of each of `count` requests to its fate."""
    owner = visits.owner
    last = np.arange(count)
    last[owner[count:]] = np.arange(count, owner.size)  # the last write stays: rows behind are in order
    first, end = table[:count], table[last]
    lost = (first["state"] == REJECTED) | (first["state"] == ABANDONED)
    state = np.where(lost, first["state"], end["state"])
    served = state == DONE
    total = {
        name: np.bincount(owner, weights=table[name].astype(float), minlength=count)
        for name in ("overhead_s", "preemptions", "migrations")
    }
    work = np.where(table["work_s"] < 0, 0.0, table["work_s"])
    service = np.asarray(np.bincount(owner, weights=work, minlength=count), dtype=float)
    away = np.bincount(owner, weights=visits.gap_s, minlength=count)
    return Fates(
        arrival_s=first["born_s"].copy(),
        start_s=first["start_s"].copy(),
        done_s=np.where(lost, first["done_s"], end["done_s"]),
        delivered_s=np.where(served, end["delivered_s"], np.nan),
        service_s=np.where(served, service, 0.0),
        size_s=service,
        away_s=np.where(served, away, 0.0),
        overhead_s=np.asarray(total["overhead_s"], dtype=float),
        reduced=first["reduced"].copy(),
        preemptions=total["preemptions"].astype(np.int64),
        migrations=total["migrations"].astype(np.int64),
        state=state.astype(np.int64),
    )
