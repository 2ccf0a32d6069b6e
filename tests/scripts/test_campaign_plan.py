"""The order of the campaign: coarse grid first, in blocks, balanced wherever it is cut."""

import doctest
from collections import Counter
from itertools import product

import pytest
from campaign import forecast, livequeue, plan, power, records, shapes, stages, summarise
from campaign.plan import Cell, Design, Grid

GRID = Grid(
    "decode",
    {"batch_size": (1, 2, 4), "context_tokens": (8, 16, 32)},
    {"batch_size": (1, 4), "context_tokens": (8, 32)},
    late=lambda levels: levels["batch_size"] == 4 and levels["context_tokens"] == 32,
)


@pytest.mark.parametrize("module", [forecast, livequeue, plan, power, records, shapes, summarise])
def test_examples_in_the_documentation(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_tiers_are_the_coarse_grid_the_rest_and_the_late_cells():
    tiers = {tuple(cell.levels.values()): cell.tier for cell in GRID.cells()}
    assert len(tiers) == 9
    assert {levels for levels, tier in tiers.items() if tier == 1} == {(1, 8), (1, 32), (4, 8)}
    assert {levels for levels, tier in tiers.items() if tier == 3} == {(4, 32)}


def test_each_block_visits_every_cell_of_its_tier_once_in_an_order_of_its_own():
    visits = Design([GRID], rounds=4).visits()
    tiers = [visit.cell.tier for visit in visits]
    assert tiers == sorted(tiers)
    assert [visit.block for visit in visits] == sorted(visit.block for visit in visits)
    orders = []
    for block in range(1, 13):
        members = [visit.cell for visit in visits if visit.block == block]
        assert len({cell.tier for cell in members}) == 1
        assert Counter(c.key for c in members) == Counter(c.key for c in GRID.cells() if c.tier == members[0].tier)
        orders.append([cell.key for cell in members])
    assert orders[0] != orders[1] or orders[0] != orders[2]
    assert orders[4] != orders[5] or orders[4] != orders[6]


def test_the_same_design_gives_the_same_order_and_another_seed_another():
    assert [v.cell.key for v in Design([GRID]).visits()] == [v.cell.key for v in Design([GRID]).visits()]
    assert Design([GRID]).fingerprint("x") == Design([GRID]).fingerprint("x")
    different = [Design([GRID], seed=2), Design([GRID], rounds=4), Design([GRID], repetitions=2)]
    assert len({d.fingerprint("x") for d in [Design([GRID]), *different]} | {Design([GRID]).fingerprint("y")}) == 5


def test_what_is_out_of_memory_implies_larger_cells():
    small, large = Cell("decode", {"batch_size": 2, "execution": "graph"}), {"batch_size": 4, "execution": "graph"}
    assert Cell("decode", large).at_least(small)
    assert not small.at_least(Cell("decode", large))
    assert not Cell("decode", large | {"execution": "eager"}).at_least(small)
    assert not Cell("prefill", large).at_least(small)
    assert not Cell("decode", large | {"exit_layer": 2}).at_least(small)


def full_designs():
    return {stage.name: stage.design(("graph", "eager")) for stage in stages.full_stages()}


@pytest.mark.parametrize(
    ("stage", "phase", "factors"),
    [
        ("prefill-1b", "prefill", {"batch_size": (1, 64), "input_tokens": (16, 8192)}),
        ("prefill-8b", "prefill", {"batch_size": (1, 64), "input_tokens": (16, 8192)}),
        ("decode-1b", "decode", {"batch_size": (1, 256), "context_tokens": (128, 32_768)}),
        ("decode-8b", "decode", {"batch_size": (1, 256), "context_tokens": (128, 32_768)}),
    ],
)
def test_the_grids_reach_from_end_to_end_in_powers_of_two(stage, phase, factors):
    cells = [c for c in full_designs()[stage].cells() if c.phase == phase and c.levels.get("execution") != "eager"]
    for name, (low, high) in factors.items():
        levels = sorted({cell.levels[name] for cell in cells})
        assert levels == [low * 2**i for i in range((high // low).bit_length())]
    assert len(cells) == len(list(product(*({c.levels[name] for c in cells} for name in factors))))


@pytest.mark.parametrize("name", [stage.name for stage in stages.full_stages()])
def test_every_cell_gets_at_least_five_replicates(name):
    design = full_designs()[name]
    visits = Counter(visit.cell.key for visit in design.visits())
    assert len(visits) == len(design.cells())
    assert min(visits.values()) * design.repetitions >= 5


@pytest.mark.parametrize("name", [stage.name for stage in stages.full_stages()])
def test_tier_one_alone_crosses_all_levels_it_has(name):
    """A run cut after it is a factorial design, but for the corner that comes last."""
    for phase in {cell.phase for cell in full_designs()[name].cells()}:
        coarse = [c for c in full_designs()[name].cells() if c.tier == 1 and c.phase == phase]
        levels = {factor: {c.levels[factor] for c in coarse} for factor in coarse[0].levels}
        combinations = 1
        for found in levels.values():
            combinations *= len(found)
        assert combinations - 1 <= len(coarse) <= combinations
        assert sum(len(found) >= 2 for found in levels.values()) >= 2
