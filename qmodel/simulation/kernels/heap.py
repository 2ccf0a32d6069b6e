"""A binary heap in two arrays: keys, and the requests they belong to; equal keys go to the earlier request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmodel.simulation.kernels.compiled import inlined

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qmodel.simulation.kernels.columns import Floats


@inlined
def precedes(key: float, request: int, other_key: float, other: int) -> bool:
    """Whether (key, request) goes before (other_key, other)."""
    return key < other_key or (key == other_key and request < other)


@inlined
def push(keys: Floats, requests: NDArray[np.int64], size: int, key: float, request: int) -> int:
    """Insert into a heap of `size` entries; returns the new size."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not precedes(key, request, keys[parent], requests[parent]):
            break
        keys[at], requests[at] = keys[parent], requests[parent]
        at = parent
    keys[at], requests[at] = key, request
    return size + 1


@inlined
def pop(keys: Floats, requests: NDArray[np.int64], size: int) -> int:
    """Remove the first entry (read it at index 0 before); returns the new size."""
    size -= 1
    key, request = keys[size], requests[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and precedes(keys[child + 1], requests[child + 1], keys[child], requests[child]):
            child += 1
        if not precedes(keys[child], requests[child], key, request):
            break
        keys[at], requests[at] = keys[child], requests[child]
        at = child
    keys[at], requests[at] = key, request
    return size
