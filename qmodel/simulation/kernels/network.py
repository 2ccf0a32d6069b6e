"""The general event loop: stations of servers with whatever a scenario may ask for.

Own queues and routing, migration, finite buffers, impatience, pauses and tandems (visits that follow one another),
setup, vacations, speeds that change, costs and grains of preemption, closed populations. The other loops are
several times faster and know none of this.

At an instant: speeds change, services and absences end, arrivals and returns join, servers take up whom the order
names, and then patience ends.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from qmodel.simulation.kernels.compiled import compiled, lent
from qmodel.simulation.kernels.heap import pop, push
from qmodel.simulation.kernels.network_queues import head, leave, longest, on_servers, wait
from qmodel.simulation.kernels.network_routes import route
from qmodel.simulation.kernels.network_rows import (
    ABANDONED,
    AWAY,
    NONE,
    NOT_BEGUN,
    OFF,
    ON,
    REJECTED,
    SETTING_UP,
    WAITING,
    Network,
)
from qmodel.simulation.kernels.network_service import (
    age,
    attain,
    first_rank,
    gone,
    on_stop,
    preempt,
    take_up,
    turn_over,
    work_on,
)
from qmodel.simulation.kernels.network_sharing import admit, advance, look_ahead, on_leave


@lent
def spell(net: Network) -> float:
    """The next setup or vacation (s)."""
    clock = net.clock[0]
    if clock.spell == net.spell_s.size:
        clock.dry = True
        return 1.0
    clock.spell += 1
    return net.spell_s[clock.spell - 1]


@lent
def join(net: Network, visit: int) -> None:
    """A visit arrives at its station; the first of a request is turned away where there is no room."""
    row, clock = net.visits[visit], net.clock[0]
    row.join_s = clock.now
    if np.isnan(row.born_s):
        row.born_s = clock.now
        if clock.present >= net.buffer:
            row.state = REJECTED
            gone(net, visit)
            return
        clock.present += 1
    first_rank(net, visit)
    wait(net, route(net, row.station, row.route), visit)
    if row.patience_s < np.inf:
        clock.announced = push(net.event_s, net.event, clock.announced, clock.now + row.patience_s, -1 - visit)


@lent
def lose_patience(net: Network, visit: int) -> None:
    """A visit that has not begun leaves unserved."""
    row = net.visits[visit]
    if row.state != WAITING or row.work_s != NOT_BEGUN:
        return
    leave(net, visit)
    row.state, row.done_s = ABANDONED, net.clock[0].now
    net.clock[0].present -= 1
    gone(net, visit)


@lent
def settle(net: Network) -> None:
    """Credit what has been done so far; a change of speed is next."""
    for server in range(net.servers.size):
        if net.servers[server].visit != NONE:
            attain(net, server, age(net, server))
    for queue in range(net.queues.size):
        advance(net, queue)


@lent
def rest(net: Network, server: int) -> None:
    """A server without work stays, switches off or goes on vacation."""
    place = net.servers[server]
    station = net.stations[net.queues[place.queue].station]
    if station.switches:
        place.state, place.stop_s = OFF, np.inf
    elif station.leaves:
        place.state, place.stop_s = AWAY, net.clock[0].now + spell(net)


@lent
def switch(net: Network, queue: int) -> None:
    """As many servers in setup as there are visits for them (Gandhi, Doroudi & Harchol-Balter 2013)."""
    row, busy = net.queues[queue], 0
    for server in range(row.first, row.first + row.servers):
        busy += net.servers[server].state == SETTING_UP
    for server in range(row.first, row.first + row.servers):
        place = net.servers[server]
        if place.state == OFF and busy < row.waiting:
            place.state, place.stop_s = SETTING_UP, net.clock[0].now + spell(net)
            busy += 1
    while busy > row.waiting:
        latest = NONE
        for server in range(row.first, row.first + row.servers):
            place = net.servers[server]
            if place.state == SETTING_UP and (latest == NONE or place.stop_s > net.servers[latest].stop_s):
                latest = server
        net.servers[latest].state, net.servers[latest].stop_s = OFF, np.inf
        busy -= 1


@lent
def is_free(net: Network, server: int) -> bool:
    """Whether a server is there and has nothing to do."""
    return net.servers[server].state == ON and net.servers[server].visit == NONE


@lent
def fill(net: Network, queue: int) -> None:
    """Free servers take up those that wait in their queue."""
    row = net.queues[queue]
    for server in range(row.first, row.first + row.servers):
        if row.waiting > 0 and is_free(net, server):
            take_up(net, server, head(net, queue), 0.0)


@lent
def order(net: Network, queue: int) -> None:
    """Whom the servers of a queue work on from now on."""
    row = net.queues[queue]
    station = net.stations[row.station]
    if station.sharing:
        advance(net, queue)
        admit(net, queue)
        return
    if station.turn_s < np.inf:
        for server in range(row.first, row.first + row.servers):
            turn_over(net, server)
    fill(net, queue)
    while station.preemptive and row.waiting > 0 and preempt(net, queue):
        fill(net, queue)


@lent
def idle(net: Network, queue: int) -> None:
    """Servers that found nothing to do in their queue: help in the longest, or rest."""
    row = net.queues[queue]
    station = net.stations[row.station]
    for server in range(row.first, row.first + row.servers):
        if not is_free(net, server) or row.inside > 0:
            continue
        source = longest(net, row.station) if station.migrates else NONE
        if source == NONE:
            rest(net, server)
            continue
        visit = head(net, source)
        net.visits[visit].migrations += 1
        take_up(net, server, visit, station.migration_s)
    if station.switches:
        switch(net, queue)


@lent
def next_event(net: Network, arrived: int, changed: int) -> float:
    """When something happens next."""
    now = np.inf
    if arrived < net.first_s.size:
        now = net.first_s[arrived]
    if net.clock[0].announced > 0:
        now = min(now, net.event_s[0])
    if changed < net.change_s.size:
        now = min(now, net.change_s[changed])
    for server in range(net.servers.size):
        now = min(now, net.servers[server].stop_s)
    for queue in range(net.queues.size):
        now = min(now, net.queues[queue].leave_s)
    return now


@lent
def account(net: Network, passed_s: float) -> None:
    """Count the time that passes: of those in the system, and of servers at work."""
    clock = net.clock[0]
    clock.area_s += clock.present * passed_s
    for queue in range(net.queues.size):
        row = net.queues[queue]
        busy = min(row.inside, on_servers(net, queue)) if row.inside > 0 else 0
        clock.busy_s += busy * clock.speed * passed_s
    for server in range(net.servers.size):
        place = net.servers[server]
        if place.visit != NONE:
            overhead = min(passed_s, max(0.0, place.begin_s - clock.now))
            clock.busy_s += overhead + (passed_s - overhead) * clock.speed


@lent
def end_slices(net: Network) -> None:
    """Services, turns, setups and vacations that end now."""
    now = net.clock[0].now
    for server in range(net.servers.size):
        place = net.servers[server]
        if place.stop_s > now:
            continue
        if place.state == ON:
            on_stop(net, server)
        elif net.queues[place.queue].waiting == 0:
            rest(net, server)
        else:
            place.state, place.stop_s = ON, np.inf
            advance(net, place.queue)
    for queue in range(net.queues.size):
        if net.queues[queue].leave_s <= now:
            on_leave(net, queue)


@partial(compiled, _nrt=False)
def run(net: Network) -> None:
    """Serve all requests; the rows of the visits then say what became of them.

    Stops early, with `dry`, when a pool of samples has run out: it is to be run again with longer ones.
    """
    clock = net.clock[0]
    arrived = changed = 0
    for server in range(net.servers.size):
        rest(net, server)
    while clock.finished < net.requests and not clock.dry:
        upcoming = next_event(net, arrived, changed)
        if upcoming == np.inf:  # what has not come will not come
            break
        account(net, upcoming - clock.now)
        clock.now = upcoming
        if changed < net.change_s.size and net.change_s[changed] <= clock.now:
            settle(net)
            changed += 1
            clock.speed = net.speeds[changed]
            clock.dry = changed == net.change_s.size
        end_slices(net)
        while arrived < net.first_s.size and net.first_s[arrived] <= clock.now:
            join(net, arrived)
            arrived += 1
        while clock.announced > 0 and net.event_s[0] <= clock.now and net.event[0] >= 0:
            visit = net.event[0]
            clock.announced = pop(net.event_s, net.event, clock.announced)
            join(net, visit)
        for queue in range(net.queues.size):
            order(net, queue)
        for queue in range(net.queues.size):
            idle(net, queue)
        while clock.announced > 0 and net.event_s[0] <= clock.now and net.event[0] < 0:
            visit = -1 - net.event[0]
            clock.announced = pop(net.event_s, net.event, clock.announced)
            lose_patience(net, visit)
        until = next_event(net, arrived, net.change_s.size)
        for server in range(net.servers.size):
            if net.servers[server].visit != NONE:
                work_on(net, server, until)
        for queue in range(net.queues.size):
            look_ahead(net, queue)
