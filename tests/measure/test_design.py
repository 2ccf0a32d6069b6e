"""Cells and their order: every design is what its name says, and the same seed gives the same plan."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from qmodel.errors import InputError
from qmodel.measure.design import (
    Cell,
    balanced_fraction,
    describe_confounding,
    full,
    plan_cells,
    plan_visits,
    two_level,
)
from qmodel.measure.spec import ProfileSpec

GRID = {"batch_size": [1, 2, 4, 8], "steps": [4, 8, 16, 32], "precision": ["fp32", "int8"]}


def spec(factors: dict, **design: object) -> ProfileSpec:
    return ProfileSpec.of({"name": "t", "target": {"kind": "x"}, "factors": factors, "design": design})


def test_full_grid_has_every_combination_once() -> None:
    cells = full(GRID)
    assert len(cells) == 32
    assert len({tuple(cell.values()) for cell in cells}) == 32


def test_two_level_design_with_generator() -> None:
    factors = {name: [0, 1] for name in "abcd"}
    cells = two_level(factors, ["D=ABC"])
    assert len(cells) == 8
    assert all((c["a"] + c["b"] + c["c"] + c["d"]) % 2 == 0 for c in cells)  # levels 0, 1: ABC = D
    assert len(two_level(factors)) == 16


def test_two_level_design_needs_two_levels() -> None:
    with pytest.raises(InputError, match="factor steps: has 3 levels"):
        two_level({"batch_size": [1, 2], "steps": [1, 2, 3]})


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 4), min_size=2, max_size=4),
    share=st.sampled_from([0.5, 0.6, 0.75, 1.0]),
    seed=st.integers(0, 9),
)
def test_fraction_is_balanced_and_estimable(sizes: list[int], share: float, seed: int) -> None:
    factors = {f"f{i}": list(range(size)) for i, size in enumerate(sizes)}
    try:
        cells = balanced_fraction(factors, share, np.random.default_rng(seed))
    except InputError:
        assert np.ceil(share * np.prod(sizes)) < 1 + sum(size - 1 for size in sizes)
        return
    assert len(cells) == int(np.ceil(share * np.prod(sizes)))
    assert len({tuple(cell.values()) for cell in cells}) == len(cells)
    for name, levels in factors.items():
        counts = Counter(cell[name] for cell in cells)
        assert max(counts.values()) - min(counts[level] for level in levels) <= 1


def test_quarter_of_a_grid_spreads_pairs_too() -> None:
    factors = {name: [1, 2, 3, 4] for name in "abc"}
    cells = balanced_fraction(factors, 0.25, np.random.default_rng(3))
    for one, other in combinations("abc", 2):
        counts = Counter((cell[one], cell[other]) for cell in cells)
        assert max(counts.values()) <= 2


def test_fraction_too_small() -> None:
    with pytest.raises(InputError, match=r"leaves 2 of 16 cells.*at least 0\.44"):
        balanced_fraction({"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}, 0.1, np.random.default_rng(1))


def test_plan_crosses_pacing_and_phases() -> None:
    made = spec({"x": [1, 2]}, pacing=["back-to-back", "idle-gaps"])
    cells = plan_cells(made, {"prefill": {"x": [1, 2]}, "decode": {"y": [5]}})
    assert len(cells) == 6
    assert cells[0] == Cell("prefill", {"x": 1}, "back-to-back")
    assert cells[-1].label() == "decode y=5 idle-gaps"


def test_each_kind_makes_its_cells() -> None:
    two = {name: [1, 2] for name in "abc"}
    assert len(plan_cells(spec(two, kind="2kr", replicates=3), {"p": two})) == 8
    assert len(plan_cells(spec(two, kind="fractional", generators=["C=AB"]), {"p": two})) == 4
    assert len(plan_cells(spec(GRID, kind="fractional", fraction=0.5), {"p": GRID})) == 16
    assert len(plan_cells(spec(GRID), {"p": GRID})) == 32


def test_confounding_in_words() -> None:
    two = {name: [1, 2] for name in ("batch_size", "steps", "width", "depth")}
    found = describe_confounding(spec(two, kind="fractional", generators=["D=ABC"]), two)
    assert found["letters"] == {"A": "batch_size", "B": "steps", "C": "width", "D": "depth"}
    assert (found["defining_relation"], found["resolution"]) == ("I = ABCD", 4)
    assert found["aliases"]["AB"] == "CD"
    assert describe_confounding(spec(two), two) == {}


def test_every_block_holds_every_cell_once_in_its_own_order() -> None:
    cells = plan_cells(spec(GRID), {"p": GRID})
    visits = plan_visits(cells, 3, seed=7)
    assert [visit.number for visit in visits] == list(range(96))
    blocks = [[v.cell.key for v in visits if v.block == block] for block in (1, 2, 3)]
    assert all(sorted(block) == sorted(cell.key for cell in cells) for block in blocks)
    assert blocks[0] != blocks[1] != blocks[2]


def test_order_is_reproducible_and_seeded() -> None:
    cells = plan_cells(spec(GRID), {"p": GRID})
    assert plan_visits(cells, 3, 7) == plan_visits(cells, 3, 7)
    assert plan_visits(cells, 3, 7) != plan_visits(cells, 3, 8)


def test_every_place_in_a_block_is_as_likely() -> None:
    cells = [Cell("p", {"x": i}, "back-to-back") for i in range(6)]
    first = [v.cell.levels["x"] for seed in range(1200) for v in plan_visits(cells, 1, seed)[:1]]
    assert chisquare(np.bincount(first, minlength=6)).pvalue > 1e-3
