"""Time shared among visits, and the estimate of what is left."""

from collections.abc import Callable

import numpy as np
import pytest

from qmodel.measure.budget import NO_DEADLINE_S, TimePlan, row_quota
from qmodel.measure.design import Cell, Visit, plan_visits
from qmodel.measure.spec import DesignSpec, MeasurementSpec

CELLS = [Cell("call", {"x": i}, "back-to-back") for i in range(10)]


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def plan(clock: Callable[[], float], *, done: int = 0, **measurement: float) -> tuple[TimePlan, list[Visit]]:
    visits = plan_visits(CELLS, 3, 1)
    made = TimePlan(visits, DesignSpec(blocks=3), MeasurementSpec(**measurement), done=done, clock=clock)
    return made, visits


def test_quota_grows_evenly_and_is_met_at_the_end() -> None:
    design, measurement = DesignSpec(blocks=3), MeasurementSpec(min_replicates=5, max_replicates=200)
    assert [row_quota(design, measurement, block) for block in (1, 2, 3)] == [(2, 66), (4, 133), (5, 200)]
    few = MeasurementSpec(min_replicates=1, max_replicates=1)
    assert [row_quota(design, few, block) for block in (1, 2, 3)] == [(1, 1), (2, 2), (3, 3)]
    fixed = DesignSpec(kind="2kr", replicates=7, blocks=3)
    assert [row_quota(fixed, measurement, block) for block in (1, 2, 3)] == [(3, 3), (5, 5), (7, 7)]


def test_cell_budget_is_spread_over_the_blocks() -> None:
    made, visits = plan(Clock(), cell_budget_s=3.0)
    assert made.share(visits[0]) == (pytest.approx(1.0), NO_DEADLINE_S)
    made.spent(visits[0].cell.key, 0.4)
    assert made.share(visits[0])[0] == pytest.approx(0.6)
    second = next(v for v in visits if v.block == 2 and v.cell == visits[0].cell)
    assert made.share(second)[0] == pytest.approx(1.6)
    made.spent(visits[0].cell.key, 9.0)
    assert made.share(second)[0] == 0.0


def test_total_budget_is_shared_after_warm_ups() -> None:
    made, visits = plan(Clock(), cell_budget_s=30.0, budget_s=60.0, warmup_s=0.2)
    share_s, deadline_s = made.share(visits[0])
    assert share_s == pytest.approx((60 - 30 * 0.2) / 30)
    assert deadline_s == pytest.approx(60 / 3 - 10 * 0.2)


def test_slow_cells_use_up_their_own_block_only() -> None:
    clock = Clock()
    made, visits = plan(clock, cell_budget_s=300.0, budget_s=60.0, warmup_s=0.2)
    for visit in visits[:9]:  # each takes 2.2 s where 2 s were there for it
        clock.now += 2.2
        made.made(visit, 0.2, 2.0)
    assert made.share(visits[9])[1] == pytest.approx(20 - 9 * 2.2 - 0.2)
    clock.now += 0.4
    made.made(visits[9], 0.2, 0.2)
    assert made.share(visits[10])[1] == pytest.approx(40 - 20.2 - 10 * 0.2)


def test_what_a_quick_cell_leaves_goes_to_the_others() -> None:
    clock = Clock()
    made, visits = plan(clock, cell_budget_s=300.0, budget_s=60.0, warmup_s=0.2)
    before = made.share(visits[0])[0]
    clock.now += 0.3
    made.made(visits[0], 0.2, 0.1)
    assert made.share(visits[1])[0] == pytest.approx((60 - 0.3 - 29 * 0.2) / 29)
    assert made.share(visits[1])[0] > before


def test_nothing_is_left_after_the_end() -> None:
    clock = Clock()
    made, visits = plan(clock, budget_s=60.0)
    clock.now += 61
    assert made.share(visits[0]) == (0.0, 0.0)
    assert made.remaining_s() == 0.0


def test_a_resumed_run_has_its_part_of_the_total() -> None:
    made, visits = plan(Clock(), done=20, budget_s=60.0, cell_budget_s=300.0, warmup_s=0.2)
    assert made.share(visits[20])[1] == pytest.approx(20 - 10 * 0.2)


def test_estimate_before_the_first_visit_is_the_whole_share() -> None:
    made, _ = plan(Clock(), cell_budget_s=3.0, warmup_s=0.2)
    assert made.remaining_s() == pytest.approx(30 * (1.0 + 0.2))
    assert plan(Clock(), cell_budget_s=3.0, budget_s=20.0)[0].remaining_s() == pytest.approx(20.0)


def test_estimate_of_steady_visits_is_exact() -> None:
    made, visits = plan(Clock())
    for visit in visits[:12]:
        made.made(visit, 0.25, 0.1 * (1 + visit.cell.levels["x"]))
    left = sum(0.25 + 0.1 * (1 + visit.cell.levels["x"]) for visit in visits[12:])
    assert made.remaining_s() == pytest.approx(left, rel=1e-12)


def test_estimate_learns_that_later_blocks_are_shorter() -> None:
    made, visits = plan(Clock())
    for visit in visits[:15]:
        made.made(visit, 0.2, 1.0 if visit.block == 1 else 0.5)
    seen_twice = {visit.cell.key for visit in visits[10:15]}
    # Cells of block 2 still to come halve their 1.0; those of block 3 halve what they took last, 0.5 or 1.0.
    block_3 = sum(0.25 if visit.cell.key in seen_twice else 0.5 for visit in visits[20:])
    assert made.remaining_s() == pytest.approx(15 * 0.2 + 5 * 0.5 + block_3)


def test_dropped_cells_take_no_time() -> None:
    made, visits = plan(Clock(), cell_budget_s=3.0, warmup_s=0.2)
    made.drop(visits[0].cell.key)
    assert made.remaining_s() == pytest.approx(27 * 1.2)


def test_estimate_is_good_after_a_third_of_the_first_block() -> None:
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cells = [Cell("call", {"x": i}, "back-to-back") for i in range(40)]
        visits = plan_visits(cells, 3, seed)
        made = TimePlan(visits, DesignSpec(blocks=3), MeasurementSpec(), clock=Clock())
        took = [0.3 + rng.uniform(0.0, 1.0) for _ in visits]
        for visit, seconds in zip(visits[:13], took, strict=False):
            made.made(visit, 0.2, seconds - 0.2)
        errors.append(made.remaining_s() / sum(took[13:]) - 1)
    assert abs(np.mean(errors)) < 0.04
    assert np.std(errors) < 0.15
