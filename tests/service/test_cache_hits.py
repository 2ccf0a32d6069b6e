"""Hit ratios against exact chains, a simulated cache and limits."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.service.cache_hits import EVICTIONS, hit_ratio, popularity


def king(p, size: int) -> float:
    """Exact LRU: a stack of the most recent distinct items, drawn without replacement (King 1971)."""
    total = 0.0
    for stack in itertools.permutations(range(len(p)), size):
        rest = chance = 1.0
        for i in stack:
            chance, rest = chance * p[i] / rest, rest - p[i]
        total += chance * sum(p[i] for i in stack)
    return total


def gelenbe(p, size: int) -> float:
    """Exact FIFO and random eviction: contents in proportion to the product of their popularities."""
    sets = list(itertools.combinations(range(len(p)), size))
    weights = [math.prod(p[i] for i in held) for held in sets]
    return sum(w * sum(p[i] for i in held) for w, held in zip(weights, sets, strict=True)) / sum(weights)


@pytest.mark.parametrize(("exact", "eviction", "stated"), [(king, "lru", 0.031), (gelenbe, "fifo", 0.054)])
def test_stated_error(exact, eviction: str, stated: float) -> None:
    """The worst case named in the docstring is the worst, and it is met."""
    cases = [(n, c, z) for n in (3, 5, 7) for c in range(1, n) for z in (0.0, 0.8, 1.5)]
    errors = [abs(hit_ratio(n, c, z, eviction) - exact(popularity(n, z)[0], c)) for n, c, z in cases]
    assert 0.9 * stated < max(errors) < stated
    larger = abs(hit_ratio(20, 4, 1.5, eviction) - exact(popularity(20, 1.5)[0], 4))
    assert larger < (0.0032 if eviction == "lru" else 0.022)


def test_items_alike() -> None:
    for eviction in EVICTIONS:
        assert hit_ratio(1000, 250, 0.0, eviction) == pytest.approx(0.25, rel=1e-9)


@pytest.mark.parametrize("eviction", ["lru", "fifo"])
def test_against_a_simulated_cache(eviction: str) -> None:
    rng = np.random.default_rng(1)
    p, _ = popularity(500, 0.8)
    asked = rng.choice(500, size=300_000, p=p).tolist()
    held: OrderedDict[int, None] = OrderedDict()
    hits = []
    for item in asked:
        hits.append(item in held)
        if item in held and eviction == "lru":
            held.move_to_end(item)
        elif item not in held:
            held[item] = None
            if len(held) > 50:
                held.popitem(last=False)
    measured = np.array(hits[10_000:]).reshape(100, -1).mean(axis=1)
    error = measured.std() / 10
    assert error < 0.002
    assert hit_ratio(500, 50, 0.8, eviction) == pytest.approx(measured.mean(), abs=4 * error + 0.002)


def test_large_catalogues_are_lumped_without_loss() -> None:
    ranks = np.arange(1, 200_001.0)
    p = ranks**-0.9 / (ranks**-0.9).sum()
    assert hit_ratio(200_000, 5_000, 0.9, "lfu") == pytest.approx(p[:5_000].sum(), rel=1e-6)
    low, high = 1.0, 1e9
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if -np.expm1(-p * middle).sum() < 5_000 else (low, middle)
    assert hit_ratio(200_000, 5_000, 0.9) == pytest.approx((p * -np.expm1(-p * high)).sum(), rel=1e-6)
    weights, count = popularity(10**9, 1.1)
    assert weights @ count == pytest.approx(1.0) and count.sum() == 10**9


def test_limits() -> None:
    assert hit_ratio(10, 10, 1.0) == hit_ratio(10, 99, 1.0) == 1.0
    grown = [hit_ratio(100, c, 0.7) for c in range(1, 101)]
    assert grown == sorted(grown) and grown[-2] < 1.0
    for size in (1, 10, 50):
        one, two, most = (hit_ratio(100, size, 0.9, e) for e in ("fifo", "lru", "lfu"))
        assert one < two < most


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((0, 1, 1.0), "cache, items: 0"),
        ((10, 0, 1.0), "cache, capacity: 0"),
        ((10, 1.5, 1.0), "cache, capacity: 1.5"),
        ((10, 1, -1.0), "cache, zipf: -1.0"),
        ((10, 1, math.nan), "cache, zipf: nan"),
        ((10, 1, 1.0, "lifo"), "cache, eviction: 'lifo' is unknown"),
    ],
)
def test_refused(given, line: str) -> None:
    with pytest.raises(InputError) as caught:
        hit_ratio(*given)
    assert str(caught.value).startswith(line)
