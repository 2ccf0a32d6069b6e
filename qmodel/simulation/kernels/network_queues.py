"""Those that wait, and those that share a server: leftist heaps over the rows of visits.

Leftist heaps, because visits move between queues: each is in one heap at most, and all heaps together need one row
a visit (Crane 1972; Knuth, *The Art of Computer Programming* 3, section 5.2.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.compiled import compiled, lent
from qmodel.simulation.kernels.network_rows import ACCUMULATED, NONE, ON, WAITING, Network


@lent
def before(visits: Any, one: int, other: int) -> bool:
    """Whether visit `one` goes first: by primary order, rank, arrival at the station, row."""
    mine, its = visits[one], visits[other]
    if mine.primary != its.primary:
        return mine.primary < its.primary
    if mine.rank != its.rank:
        return mine.rank < its.rank
    if mine.join_s != its.join_s:
        return mine.join_s < its.join_s
    return one < other


@compiled
def merge(visits: Any, path: NDArray[np.int64], first: int, second: int) -> int:
    """Merge two heaps; returns the root. Goes down the right spines, then mends the lengths on the way up."""
    depth = 0
    while first != NONE and second != NONE:
        if before(visits, second, first):
            first, second = second, first
        path[depth] = first
        depth += 1
        first = visits[first].right
    root = second if first == NONE else first
    while depth > 0:
        depth -= 1
        parent = path[depth]
        row = visits[parent]
        row.right = root
        if row.left == NONE or visits[row.left].spine < visits[root].spine:
            row.left, row.right = root, row.left
        row.spine = 1 if row.right == NONE else visits[row.right].spine + 1
        root = parent
    return root


@lent
def insert(net: Network, root: int, visit: int) -> int:
    """Put a visit into a heap (NONE: an empty one) under its rank; returns the root."""
    row = net.visits[visit]
    row.left = row.right = NONE
    row.spine = 1
    return merge(net.visits, net.path, root, visit)


@lent
def remove_root(net: Network, root: int) -> int:
    """The heap without its first; returns the root."""
    return merge(net.visits, net.path, net.visits[root].left, net.visits[root].right)


@lent
def wait(net: Network, queue: int, visit: int) -> None:
    """Join those that wait in a queue."""
    row = net.visits[visit]
    row.state, row.queue = WAITING, queue
    net.roots[queue, row.group] = insert(net, net.roots[queue, row.group], visit)
    net.queues[queue].waiting += 1
    net.queues[queue].waiting_work_s += remaining(net, visit)


@lent
def remaining(net: Network, visit: int) -> float:
    """Seconds of service that a visit still needs."""
    row = net.visits[visit]
    return (row.service_s if row.work_s < 0 else row.work_s) - row.attained_s


@lent
def leave(net: Network, visit: int) -> None:
    """Those that wait are one fewer (the visit itself is in no heap, or will be passed over there)."""
    row = net.queues[net.visits[visit].queue]
    row.waiting -= 1
    row.waiting_work_s = row.waiting_work_s - remaining(net, visit) if row.waiting > 0 else 0.0


@lent
def head(net: Network, queue: int) -> int:
    """Who goes first of those that wait, or NONE. Visits that lost patience are cleared away on the way."""
    best = NONE
    for group in range(net.roots.shape[1]):
        root = net.roots[queue, group]
        while root != NONE and net.visits[root].state != WAITING:
            root = remove_root(net, root)
        net.roots[queue, group] = root
        if root != NONE and (best == NONE or _ahead(net, queue, root, best)):
            best = root
    return best


@lent
def _ahead(net: Network, queue: int, one: int, other: int) -> bool:
    if net.stations[net.queues[queue].station].order != ACCUMULATED:
        return before(net.visits, one, other)
    now = net.clock[0].now
    mine, its = net.visits[one], net.visits[other]
    credit, theirs = mine.key * (now - mine.join_s), its.key * (now - its.join_s)
    return credit > theirs or (credit == theirs and one < other)


@lent
def take(net: Network, visit: int) -> None:
    """Take the head of a queue, or of a group there, out."""
    row = net.visits[visit]
    leave(net, visit)
    net.roots[row.queue, row.group] = remove_root(net, visit)


@lent
def longest(net: Network, station: int) -> int:
    """The queue of a station in which most wait, or NONE where nobody waits."""
    first, best = net.stations[station].first, NONE
    for queue in range(first, first + net.stations[station].queues):
        if net.queues[queue].waiting > 0 and (best == NONE or net.queues[queue].waiting > net.queues[best].waiting):
            best = queue
    return best


@lent
def on_servers(net: Network, queue: int) -> int:
    """Servers of a queue that are there and switched on."""
    row, count = net.queues[queue], 0
    for server in range(row.first, row.first + row.servers):
        count += net.servers[server].state == ON
    return count


@lent
def serving(net: Network, queue: int) -> int:
    """Visits in service in a queue."""
    row = net.queues[queue]
    count = row.inside
    for server in range(row.first, row.first + row.servers):
        count += net.servers[server].visit != NONE
    return count


@lent
def work_in(net: Network, queue: int) -> float:
    """Seconds of service that all in a queue still need."""
    row, now = net.queues[queue], net.clock[0].now
    work = row.waiting_work_s
    if row.inside > 0:
        drain = net.clock[0].speed * min(row.inside, on_servers(net, queue))
        work += max(0.0, row.inside_work_s - drain * (now - row.updated_s))
    for server in range(row.first, row.first + row.servers):
        visit = net.servers[server].visit
        if visit != NONE:
            got = net.visits[visit].attained_s
            got += max(0.0, now - net.servers[server].begin_s) * net.clock[0].speed
            work += max(0.0, net.visits[visit].work_s - got)
    return work
