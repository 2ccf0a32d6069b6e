"""Queues whose servers are shared by all in service, by virtual time (as in `sharing`)."""

from __future__ import annotations

import numpy as np

from qmodel.simulation.kernels.compiled import lent
from qmodel.simulation.kernels.network_queues import head, insert, on_servers, remove_root, take
from qmodel.simulation.kernels.network_rows import NONE, Network
from qmodel.simulation.kernels.network_service import begin, complete, note


@lent
def pace(net: Network, queue: int) -> float:
    """Rate of virtual time: service speed of a visit of weight 1."""
    row = net.queues[queue]
    if row.inside == 0:
        return 0.0
    there = on_servers(net, queue)
    if net.stations[row.station].weighted:
        return net.clock[0].speed * there / row.weight
    return net.clock[0].speed * min(1.0, there / row.inside)


@lent
def advance(net: Network, queue: int) -> None:
    """Bring virtual time, and the work that is left, up to now."""
    row, now = net.queues[queue], net.clock[0].now
    if row.inside > 0:
        row.virtual += (now - row.updated_s) * pace(net, queue)
        drain = net.clock[0].speed * min(row.inside, on_servers(net, queue))
        row.inside_work_s = max(0.0, row.inside_work_s - drain * (now - row.updated_s))
    row.updated_s = now


@lent
def look_ahead(net: Network, queue: int) -> None:
    """When the next visit leaves, if nothing happens before."""
    row = net.queues[queue]
    rate = pace(net, queue)
    row.leave_s = np.inf
    if rate > 0.0:
        row.leave_s = net.clock[0].now + max(0.0, net.visits[row.root].rank - row.virtual) / rate


@lent
def enter(net: Network, queue: int, visit: int, work_s: float) -> None:
    """Be served up to `work_s` seconds from now on."""
    row, mine = net.queues[queue], net.visits[visit]
    mine.primary, mine.rank = 0.0, row.virtual + work_s / mine.weight
    row.root = insert(net, row.root, visit)
    row.inside += 1
    row.inside_work_s += work_s
    row.weight += mine.weight


@lent
def admit(net: Network, queue: int) -> None:
    """Begin the service of those that wait, as far as the limit lets them."""
    row = net.queues[queue]
    limit = net.stations[row.station].limit
    while row.waiting > 0 and row.inside < limit and on_servers(net, queue) > 0:
        visit = head(net, queue)
        take(net, visit)
        begin(net, visit)
        note(net, visit)
        mine = net.visits[visit]
        enter(net, queue, visit, mine.work_s * (mine.long_mark if mine.reduced else mine.mark))


@lent
def on_leave(net: Network, queue: int) -> None:
    """The first has all it needs, or its result is out and the rest of its service goes on."""
    row, visit = net.queues[queue], net.queues[queue].root
    mine = net.visits[visit]
    row.virtual, row.updated_s = mine.rank, net.clock[0].now
    row.root = remove_root(net, visit)
    row.inside -= 1
    row.weight -= mine.weight
    mark = mine.long_mark if mine.reduced else mine.mark
    if mark < 1.0 and np.isnan(mine.delivered_s):
        mine.delivered_s = net.clock[0].now
        enter(net, queue, visit, (1.0 - mark) * mine.work_s)
        return
    mine.attained_s = mine.work_s
    if row.inside == 0:  # start afresh, so that rounding does not build up over busy periods
        row.virtual = row.weight = row.inside_work_s = 0.0
        row.root = NONE
    complete(net, visit)
