"""The loop's time of an iteration against the same tables and terms asked one at a time."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from qmodel.service.composed import AttentionTable, ComposedTime, Curve
from qmodel.service.engine import Engine
from qmodel.service.iteration_time import IterationTime
from qmodel.simulation.iterations.rules import Rules, times_of
from tests.simulation.uncompiled import uncompiled


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    return uncompiled("iterations.duration")[0]


def tables(whole: bool) -> ComposedTime:
    """Two curves and a grid bent in every axis; with one level of the head, and a hole, unless `whole`."""
    axes = tuple(map(np.array, ([0.0, 64.0, 512.0], [0.0, 64.0, 256.0], [1.0, 4.0, 16.0], [16.0, 64.0, 256.0])))
    chunk, history, decodes, context = (axis.reshape([-1 if i == j else 1 for j in range(4)]) for i, axis in
                                        enumerate(axes))  # fmt: skip
    grid = 1e-4 * (np.sqrt(chunk) + np.sqrt(history) + decodes * np.sqrt(context))
    dense = Curve(np.array([1.0, 64.0, 600.0]), np.array([0.01, 0.011, 0.05]))
    if whole:
        return ComposedTime(
            dense, Curve(np.array([1.0, 20.0]), np.array([1e-3, 4e-3])), AttentionTable(*axes, grid)
        )
    grid[2, 1, 2, 2] = np.nan
    return ComposedTime(dense, Curve(np.array([8.0]), np.array([2e-3])), AttentionTable(*axes, grid), base_s=0.5)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "with a hole"])
def test_tables(loop: ModuleType, whole: bool) -> None:
    taken, rng, inside = tables(whole), np.random.default_rng(1), []
    times = times_of(Rules(taken, Engine(), 16))
    for _ in range(300):
        n, prefills = int(rng.integers(0, 20)), int(rng.integers(0, 4))
        mean, chunk = float(rng.uniform(10.0, 300.0)), int(rng.integers(1, 560)) if prefills else 0
        history = float(rng.uniform(0.0, 280.0))
        found, measured = loop.duration(times, float(n), n * mean, prefills, chunk, history, 0)
        said = taken.seconds(n, n * mean, chunk, prefills=prefills, history_tokens=history)
        assert found == pytest.approx(said, rel=1e-12)
        if whole:
            at = mean if n else 16.0
            there = 1 <= n <= 16 and chunk <= 512 and (history <= 256.0 or not chunk) and 16.0 <= at <= 256.0
            assert measured == (there and n + chunk <= 600 and n + prefills <= 20)
        inside.append(measured)
    assert not whole or 20 < sum(inside) < 280


def test_terms_one_by_one(loop: ModuleType) -> None:
    """Drafts are verified beside the token they follow: 5 sequences with 2 drafts are 15 queries."""
    taken = IterationTime(0.01, 2e-4, 3e-7, 4e-5, per_query_key=5e-9)
    times = times_of(Rules(taken, Engine(), 16))._replace(draft=1e-3)
    found, inside = loop.duration(times, 5.0, 700.0, 2, 90, 30.0, 2)
    pairs = (15 + 90) * (700 + 90 + 60)
    assert inside
    assert found == pytest.approx(0.01 + 2e-4 * 17 + 3e-7 * 700 + 4e-5 * 90 + 2e-3 + 5e-9 * pairs, rel=1e-12)


def test_what_rests_on_a_cell_that_was_not_measured(loop: ModuleType) -> None:
    """Each of the sixteen corners around a point missing in turn; one farther off is nothing to it."""
    table = tables(True).attention
    assert table is not None
    times = times_of(Rules(ComposedTime(attention=table), Engine(), 16))
    for cell in np.ndindex(table.taken_s.shape):
        known = np.ones(table.taken_s.shape, dtype=bool)
        known[cell] = False
        _, measured = loop.duration(times._replace(known=known), 2.0, 2.0 * 100.0, 1, 100, 50.0, 0)
        around = cell[0] in (1, 2) and cell[1] in (0, 1) and cell[2] in (0, 1) and cell[3] in (1, 2)
        assert measured == (not around)
