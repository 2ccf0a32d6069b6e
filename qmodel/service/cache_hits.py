"""How often a cache hits: Che's approximation for LRU, FIFO and random eviction, and LFU's most popular items.

Requests ask for one of N items independently, item i with probability p_i ~ i^-zipf (the independent reference
model). An item that was asked for stays in an LRU cache of C items for about the characteristic time t_C, counted
in requests, the same for all items:

    LRU:            h_i = 1 - exp(-p_i t_C),          sum_i h_i = C;
    FIFO, random:   h_i = p_i t_C / (1 + p_i t_C),    sum_i h_i = C;
    LFU (for ever): h_i = 1 for the C most popular;   hit ratio = sum_i p_i h_i.

LFU is exact in this model. In the others t_C really varies, so they are approximations. Against the exact hit
ratios of King (1971) and Gelenbe (1973) for N = 3 to 8, every C < N and zipf 0 to 1.5, LRU is off by at most 0.031
and FIFO by at most 0.054, both at C = 1; with N = 20 and C = 4 by at most 0.0032 and 0.022, and less as C grows.
Sources: Che, Tung & Wang, *IEEE JSAC* 20 (2002) 1305-1314; Fricker, Robert & Roberts, *ITC 24* (2012); Martina,
Garetto & Leonardi, *INFOCOM* (2014) (FIFO, random).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

EVICTIONS = ("lru", "lfu", "fifo", "random")
MOST_ITEMS = 10**12
SINGLE = 4096
"""Ranks up to this one stand for themselves; beyond it neighbours within 0.1 % of rank share a popularity."""


def popularity(items: int, zipf: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(probability of one item, number of such items), the most popular first; the products sum to 1.

    >>> p, count = popularity(3, 1.0)
    >>> (p * 11 / 6).round(12).tolist(), count.tolist()
    ([1.0, 0.5, 0.333333333333], [1.0, 1.0, 1.0])
    """
    first = np.arange(1, min(items, SINGLE) + 1)
    if items > SINGLE:
        cells = math.ceil(math.log(items / SINGLE) / 1e-3)
        edges = np.unique(np.rint(np.geomspace(SINGLE + 1, items + 1, cells + 1)))
        first = np.concatenate((first[:-1], [SINGLE], edges[:-1]))
        count = np.diff(np.concatenate((first, [items + 1])))
    else:
        count = np.ones(items)
    rank = first + 0.5 * (count - 1.0)
    weight = rank**-zipf
    return weight / (weight @ count), count


@lru_cache(maxsize=128)
def hit_ratio(items: int, capacity: int, zipf: float, eviction: str = "lru") -> float:
    """Share of requests that find their item in a cache of `capacity` out of `items`. Raises InputError.

    >>> round(hit_ratio(1000, 100, 0.0), 12), hit_ratio(10, 10, 0.8), round(hit_ratio(3, 1, 1.0, "lfu"), 12)
    (0.1, 1.0, 0.545454545455)
    """
    _checked(items, capacity, zipf, eviction)
    if capacity >= items:
        return 1.0
    p, count = popularity(items, zipf)
    if eviction == "lfu":
        return float(p @ np.clip(capacity - (np.cumsum(count) - count), 0.0, count))
    held = _kept_by_use if eviction == "lru" else _kept_by_age
    return float((p * count) @ held(p * characteristic_time(p, count, capacity, held)))


def _kept_by_use(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.expm1(-x)


def _kept_by_age(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / (1.0 + x)


def characteristic_time(
    p: NDArray[np.float64],
    count: NDArray[np.float64],
    capacity: float,
    held: Callable[[NDArray[np.float64]], NDArray[np.float64]] = _kept_by_use,
) -> float:
    """t_C, in requests: the root of sum_i h_i(t) = C, by bisection in log t."""
    low, high = math.log(capacity), math.log(capacity) + 1.0
    while count @ held(p * math.exp(high)) < capacity:
        high += 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if count @ held(p * math.exp(middle)) < capacity else (low, middle)
    return math.exp(high)


def _checked(items: int, capacity: int, zipf: float, eviction: str) -> None:
    for name, value in (("items", items), ("capacity", capacity)):
        if value != int(value) or not 1 <= value <= MOST_ITEMS:
            raise InputError(
                f"cache, {name}", f"{value} is out of range", f"give a whole number, 1 to {MOST_ITEMS:g}"
            )
    if not 0 <= zipf <= 20:
        raise InputError("cache, zipf", f"{zipf} is out of range", "give 0 (all items alike) to 20")
    if eviction not in EVICTIONS:
        raise InputError("cache, eviction", f"{eviction!r} is unknown", nearest(eviction, list(EVICTIONS)))
