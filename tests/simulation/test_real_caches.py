"""Caches that are there: hits look-up by look-up, and what they do to a queue."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.scenario import Scenario
from qmodel.service import cache_hits
from qmodel.service.transform import Cache
from qmodel.simulation import simulate
from qmodel.simulation.caching import hits
from qmodel.simulation.kernels import caches
from qmodel.workload import Exponential, Poisson, RequestClass
from tests.simulation.cases import standard_error

SEED = np.random.SeedSequence(5)


def looked_up(name: str, items: list[int], *more: object) -> list[int]:
    return getattr(caches, name)(np.array(items), 5, 2, *more).astype(int).tolist()


def test_small_caches_by_hand() -> None:
    items = [0, 1, 0, 2, 0, 1, 2]
    assert looked_up("oldest", items, True) == [0, 0, 1, 0, 1, 0, 0]  # least recently used: 1, then 2, then 0 go
    assert looked_up("oldest", items, False) == [0, 0, 1, 0, 0, 0, 0]  # first in, first out: 0, 1, 2 go
    assert looked_up("least_frequent", items) == [0, 0, 1, 0, 1, 0, 0]
    assert looked_up("at_random", items, np.zeros(7)) == [0, 0, 1, 0, 0, 1, 0]  # always the first place


@pytest.mark.parametrize(
    ("eviction", "slack"), [("lru", 0.003), ("fifo", 0.003), ("random", 0.003), ("lfu", 0.004)]
)
def test_hit_ratios_are_those_of_the_characteristic_time(eviction: str, slack: float) -> None:
    cache = Cache(items=1_000, capacity=100, zipf=0.9, eviction=eviction, lookup_s=0.1)
    found = hits(cache, 400_000, 1, np.zeros(400_000, dtype=np.int64), SEED, is_warm=True)
    assert found.mean() == pytest.approx(cache_hits.hit_ratio(1_000, 100, 0.9, eviction), abs=0.004)


def test_a_horizon_begins_with_an_empty_cache() -> None:
    cache = Cache(items=1_000, capacity=100, zipf=0.9, lookup_s=0.1)
    cold, warm = (
        hits(cache, 500, 1, np.zeros(500, dtype=np.int64), SEED, is_warm=is_warm) for is_warm in (False, True)
    )
    assert not cold[0]
    assert cold.mean() < warm.mean()


def test_what_is_saved_is_saved() -> None:
    """Hits know nothing of sizes and hardly cluster, so that the mean response is that of the mixture."""
    cache = Cache(items=1_000, capacity=100, zipf=0.9, saved_fraction=0.9, lookup_s=0.01)
    one = RequestClass("a", Poisson(1.0), Exponential(1.0))
    answer = simulate(Scenario((one,), transforms=(cache,)), requests=300_000, tell=None)["all"]
    share = cache_hits.hit_ratio(1_000, 100, 0.9, "lru")
    mean = share * 0.11 + (1 - share) * 1.01
    square = share * (0.01**2 + 2 * 0.01 * 0.1 + 2 * 0.01) + (1 - share) * (0.01**2 + 2 * 0.01 + 2.0)
    error = standard_error(answer.ci95["mean_response_s"])
    expected = mean + square / (2 * (1 - mean))
    assert error < 0.02 * expected
    assert abs(answer.mean_response_s - expected) < 4 * error + 0.01 * expected
    assert answer.mean_service_s == pytest.approx(mean, rel=0.01)


def test_two_caches_are_refused() -> None:
    cache = Cache(items=10, capacity=2, zipf=1.0, lookup_s=0.1)
    one = RequestClass("a", Poisson(0.5), Exponential(1.0))
    with pytest.raises(InputError, match="two of them are not simulated"):
        simulate(Scenario((one,), transforms=(cache, cache)), requests=100, tell=None)
