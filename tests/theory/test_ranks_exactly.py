"""Ranks by age, piece by piece, against plain numbers; ranks of one's own that are presets in disguise."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.policy import SJF, SRPT, Rank
from qmodel.policy.gittins_index import RankTable
from qmodel.theory import analyse
from qmodel.theory.rank.blind_order import turning_ages
from qmodel.theory.rank.gittins import FAR, path_of_table
from qmodel.theory.rank.rank_order import facts_read
from qmodel.theory.rank.rank_path import Path, path_of
from qmodel.theory.rank.soap import Kind, Newcomers, Relevance
from qmodel.workload import Deterministic, Discrete, Empirical, Exponential, Mixture

from .scenarios import one

RISES_FALLS_RISES = ([0.0, 1.0, 3.0], [1.0, 3.0, 4.0], [0.0, 2.0, 1.0], [2.0, 1.0, 5.0])


def columns(rows):
    return (np.array(row) for row in rows)


def test_ages_at_which_the_worst_rank_turns():
    """It grows up to age 1, and from 3 on (where the rank has come back to 1 < 2); it passes 3 at 3.5."""
    path = Path(*columns(RISES_FALLS_RISES))
    assert turning_ages([path], np.array([3.0])) == pytest.approx((1.0, 3.0, 3.5), rel=1e-12)
    assert turning_ages([path], np.array([0.5])) == pytest.approx((0.25, 1.0, 3.0), rel=1e-12)


def test_ranks_at_the_end_of_pieces_or_of_a_service():
    path = Path(*columns(RISES_FALLS_RISES))
    assert path.at_end(3.5).tolist() == pytest.approx([2.0, 1.0, 3.0], rel=1e-12)
    assert path.at_end(2.0).tolist() == pytest.approx([2.0, 1.5, 1.0], rel=1e-12)


def test_a_slight_bend_of_a_long_path_is_kept():
    path = path_of(lambda age: age + 1e-5 * max(0.0, age - 500.0), np.linspace(0.0, 1000.0, 3))
    assert path.start.tolist() == [0.0, 500.0]
    assert path.at(np.array([750.0]))[0] == pytest.approx(750.0025, rel=1e-12)


def three_kinds(with_laws):
    """Sizes 2 (rank 0, then 5 from age 1), 1 (rank 3) and 3 (rank 5, then 1 from age 1)."""
    found = []
    for rate, size, ranks in ((0.3, 2.0, (0.0, 5.0)), (0.2, 1.0, (3.0,)), (0.1, 3.0, (5.0, 1.0))):
        end = np.inf if with_laws else size
        bounds = [0.0, 1.0, end] if len(ranks) == 2 else [0.0, end]
        path = Path(np.array(bounds[:-1]), np.array(bounds[1:]), np.array(ranks), np.array(ranks))
        found.append(Kind(rate, path, Deterministic(size) if with_laws else None))
    return found


@pytest.mark.parametrize("with_laws", [True, False])
@pytest.mark.parametrize("prepared", [True, False])
def test_relevant_work_at_a_rank(with_laws, prepared):
    """At rank 3: one second of each of the first two, the last two of the third; newcomers must be below 3."""
    relevance = Relevance(three_kinds(with_laws))
    if prepared:
        relevance.prepare(np.array([1.0, 3.0]))
    found = relevance.at(3.0)
    assert (found.residual, found.old, found.new) == pytest.approx(
        (0.5 * (0.3 + 0.2 + 0.1 * 4.0), 0.5, 0.3), rel=1e-12
    )
    found = relevance.at(1.0)
    assert (found.residual, found.old, found.new) == pytest.approx((0.5 * (0.3 + 0.1 * 4.0), 0.3, 0.3), rel=1e-12)


def test_newcomers_between_known_ranks():
    newcomers = Newcomers(np.array([1.0, 2.0]), np.array([0.1, 0.3]), always=0.05)
    found = newcomers.below(np.array([-np.inf, 0.0, 1.5, 3.0, np.inf]))
    assert found.tolist() == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.3], rel=1e-12)


def test_a_table_that_ends_rising_goes_on_as_it_did():
    path = path_of_table(RankTable(*columns(RISES_FALLS_RISES)))
    assert path.end[-1] == 4.0 * FAR
    assert path.last[-1] == pytest.approx(1.0 + 4.0 * (4.0 * FAR - 3.0), rel=1e-12)
    assert path.at(np.array([5.0]))[0] == pytest.approx(9.0, rel=1e-9)


def test_a_table_that_ends_rising_below_its_worst_rank_goes_on_too():
    rows = [list(row) for row in RISES_FALLS_RISES]
    rows[3][2] = 1.5
    assert path_of_table(RankTable(*columns(rows))).at(np.array([5.0]))[0] == pytest.approx(2.0, rel=1e-9)


def test_a_table_that_ends_falling_stays():
    rows = [list(row) for row in RISES_FALLS_RISES]
    rows[3][2] = 0.5
    path = path_of_table(RankTable(*columns(rows)))
    assert path.at(np.array([3.5, 4.5, 400.0])).tolist() == pytest.approx([0.75, 0.5, 0.5], rel=1e-12)


class ByKindOfEnd(Rank):
    """Knows the size in the last tenth of a service only."""

    preemptive = True

    def rank(self, request, attained):
        return float(0.9 * request.size < attained < request.size)


def test_facts_that_count_late_are_found():
    assert facts_read(ByKindOfEnd(), one(0.5, Exponential(2.0), ByKindOfEnd()).served) == {"size"}


class SmallestAtTheStart(Rank):
    """Shortest first, by the rank at the start; what it would be later does not count without preemption."""

    preemptive = False

    def rank(self, request, attained):
        return request.size if attained == 0 else -request.size


def test_without_preemption_the_rank_at_the_start_counts():
    own, preset = (
        analyse(one(0.7, Exponential(1.0), policy), percentiles=())["a"] for policy in (SmallestAtTheStart(), SJF())
    )
    assert own.mean_response_s == pytest.approx(preset.mean_response_s, rel=1e-3)


class Remaining(Rank):
    """SRPT as a rank of one's own: it falls all the time."""

    preemptive = True

    def rank(self, request, attained):
        return request.size - attained


def own_and_preset(law, load):
    made = (one(load / law.mean, law, policy) for policy in (Remaining(), SRPT()))
    return [analyse(each, percentiles=())["a"].mean_response_s for each in made]


def test_newcomers_of_few_sizes_go_before_in_steps():
    """Sizes 1 and 2 alike, 0.45/s: 1 + 0.225 / 0.775, and 1 + (1 + 0.5625 / 0.325) / 0.775."""
    own, preset = own_and_preset(Discrete((1.0, 2.0), (0.5, 0.5)), 0.675)
    exact = 0.5 * (1.0 + 0.225 / 0.775) + 0.5 * (1.0 + (1.0 + 0.5625 / 0.325) / 0.775)
    assert [own, preset] == pytest.approx([exact, exact], rel=1e-12)


@pytest.mark.parametrize(("sizes", "within"), [(3, 1e-12), (40, 1e-12), (170, 5e-4)])
def test_newcomers_of_several_sizes_go_before_in_steps(sizes, within):
    values = Exponential(1.0).quantile((np.arange(sizes) + 0.5) / sizes)
    own, preset = own_and_preset(Empirical(np.asarray(values)), 0.9)
    assert own == pytest.approx(preset, rel=within)


def test_newcomers_of_one_size_among_others():
    law = Mixture((0.5, 0.5), (Deterministic(1.0), Exponential(1.0)))
    own, preset = own_and_preset(law, 0.8)
    assert own == pytest.approx(preset, rel=1e-6)
