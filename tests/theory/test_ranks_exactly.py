"""Ranks by age, piece by piece, against plain numbers; ranks of one's own that are presets in disguise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.policy import LAS, SJF, SRPT, Rank
from qmodel.policy.gittins_index import RankTable
from qmodel.theory import analyse
from qmodel.theory.rank.blind_order import blind_means, turning_ages
from qmodel.theory.rank.blind_stay import Cells, Known, mean_stays
from qmodel.theory.rank.gittins import FAR, path_of_table
from qmodel.theory.rank.monotone_runs import Runs
from qmodel.theory.rank.rank_order import facts_read
from qmodel.theory.rank.rank_path import Path, path_of
from qmodel.theory.rank.relevant_work import BlindKind, RelevantWork
from qmodel.theory.rank.soap import Background, Kind, Newcomers, Relevance
from qmodel.workload import Deterministic, Discrete, Empirical, Exponential, Mixture, Uniform

from .scenarios import one, several

RISES_FALLS_RISES = ([0.0, 1.0, 3.0], [1.0, 3.0, 4.0], [0.0, 2.0, 1.0], [2.0, 1.0, 5.0])


def columns(rows):
    return (np.array(row) for row in rows)


def test_ages_at_which_the_worst_rank_reaches_and_leaves_a_rank():
    """It reaches 2 at age 1 and leaves it at 3.25, where the rank has come back from 1; it passes 3 at 3.5."""
    runs = Runs(Path(*columns(RISES_FALLS_RISES)))
    assert turning_ages(runs, np.array([3.0])) == pytest.approx([3.5], rel=1e-12)
    assert turning_ages(runs, np.array([0.5, 2.0])) == pytest.approx([0.25, 1.0, 3.25], rel=1e-12)
    assert runs.turning_ranks.tolist() == [0.0, 2.0]
    assert runs.record_ranks.tolist() == [0.0, 2.0, 5.0]


def test_ranks_at_the_end_of_pieces_or_of_a_service():
    path = Path(*columns(RISES_FALLS_RISES))
    assert path.at_end(3.5).tolist() == pytest.approx([2.0, 1.0, 3.0], rel=1e-12)
    assert path.at_end(2.0).tolist() == pytest.approx([2.0, 1.5, 1.0], rel=1e-12)


def test_a_slight_bend_of_a_long_path_is_kept():
    path = path_of(lambda age: age + 1e-5 * max(0.0, age - 500.0), np.linspace(0.0, 1000.0, 3))
    assert path.start.tolist() == [0.0, 500.0]
    assert path.at(np.array([750.0]))[0] == pytest.approx(750.0025, rel=1e-12)


def three_kinds(kind):
    """Sizes 2 (rank 0, then 5 from age 1), 1 (rank 3) and 3 (rank 5, then 1 from age 1)."""
    found = []
    for rate, size, ranks in ((0.3, 2.0, (0.0, 5.0)), (0.2, 1.0, (3.0,)), (0.1, 3.0, (5.0, 1.0))):
        end = np.inf if kind is BlindKind else size
        bounds = [0.0, 1.0, end] if len(ranks) == 2 else [0.0, end]
        path = Path(np.array(bounds[:-1]), np.array(bounds[1:]), np.array(ranks), np.array(ranks))
        found.append(kind(rate, path, *([Deterministic(size)] if kind is BlindKind else [])))
    return found


def test_relevant_work_at_a_rank():
    """At rank 3: one second of each of the first two, the last two of the third; newcomers must be below 3."""
    relevance = Relevance(three_kinds(Kind))
    found = [(level.residual, level.old, level.new) for level in map(relevance.at, (3.0, 1.0))]
    assert found[0] == pytest.approx((0.5 * (0.3 + 0.2 + 0.1 * 4.0), 0.5, 0.3), rel=1e-12)
    assert found[1] == pytest.approx((0.5 * (0.3 + 0.1 * 4.0), 0.3, 0.3), rel=1e-12)


@pytest.mark.parametrize("interrupts", [True, False])
def test_delays_at_ranks_met_by_age(interrupts):
    """The same, beside a background of load 0.1 and residual work 0.05."""
    work = RelevantWork(three_kinds(BlindKind), Background(0.1, 0.05, interrupts))
    levels = np.array([1.0, 3.0, -np.inf])
    new = work.newcomers(levels)
    assert new.tolist() == pytest.approx([0.4, 0.4, 0.1 * interrupts], rel=1e-12)
    exact = [(0.05 + 0.35) / (0.6 * 0.6), (0.05 + 0.45) / (0.4 * 0.6)]
    assert work.delays(levels[:2], new[:2]).tolist() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("law", [Discrete((0.5, 1.5, 3.2), (0.5, 0.3, 0.2)), Empirical([0.5, 1.5, 1.5, 4.5])])
def test_old_work_of_point_masses_is_quadratic_between_ranks(law):
    """By a table, and interval by interval."""
    kind = BlindKind(0.3, Path(*columns(RISES_FALLS_RISES)), law)
    levels = np.linspace(-0.5, 6.0, 400)
    for found, exact in zip(kind.old(levels), kind.at(levels), strict=True):
        assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-12, abs=1e-14)
    assert kind.discrete and not BlindKind(0.3, kind.path, Exponential(1.0)).discrete


def test_a_rank_without_end_has_no_table():
    ranks = np.array([1.0, -np.inf])
    kind = BlindKind(0.3, Path(np.array([0.0, 1.0]), np.array([1.0, 2.0]), ranks, ranks), Deterministic(1.5))
    squares, first = kind.old(np.array([0.5, 1.0, 2.0] * 20))
    assert squares[:3].tolist() == pytest.approx([0.25, 2.25, 2.25]) and first[:3].tolist() == [0.0, 1.5, 1.5]


random_paths = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=1, max_size=7
)


def path_through(rows):
    """Pieces of these lengths from rank to rank; where so asked, without a jump before."""
    end = np.cumsum([float(length) for length, *_ in rows])
    first, last = (np.array([float(row[k]) for row in rows]) for k in (1, 2))
    joined = np.array([row[3] for row in rows[1:]], dtype=bool)
    first[1:][joined] = last[:-1][joined]
    return Path(np.append(0.0, end[:-1]), end, first, last)


def relevant_ages(path, level, strict):
    """Intervals by looking at every piece: it is at most the level on one interval, maybe empty."""
    found: list[list[float]] = []
    for start, end, first, last in zip(path.start, path.end, path.first, path.last, strict=True):
        starts_in, ends_in = ((rank < level) if strict else (rank <= level) for rank in (first, last))
        if not starts_in and not ends_in:
            continue
        crossing = start if first == last else start + (level - first) / (last - first) * (end - start)
        low, high = (start if starts_in else crossing), (end if ends_in else crossing)
        if high > low:
            if found and found[-1][1] == low and starts_in:
                found[-1][1] = high
            else:
                found.append([low, high])
    return found


@settings(deadline=None, max_examples=150)
@given(random_paths, st.sampled_from([-0.5, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 3.5, 4.0, 4.5]), st.booleans())
def test_runs_find_the_ages_up_to_a_level(rows, level, strict):
    path = path_through(rows)
    runs, asked = Runs(path), (np.array([level]), np.array([strict]))
    exact = relevant_ages(path, level, strict)
    _, low, high = runs.intervals(*asked)
    wide = high > low
    found = np.column_stack((low[wide], high[wide])).reshape(-1)
    assert found.tolist() == pytest.approx(np.array(exact).reshape(-1).tolist())
    born = path.first[0] < level if strict else path.first[0] <= level
    from_birth = exact[0][1] if born and exact and exact[0][0] == 0.0 else 0.0
    assert runs.first_end(*asked)[0] == pytest.approx(from_birth)


@settings(deadline=None, max_examples=60)
@given(random_paths, st.floats(0.05, 1.0))
def test_stays_are_stretched_by_those_who_outrank_the_worst_still_to_come(rows, share):
    """Newcomers of load r / 10 below rank r up to 2, then 0.1 more: age by age, in steps of 1/400."""
    path = path_through(rows)
    size = share * float(path.end[-1])

    def below(ranks):
        return 0.1 * ranks + 0.1 * (ranks > 2.0)

    known = Known(np.array([2.0]), np.array([0.2]), below)
    rank = path.before(np.array([size]))[0]
    turns = (np.array([2.0]), np.array([2.0]))
    found = mean_stays(Runs(path), np.array([size]), rank, turns, known)[0]
    middles = (np.arange(int(400 * size)) + 0.5) * size / int(400 * size)
    later = np.maximum.accumulate(np.append(path.at(middles), rank)[::-1])[::-1][:-1]
    assert found == pytest.approx(float((1.0 / (1.0 - below(later))).mean()) * size, rel=0.02)


def test_a_path_of_many_turns_is_cut_at_some_of_them():
    """s falls from 1 / (1 - 0.4) to 1 on [0, 4): int da / (1 - 0.4 + 0.1 a) = 10 log(5 / 3)."""
    fall = Path(*(np.array([x]) for x in (0.0, 4.0, 4.0, 0.0)))
    known = Known(np.array([9.0]), np.array([0.9]), lambda ranks: 0.1 * ranks)
    many = np.linspace(0.0, 4.0, 5000)
    found = mean_stays(Runs(fall), np.array([4.0]), np.array([0.0]), (many[:1], many), known)[0]
    assert found == pytest.approx(10.0 * np.log(5.0 / 3.0), rel=1e-12)
    assert len(Cells.of(Runs(fall), many[:1], many, 4.0).start) < 1200


def test_a_size_at_a_step_down_of_the_load_between_panels():
    """Births of others at 1.0 are a step of the load of newcomers where a rank falls past it.

    Class b has rank 3 - a and sizes uniform on (0, 3), class a rank 1 and size 1: T_b(x) by hand below and above 2.
    """
    steady = Path(*(np.array([x]) for x in (0.0, 1.0, 1.0, 1.0)))
    falls = Path(*(np.array([x]) for x in (0.0, 3.0, 3.0, 0.0)))
    classes = several([(0.3, Deterministic(1.0)), (0.1, Uniform(0.0, 3.0))], LAS()).served
    found = blind_means({"c0": steady, "c1": falls}, classes)
    residual = 0.5 * (0.3 + 0.1 * 3.0)
    stay = (1.5 - 1.0 / 6.0) / 0.7 + 1.0 / 6.0  # E[min(S, 2)] = 4/3
    assert found["c1"] == pytest.approx(residual / ((1.0 - 0.45) * 0.7) + stay, rel=1e-9)


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
