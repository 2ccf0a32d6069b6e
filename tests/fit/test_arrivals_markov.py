"""Expectation maximisation for Markovian arrivals: likelihood by a second route, planted truth, monotone rounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qmodel.fit.arrivals_markov import (
    Levels,
    _Spectrum,
    fit_map2,
    fit_mmpp,
    levels_of,
    log_likelihood,
    maximise,
    of_matrices,
    starting_point,
)
from qmodel.workload.markov_arrivals import Map, Mmpp

BURSTS = Mmpp((20.0, 2.0), ((-0.1, 0.1), (0.05, -0.05)))
LOOP = Mmpp((8.0, 1.0, 0.2), ((-0.5, 0.5, 0.0), (0.0, -0.5, 0.5), (0.5, 0.0, -0.5)))
"""A cycle: the eigenvalues of its generator are complex."""
TURNS = Map(((-3.0, 1.0), (0.5, -1.5)), ((0.5, 1.5), (1.0, 0.0)))


def gaps_of(process, n: int, seed: int = 1) -> np.ndarray:
    return np.diff(process.times(np.random.default_rng(seed), 1.2 * n / process.rate))[:n]


@pytest.mark.parametrize("process", [BURSTS, LOOP, TURNS])
def test_likelihood_agrees_with_matrix_exponentials_gap_by_gap(process) -> None:
    gaps = gaps_of(process, 500)
    assert log_likelihood(process, levels_of([gaps], width=1e-7)) == pytest.approx(
        process.log_likelihood(gaps), rel=1e-9
    )
    assert log_likelihood(process, levels_of([gaps])) == pytest.approx(process.log_likelihood(gaps), abs=0.05)


def test_blocks_begin_anew() -> None:
    first, second = gaps_of(BURSTS, 300, 1), gaps_of(BURSTS, 200, 2)
    whole = BURSTS.log_likelihood(first) + BURSTS.log_likelihood(second)
    assert log_likelihood(BURSTS, levels_of([first, second], width=1e-7)) == pytest.approx(whole, rel=1e-9)


def test_levels_keep_the_total_time() -> None:
    gaps = gaps_of(BURSTS, 2000)
    levels = levels_of([gaps[:700], gaps[700:]])
    assert levels.lengths[levels.index].sum() == pytest.approx(gaps.sum(), rel=1e-12)
    assert levels.size == 2000 and levels.ends.tolist() == [700, 2000]


@pytest.mark.parametrize("process", [BURSTS, LOOP, TURNS])
def test_integral_is_that_of_van_loan(process) -> None:
    """int exp(D0 (x - s)) M exp(D0 s) ds is a corner of the exponential of a block matrix."""
    from scipy.linalg import expm

    d0, _ = process.matrices
    size = len(d0)
    inner = np.random.default_rng(3).uniform(size=(2, size, size))
    lengths = np.array([0.3, 2.5])
    spectrum = _Spectrum.of(d0)
    expected = np.zeros((size, size))
    for x, m in zip(lengths, inner, strict=True):
        block = np.block([[d0, m], [np.zeros_like(d0), d0]])
        expected += expm(block * x)[:size, size:] * np.exp(-spectrum.top * x)
    assert spectrum.integral(lengths, inner) == pytest.approx(expected, rel=1e-9)


def test_a_matrix_that_cannot_be_diagonalised_is_nudged() -> None:
    from scipy.linalg import expm

    d0 = np.array([[-2.0, 2.0], [0.0, -2.0]])  # Erlang: one eigenvalue, one eigenvector
    steps = _Spectrum.of(d0).steps(np.array([0.7]))[0]
    assert steps * np.exp(_Spectrum.of(d0).top * 0.7) == pytest.approx(expm(d0 * 0.7), rel=1e-3)


@pytest.mark.parametrize("process", [BURSTS, TURNS])
def test_every_round_gains(process) -> None:
    levels = levels_of([gaps_of(process, 3000)])
    d0, d1 = (1.3 * m for m in process.matrices)
    values = [maximise(d0, d1, levels, rounds)[0] for rounds in (1, 2, 4, 8, 16)]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(values))
    assert values[-1] > values[0]


def test_one_state_is_poisson() -> None:
    gaps = gaps_of(BURSTS, 1000)
    _, d0, d1 = maximise(np.array([[-1.0]]), np.array([[1.0]]), levels_of([gaps]), 3)
    assert d1[0, 0] == pytest.approx(1.0 / gaps.mean(), rel=1e-12) and d0[0, 0] == -d1[0, 0]


def test_planted_mmpp_comes_back() -> None:
    """Rates within 3 %, means of the stays within 25 % (some 200 stays), likelihood above that of the truth."""
    gaps = gaps_of(BURSTS, 60_000, 3)
    found = fit_mmpp(np.array_split(gaps, 5), 2)
    assert found is not None
    order = np.argsort(found.rates)
    assert np.array(found.rates)[order] == pytest.approx([2.0, 20.0], rel=0.03)
    leave = -np.diag(np.array(found.generator))[order]
    assert leave == pytest.approx([0.05, 0.1], rel=0.25)
    levels = levels_of(np.array_split(gaps, 5))
    assert log_likelihood(found, levels) >= log_likelihood(BURSTS, levels)


def test_three_states_beat_two_where_there_are_three() -> None:
    truth = Mmpp((30.0, 6.0, 0.5), ((-0.2, 0.1, 0.1), (0.1, -0.2, 0.1), (0.1, 0.1, -0.2)))
    gaps, fresh = gaps_of(truth, 20_000, 5), gaps_of(truth, 20_000, 6)
    two, three = fit_mmpp([gaps], 2), fit_mmpp([gaps], 3)
    assert two is not None and three is not None
    unseen = levels_of([fresh])
    assert log_likelihood(three, unseen) - log_likelihood(two, unseen) > 100


def test_map_finds_what_no_mmpp_can() -> None:
    """Gaps that alternate in length: negative lag-1 correlation, which an MMPP never has."""
    truth = Map(((-10.0, 0.0), (0.0, -1.0)), ((1.0, 9.0), (0.9, 0.1)))
    assert truth.lag_correlation(1) < -0.2
    gaps = gaps_of(truth, 20_000)
    near = fit_mmpp([gaps], 2)
    assert near is not None
    found = fit_map2([gaps], near)
    levels = levels_of([gaps])
    assert log_likelihood(found, levels) - log_likelihood(near, levels) > 500
    assert found.lag_correlation(1) == pytest.approx(truth.lag_correlation(1), abs=0.03)


def test_equal_gaps_lead_nowhere() -> None:
    assert fit_mmpp([np.full(1000, 0.5)], 2) is None
    assert starting_point([np.full(5, 0.5)], 4, 3) is None


def test_kinds_are_kept() -> None:
    d0, d1 = BURSTS.matrices
    assert of_matrices(d0, d1, BURSTS) == BURSTS
    d0, d1 = TURNS.matrices
    assert of_matrices(d0, d1, TURNS) == TURNS


def test_gaps_that_cannot_be_end_the_search() -> None:
    """A renewal process without an arrival in its only state."""
    levels = Levels(np.array([1.0]), np.array([0]), np.array([1]))
    with np.errstate(invalid="ignore"):
        value, _, _ = maximise(np.array([[-1.0, 1.0], [1.0, -1.0]]), np.zeros((2, 2)), levels, 2)
    assert value == -np.inf


@pytest.mark.parametrize("process", [BURSTS, LOOP, TURNS])
def test_compiled_recursions_are_the_plain_ones(process) -> None:
    """And what they add up is what it means: each gap ends in one arrival."""
    from qmodel.fit.arrivals_recursion import backward, forward

    levels = levels_of([gaps_of(process, 40), gaps_of(process, 30, 2)])
    d0, d1 = process.matrices
    steps, size = _Spectrum.of(d0).steps(levels.lengths), len(d0)
    found = []
    for run_forward, run_backward in ((forward, backward), (forward.py_func, backward.py_func)):
        states, moves = np.empty((levels.size, size)), np.zeros((size, size))
        inner = np.zeros((levels.lengths.size, size, size))
        value = run_forward(levels.index, levels.ends, steps, d1, process.phases_after_arrival, states)
        run_backward(levels.index, levels.ends, steps, d1, states, moves, inner)
        found.append((value, states, moves, inner))
    for compiled, plain in zip(*found, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-12)
    assert found[0][2].sum() == pytest.approx(levels.size, rel=1e-12)
    spent = _Spectrum.of(d0).integral(levels.lengths, found[0][3])
    assert np.trace(spent) == pytest.approx(levels.lengths[levels.index].sum(), rel=1e-9)
