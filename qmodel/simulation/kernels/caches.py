"""Caches of so many items, look-up by look-up: each function says which look-ups find their item.

`items` are the items asked for, numbers below `catalogue`; `room` is how many of them fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmodel.simulation.kernels.columns import Floats
from qmodel.simulation.kernels.compiled import compiled

ABSENT = -1


@compiled
def oldest(items: NDArray[np.int64], catalogue: int, room: int, by_use: bool) -> NDArray[np.bool_]:
    """The item put in (`by_use`: used) longest ago goes: FIFO, LRU. A linked ring, its head at `catalogue`."""
    after, ahead = np.full(catalogue + 1, ABSENT), np.full(catalogue + 1, ABSENT)
    head, inside = catalogue, 0
    after[head] = ahead[head] = head
    found = np.zeros(items.size, dtype=np.bool_)
    for place in range(items.size):
        item = items[place]
        found[place] = after[item] != ABSENT
        if found[place] and not by_use:
            continue
        if found[place]:
            after[ahead[item]], ahead[after[item]] = after[item], ahead[item]
        elif inside == room:
            last = ahead[head]
            ahead[head] = ahead[last]
            after[ahead[last]] = head
            after[last] = ahead[last] = ABSENT
        else:
            inside += 1
        first = after[head]
        after[item], ahead[item] = first, head
        after[head] = ahead[first] = item
    return found


@compiled
def at_random(items: NDArray[np.int64], catalogue: int, room: int, tickets: Floats) -> NDArray[np.bool_]:
    """Any item goes; `tickets`, uniform on [0, 1), one a look-up, say which."""
    place_of, inside = np.full(catalogue, ABSENT), np.full(room, ABSENT)
    full = 0
    found = np.zeros(items.size, dtype=np.bool_)
    for place in range(items.size):
        item = items[place]
        found[place] = place_of[item] != ABSENT
        if found[place]:
            continue
        slot = full
        if full == room:
            slot = int(tickets[place] * room)
            place_of[inside[slot]] = ABSENT
        else:
            full += 1
        inside[slot], place_of[item] = item, slot
    return found


@compiled
def least_frequent(items: NDArray[np.int64], catalogue: int, room: int) -> NDArray[np.bool_]:
    """The item asked for least often goes, all look-ups ever counted; the newcomer itself if it is that (LFU).

    The items inside are a heap by count, then by the look-up before.
    """
    asked, used = np.zeros(catalogue, dtype=np.int64), np.zeros(catalogue, dtype=np.int64)
    place_of, heap = np.full(catalogue, ABSENT), np.full(room, ABSENT)
    inside = 0
    found = np.zeros(items.size, dtype=np.bool_)
    for place in range(items.size):
        item = items[place]
        asked[item] += 1
        used[item] = place
        found[place] = place_of[item] != ABSENT
        if found[place]:
            _sink(heap, inside, place_of, asked, used, place_of[item])
        elif inside < room:
            heap[inside], place_of[item] = item, inside
            inside += 1
            _rise(heap, place_of, asked, used, inside - 1)
        elif asked[item] >= asked[heap[0]]:
            place_of[heap[0]] = ABSENT
            heap[0], place_of[item] = item, 0
            _sink(heap, inside, place_of, asked, used, 0)
    return found


@compiled
def _less(asked: NDArray[np.int64], used: NDArray[np.int64], one: int, other: int) -> bool:
    return asked[one] < asked[other] or (asked[one] == asked[other] and used[one] < used[other])


@compiled
def _rise(
    heap: NDArray[np.int64], place_of: NDArray[np.int64], asked: NDArray[np.int64], used: NDArray[np.int64], at: int
) -> None:
    item = heap[at]
    while at > 0 and _less(asked, used, item, heap[(at - 1) >> 1]):
        heap[at] = heap[(at - 1) >> 1]
        place_of[heap[at]] = at
        at = (at - 1) >> 1
    heap[at], place_of[item] = item, at


@compiled
def _sink(
    heap: NDArray[np.int64], inside: int, place_of: NDArray[np.int64], asked: NDArray[np.int64],
    used: NDArray[np.int64], at: int,
) -> None:  # fmt: skip
    item = heap[at]
    while 2 * at + 1 < inside:
        child = 2 * at + 1
        if child + 1 < inside and _less(asked, used, heap[child + 1], heap[child]):
            child += 1
        if not _less(asked, used, heap[child], item):
            break
        heap[at] = heap[child]
        place_of[heap[at]] = at
        at = child
    heap[at], place_of[item] = item, at
