"""Servers at work on one visit each: take up, attain, stop, give way; and what follows a service."""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.compiled import lent
from qmodel.simulation.kernels.heap import push
from qmodel.simulation.kernels.network_queues import before, head, take, wait
from qmodel.simulation.kernels.network_rows import (
    DEADLINE,
    DONE,
    FIXED,
    JOINED,
    JOINED_LAST,
    NONE,
    NOT_BEGUN,
    ON,
    SERVING,
    TABLE,
    TURN,
    USERS,
    Network,
)
from qmodel.simulation.kernels.rank import rank_of, shrink
from qmodel.simulation.kernels.servers import is_long

# A share of a grain or look: one reached up to this much too early by rounding is reached.
ROUNDING = 1e-9


@lent
def rank_at(net: Network, visit: int, attained: float) -> float:
    """Rank of a visit that has attained so many seconds of service."""
    row = net.visits[visit]
    station = net.stations[row.station]
    if station.order == USERS:
        return rank_of(net.own, visit, attained)
    if station.order == TURN:
        return row.rank
    if station.order == TABLE and attained < row.limit_s:
        return _by_table(net, row.table, attained)
    if attained >= row.limit_s:
        return -np.inf
    rank = row.key - station.slope * attained
    if station.levels:
        for level in range(net.thresholds.size):
            rank += attained >= net.thresholds[level]
    return rank


@lent
def _by_table(net: Network, table: int, attained: float) -> float:
    """Rank on the piece that this age is on: straight from the first to the last, and constant behind it."""
    low, high = net.table_rows[table], net.table_rows[table + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if net.tables[middle, 0] <= attained:
            low = middle
        else:
            high = middle
    start, end, first, last = net.tables[low]
    part = (attained - start) / (end - start)
    return last if part >= 1.0 else first + part * (last - first)


@lent
def first_rank(net: Network, visit: int) -> None:
    """The rank that a visit joins its station with."""
    row, now = net.visits[visit], net.clock[0].now
    order = net.stations[row.station].order
    if order == JOINED:
        row.key = now
    elif order == JOINED_LAST:
        row.key = -now
    elif order == DEADLINE:
        row.key = row.born_s + row.deadline_after_s
    if order == TURN:
        row.rank = next_turn(net)
        return
    if order == USERS:
        net.own.seen[visit].arrival_s = now
        net.own.seen[visit].deadline_s = row.born_s + row.deadline_after_s
    row.rank = rank_at(net, visit, 0.0) if order in (USERS, FIXED, TABLE) else row.key


@lent
def next_turn(net: Network) -> float:
    """The next number in the cyclic order."""
    net.clock[0].sequence += 1
    return float(net.clock[0].sequence)


@lent
def begin(net: Network, visit: int) -> None:
    """The first service of a visit: when, in which mode, and how long."""
    row, clock = net.visits[visit], net.clock[0]
    row.state = SERVING
    if row.work_s != NOT_BEGUN:
        return
    clock.long = is_long(clock.present, clock.long, net.control)
    row.start_s, row.reduced = clock.now, clock.long
    row.work_s = row.long_s if clock.long else row.service_s
    if clock.long and net.stations[row.station].sized:
        row.key *= row.work_s / row.service_s
        row.limit_s *= row.work_s / row.service_s
    if clock.long and net.stations[row.station].order == USERS:
        shrink(net.own, visit, row.work_s / row.service_s)


@lent
def take_up(net: Network, server: int, visit: int, moving_s: float) -> None:
    """A free server begins or resumes a visit, after what that costs: a move, a swap of models, a resumption."""
    row, place, now = net.visits[visit], net.servers[server], net.clock[0].now
    station = net.stations[row.station]
    take(net, visit)
    begin(net, visit)
    row.queue = place.queue
    overhead = moving_s + (station.cost_s if row.interrupted else 0.0)
    if place.loaded != row.reduced:
        overhead += net.control.swap_s
    row.interrupted = False
    place.loaded = row.reduced
    place.visit = visit
    place.since_s, place.begin_s = now, now + overhead
    place.turn_end_s = row.attained_s + station.turn_s
    note(net, visit)


@lent
def note(net: Network, visit: int) -> None:
    """One more entry of the trail: who was taken up, and when."""
    clock = net.clock[0]
    if clock.taken_up < net.trail.size:
        net.trail[clock.taken_up], net.trail_s[clock.taken_up] = visit, clock.now
    clock.taken_up += 1


@lent
def age(net: Network, server: int) -> float:
    """Service that the server's visit has attained by now."""
    place = net.servers[server]
    row = net.visits[place.visit]
    return min(row.attained_s + max(0.0, net.clock[0].now - place.begin_s) * net.clock[0].speed, row.work_s)


@lent
def attain(net: Network, server: int, attained: float) -> None:
    """Credit the server's visit with `attained` seconds in all; note when its result came out on the way."""
    place, now = net.servers[server], net.clock[0].now
    row = net.visits[place.visit]
    mark = (row.long_mark if row.reduced else row.mark) * row.work_s
    if row.attained_s < mark <= attained and mark < row.work_s:
        row.delivered_s = place.begin_s + (mark - row.attained_s) / net.clock[0].speed
    row.attained_s = attained
    row.overhead_s += max(0.0, min(now, place.begin_s) - place.since_s)
    place.since_s = now
    place.begin_s = max(now, place.begin_s)


@lent
def put_back(net: Network, server: int, rank: float) -> None:
    """The server's visit gives way and waits again."""
    place = net.servers[server]
    visit = place.visit
    row = net.visits[visit]
    row.preemptions += 1
    row.interrupted = True
    row.rank = rank
    place.visit, place.stop_s = NONE, np.inf
    wait(net, place.queue, visit)


@lent
def complete(net: Network, visit: int) -> None:
    """A service has ended: the next visit of the request is under way, or the request is done."""
    row, now = net.visits[visit], net.clock[0].now
    row.state, row.done_s = DONE, now
    if np.isnan(row.delivered_s):
        row.delivered_s = now
    if row.next != NONE:
        net.visits[row.next].born_s = row.born_s
        announce(net, row.next, now + row.gap_s)
        return
    net.clock[0].present -= 1
    gone(net, visit)


@lent
def gone(net: Network, visit: int) -> None:
    """A request is out of the system, served or not; one of a closed population thinks before its next."""
    net.clock[0].finished += 1
    pool = net.visits[visit].closed
    if pool == NONE:
        return
    following = net.pools[pool, 0]
    if following == net.pools[pool, 1]:
        net.clock[0].ran_out += net.until_s < np.inf
        return
    at_s = net.clock[0].now + net.think_s[following]
    if at_s < net.until_s:
        net.pools[pool, 0] += 1
        announce(net, following, at_s)


@lent
def announce(net: Network, visit: int, at_s: float) -> None:
    """The visit joins its station at a time to come."""
    net.clock[0].announced = push(net.event_s, net.event, net.clock[0].announced, at_s, visit)


@lent
def on_stop(net: Network, server: int) -> None:
    """A slice of service ends: the service too, or its order is looked at again."""
    place = net.servers[server]
    attain(net, server, place.target_s)
    visit = place.visit
    if net.visits[visit].attained_s >= net.visits[visit].work_s:
        place.visit, place.stop_s = NONE, np.inf
        complete(net, visit)


@lent
def turn_over(net: Network, server: int) -> None:
    """Round robin: whose turn has ended goes behind those that wait."""
    place = net.servers[server]
    if place.visit == NONE or net.visits[place.visit].attained_s < place.turn_end_s:
        return
    if net.queues[place.queue].waiting > 0:
        put_back(net, server, next_turn(net))
    else:
        place.turn_end_s += net.stations[net.queues[place.queue].station].turn_s


@lent
def at_grain(net: Network, server: int, grain: float) -> bool:
    """Whether the server's visit may be interrupted now: at whole grains of service."""
    if grain <= 0.0:
        return True
    steps = age(net, server) / grain
    return abs(steps - np.rint(steps)) <= ROUNDING * max(1.0, steps)


@lent
def preempt(net: Network, queue: int) -> bool:
    """Stop the service that goes last, if the first of those that wait goes before it. Whether it did."""
    row = net.queues[queue]
    station = net.stations[row.station]
    first, worst = head(net, queue), NONE
    for server in range(row.first, row.first + row.servers):
        place = net.servers[server]
        if place.state == ON and place.visit != NONE and at_grain(net, server, station.grain_s):
            net.visits[place.visit].rank = rank_at(net, place.visit, age(net, server))
            if worst == NONE or before(net.visits, net.servers[worst].visit, place.visit):
                worst = server
    if first == NONE or worst == NONE or not before(net.visits, first, net.servers[worst].visit):
        return False
    attain(net, worst, age(net, worst))
    put_back(net, worst, net.visits[net.servers[worst].visit].rank)
    return True


@lent
def review(net: Network, server: int, until: float) -> float:
    """Age at which the order of the server's visit is looked at again; ages past `until`, a time, do not count."""
    place, clock = net.servers[server], net.clock[0]
    row, visit = net.visits[place.visit], place.visit
    station = net.stations[row.station]
    here, target = age(net, server), row.work_s
    if station.turn_s < np.inf:
        return min(target, place.turn_end_s)
    if not station.preemptive or net.queues[place.queue].waiting == 0:
        return target
    first = head(net, place.queue)
    if station.grain_s > 0.0:
        rises = station.levels or station.look_s < np.inf
        if not rises and not _gives_way(net, first, visit, here):
            return target
        return min(target, station.grain_s * (np.floor(here / station.grain_s + ROUNDING) + 1.0))
    if station.levels:
        for level in range(net.thresholds.size):
            if here < net.thresholds[level] < target:
                return net.thresholds[level]
    if station.look_s == np.inf:
        return target
    looked = station.look_s * (np.floor(here / station.look_s + ROUNDING) + 1.0)
    last = min(target, here + max(0.0, until - clock.now) * clock.speed)
    while looked < last and not _gives_way(net, first, visit, looked):
        looked += station.look_s
    return min(looked, target)


@lent
def _gives_way(net: Network, first: int, visit: int, attained: float) -> bool:
    net.visits[visit].rank = rank_at(net, visit, attained)
    return before(net.visits, first, visit)


@lent
def work_on(net: Network, server: int, until: float) -> None:
    """Set the next stop of a busy server."""
    place, speed = net.servers[server], net.clock[0].speed
    place.target_s = review(net, server, until)
    left = place.target_s - net.visits[place.visit].attained_s
    place.stop_s = place.begin_s + left / speed if speed > 0.0 else np.inf
