"""Values by their places in order, against sorting them all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmodel.statistics.intervals import batch_quantile
from qmodel.statistics.order_statistics import InOrder


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.lists(st.integers(0, 10_000), max_size=20))
def test_every_place_holds_what_sorting_puts_there(values: list[float], asked: list[int]) -> None:
    ordered, found = np.sort(values), InOrder(np.array(values))
    for place in asked:
        assert found[place % len(values)] == ordered[place % len(values)]
        assert found[-1 - place % len(values)] == ordered[-1 - place % len(values)]
    assert [found[place] for place in range(len(values))] == ordered.tolist()


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(0, 40))
def test_the_largest(values: list[int], count: int) -> None:
    count = min(count, len(values))
    found = InOrder(np.array(values, dtype=float)).largest(count)
    assert sorted(found.tolist()) == sorted(values)[len(values) - count :]
    assert not count or found[0] == min(found)


def test_quantiles_are_the_same_as_of_sorted_values() -> None:
    values = np.random.default_rng(1).exponential(size=10_000)
    found = InOrder(values.copy())
    for p in (0.5, 0.95, 0.99, 0.999):
        interval = batch_quantile(values, p)
        assert (
            interval
            == batch_quantile(values, p, ordered=found)
            == batch_quantile(values, p, ordered=np.sort(values))
        )
        assert interval.value == np.quantile(values, p)
