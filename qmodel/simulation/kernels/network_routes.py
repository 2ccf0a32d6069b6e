"""Which queue of a station a new visit joins, where servers have queues of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.compiled import compiled, lent
from qmodel.simulation.kernels.network_queues import serving, work_in
from qmodel.simulation.kernels.network_rows import CYCLIC, LEAST_WORK, RANDOM, Network


@lent
def burden(net: Network, queue: int, routing: int) -> float:
    """What the routing compares: visits in the queue, or the work they still need."""
    if routing == LEAST_WORK:
        return work_in(net, queue)
    return float(net.queues[queue].waiting + serving(net, queue))


@compiled
def sample(candidates: NDArray[np.int64], queues: int, ticket: float) -> float:
    """Fill `candidates` with distinct numbers below `queues`, increasing; returns what is left of the ticket.

    The ticket is read digit by digit in the bases queues, queues - 1, ...
    """
    for place in range(candidates.size):
        left = queues - place
        digit = int(ticket * left)
        ticket = ticket * left - digit
        at = 0
        while at < place and candidates[at] <= digit:
            digit += 1
            at += 1
        for later in range(place, at, -1):
            candidates[later] = candidates[later - 1]
        candidates[at] = digit
    return ticket


@lent
def route(net: Network, station: int, ticket: float) -> int:
    """The queue of a station that a visit joins; `ticket`, uniform on [0, 1), settles what is left to chance."""
    row = net.stations[station]
    if row.queues == 1:
        return row.first
    if row.routing == RANDOM:
        return row.first + int(ticket * row.queues)
    if row.routing == CYCLIC:
        row.turn = (row.turn + 1) % row.queues
        return row.first + row.turn
    candidates, burdens = net.candidates[: row.choices], net.burdens
    for place in range(row.choices):
        candidates[place] = place
    if row.choices < row.queues:
        ticket = sample(candidates, row.queues, ticket)
    least, level = np.inf, 0
    for place in range(row.choices):
        burdens[place] = burden(net, row.first + candidates[place], row.routing)
        if burdens[place] < least:
            least, level = burdens[place], 0
        level += burdens[place] == least
    pick, place = int(ticket * level), -1
    while pick >= 0:
        place += 1
        pick -= burdens[place] == least
    return row.first + candidates[place]
