"""The drift test: Kendall's own numbers, its size when nothing drifts, its power when something does."""

import numpy as np
import pytest
from scipy.stats import kendalltau, norm, theilslopes

from qmodel.measure.drift import Drift, find_drift


def visits(
    rng: np.random.Generator, *, cells: int = 20, blocks: int = 3, drift: float = 0.0, noise: float = 0.02
) -> list:
    """Visits in randomised blocks; the machine slows down by `drift` over the whole run."""
    made = []
    for block in range(blocks):
        for place, cell in enumerate(rng.permutation(cells)):
            order = block * cells + place
            level = 10.0 ** rng.uniform(-3, 0) if block == 0 else None
            made.append((int(cell), float(order), level))
    base = {cell: level for cell, _, level in made if level}
    length = cells * blocks - 1
    return [
        (cell, order, base[cell] * (1 + drift) ** (order / length) * rng.lognormal(0, noise))
        for cell, order, _ in made
    ]


def test_one_cell_is_the_mann_kendall_test() -> None:
    rng = np.random.default_rng(2)
    values = np.exp(rng.normal(size=25))
    found = find_drift(("a", float(i), float(v)) for i, v in enumerate(values))
    assert found is not None
    tau = kendalltau(np.arange(25), values).statistic
    score = tau * 25 * 24 / 2
    z = (abs(score) - 1) / np.sqrt(25 * 24 * 55 / 18)
    assert found.p_value == pytest.approx(2 * norm.sf(z), rel=1e-9)
    slope = theilslopes(np.log(values), np.arange(25)).slope
    assert found.change == pytest.approx(np.expm1(slope * 24), rel=1e-9)
    assert found.visits == 25


def test_no_drift_is_found_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(11)
    p_values = np.array([find_drift(visits(rng)).p_value for _ in range(1500)])  # type: ignore[union-attr]
    share = np.mean(p_values < 0.05)
    assert share == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 1500))
    # 20 cells of 3 visits: p < 0.5 means |S| >= 8, where S sums 20 draws from -3, -1, -1, 1, 1, 3.
    scores = rng.choice([-3, -1, -1, 1, 1, 3], size=(100_000, 20)).sum(axis=1)
    exact = np.mean(np.abs(scores) >= 8)
    assert np.mean(p_values < 0.5) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 1500))


def test_planted_drift_is_found_and_measured() -> None:
    rng = np.random.default_rng(12)
    found = [find_drift(visits(rng, drift=0.08)) for _ in range(100)]
    assert sum(one is not None and one.significant for one in found) >= 98
    assert np.mean([one.change for one in found if one]) == pytest.approx(0.08, abs=0.004)
    back = find_drift(visits(rng, drift=-0.05))
    assert back is not None
    assert back.change == pytest.approx(-0.05, abs=0.03)


def test_one_visit_a_cell_says_nothing() -> None:
    assert find_drift([("a", 1.0, 1.0), ("b", 2.0, 2.0)]) is None


def test_equal_latencies_are_no_drift() -> None:
    found = find_drift([(cell, float(i + 10 * block), 1.0) for block in range(3) for i, cell in enumerate("abcd")])
    assert found == Drift(0.0, 1.0, 12)
    assert found.line() == "drift over the run: +0.0 % (p = 1), is not told from chance"
