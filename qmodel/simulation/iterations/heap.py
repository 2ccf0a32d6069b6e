"""A binary heap in three arrays: keys, ties and rows; the lowest (key, tie) comes first."""

from __future__ import annotations

from qmodel.simulation.iterations.columns import Floats, Integers
from qmodel.simulation.iterations.compiling import part


@part
def push(keys: Floats, ties: Integers, rows: Integers, size: int, key: float, tie: int, row: int) -> int:
    """Insert into a heap of `size` entries; returns the new size."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not (key < keys[parent] or (key == keys[parent] and tie < ties[parent])):
            break
        keys[at], ties[at], rows[at] = keys[parent], ties[parent], rows[parent]
        at = parent
    keys[at], ties[at], rows[at] = key, tie, row
    return size + 1


@part
def pop(keys: Floats, ties: Integers, rows: Integers, size: int) -> int:
    """Remove the first entry (read it at index 0 before); returns the new size."""
    size -= 1
    key, tie, row = keys[size], ties[size], rows[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            keys[other] < keys[child] or (keys[other] == keys[child] and ties[other] < ties[child])
        ):
            child = other
        if not (keys[child] < key or (keys[child] == key and ties[child] < tie)):
            break
        keys[at], ties[at], rows[at] = keys[child], ties[child], rows[child]
        at = child
    keys[at], ties[at], rows[at] = key, tie, row
    return size
