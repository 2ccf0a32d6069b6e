"""How many iterations go into one stride, against adding them up one by one."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from tests.simulation.uncompiled import uncompiled


@pytest.fixture(scope="module")
def strides() -> ModuleType:
    return uncompiled("iterations.strides")[0]


def counted(now_s: float, until_s: float, taken_s: float, rise_s: float, most: int) -> int:
    """One iteration after another, until one ends at the time or later."""
    count = 1
    while count < most and now_s + (count * taken_s + rise_s * (0.5 * count * (count - 1))) < until_s:
        count += 1
    return count


@pytest.mark.parametrize("rise", [0.0, 1e-12, 1e-7, 1e-4, 0.1])
def test_the_fewest_iterations_that_reach_a_time(strides: ModuleType, rise: float) -> None:
    rng = np.random.default_rng(int(1e6 * rise))
    reached = []
    for _ in range(300):
        now, taken, most = float(rng.uniform(0, 100)), float(rng.uniform(1e-3, 0.1)), int(rng.integers(1, 500))
        span = float(rng.choice([rng.uniform(-1.0, 2.0 * taken), rng.uniform(0.0, 1.5 * most * taken)]))
        if rng.random() < 0.3:  # exactly at an end
            ends = int(rng.integers(1, most + 2))
            span = ends * taken + rise * (0.5 * ends * (ends - 1))
        found = strides.iterations_until(now, now + span, taken, rise, most)
        assert found == counted(now, now + span, taken, rise, most)
        reached.append(1 < found < most)
    assert sum(reached) > 50
    assert strides.iterations_until(0.0, np.inf, 0.01, rise, 700) == 700
