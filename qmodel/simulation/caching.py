"""A cache that is there: which requests find their item in it, look-up by look-up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError
from qmodel.service.transform import Cache
from qmodel.simulation.streams import generator, system_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.scenario import Scenario

WARM_ROUNDS, MOST_WARM = 20, 5_000_000
"""Look-ups before a steady state is looked at: this many times the items, and at most so many."""


def real_cache(scenario: Scenario) -> Cache | None:
    """The scenario's cache of so many items, if it has one. Raises InputError for two of them."""
    found = [each for each in scenario.transforms if isinstance(each, Cache) and each.items is not None]
    if len(found) > 1:
        raise InputError("transform cache", "two of them are not simulated", "leave one, or give hit_ratio")
    return found[0] if found else None


def with_hit_ratio(scenario: Scenario, share: float) -> Scenario:
    """The scenario with a cache that all (1) or none (0) of the requests hit."""
    given = replace(
        real_cache(scenario) or Cache(), hit_ratio=share, items=None, capacity=None, zipf=None, eviction=None
    )
    transforms = (given if t is real_cache(scenario) else t for t in scenario.transforms)
    return scenario.with_transforms(*transforms)


def hits(
    cache: Cache,
    count: int,
    classes: int,
    class_index: NDArray[np.int64],
    seed: np.random.SeedSequence,
    is_warm: bool,
) -> NDArray[np.bool_]:
    """Whether each request, in order of arrival, finds its item.

    All classes ask for items of the same popularity (rank^-zipf, independent). An item that is not found is fetched
    at once. `is_warm`: after look-ups that leave the cache as it is in the long run; else it starts empty.
    """
    from qmodel.simulation.kernels import caches

    assert cache.items is not None and cache.capacity is not None and cache.zipf is not None
    weights = np.arange(1, cache.items + 1, dtype=float) ** -cache.zipf
    edges = np.cumsum(weights / weights.sum())
    before = min(MOST_WARM, WARM_ROUNDS * cache.items) if is_warm else 0
    rng = np.random.default_rng(system_stream(seed, "cache"))
    tickets = np.empty(before + count)
    tickets[:before] = rng.random(before)
    for index in range(classes):
        mine = np.flatnonzero(class_index == index)
        tickets[before + mine] = generator(seed, index, "items").random(mine.size)
    items = np.minimum(np.searchsorted(edges, tickets, side="right"), cache.items - 1)
    room = min(cache.capacity, cache.items)
    eviction = cache.eviction or "lru"
    if eviction == "lfu":
        found = caches.least_frequent(items, cache.items, room)
    elif eviction == "random":
        found = caches.at_random(items, cache.items, room, rng.random(items.size))
    else:
        found = caches.oldest(items, cache.items, room, eviction == "lru")
    return found[before:]
