"""Environments: what generates no chain is refused, and the long run is right at every pace of change."""

from __future__ import annotations

import math

import pytest

from qmodel.errors import InputError
from qmodel.service.environment import Environment, checked_generator

ROWS = ((-1.0, 1.0, 0.0), (2.0, -3.0, 1.0), (1.0, 0.0, -1.0))


def at_pace(factor):
    return Environment((1.0, 0.5, 0.0), tuple(tuple(factor * rate for rate in row) for row in ROWS))


@pytest.mark.parametrize("factor", [1e-15, 1e-9, 1.0, 1e9, 1e15])
def test_the_long_run_does_not_depend_on_the_pace(factor):
    """Balance: 3/5, 1/5, 1/5, however slowly the states change."""
    assert at_pace(factor).stationary.tolist() == pytest.approx([0.6, 0.2, 0.2], rel=1e-14)
    assert at_pace(factor).mean_speed == pytest.approx(0.7, rel=1e-14)


def test_states_next_to_never_visited():
    """Entered at 1e-20 a second and left at 1: a share of 1e-20, of speed 1e20."""
    rare = Environment((0.5, 1e20), ((-1e-20, 1e-20), (1.0, -1.0)))
    assert rare.stationary[1] == pytest.approx(1e-20, rel=1e-14)
    assert rare.mean_speed == pytest.approx(1.5, rel=1e-14)


def test_one_state_is_an_environment():
    assert Environment((2.0,), ((0.0,),)).mean_speed == 2.0


@pytest.mark.parametrize(
    ("speeds", "said"),
    [((), "must be >= 0"), ((0.0, 0.0), "one above 0"), ((-1.0, 1.0), ">= 0"), ((1.0, math.inf), ">= 0"),
     ((1.0, math.nan), ">= 0")],
)  # fmt: skip
def test_speeds_that_are_none(speeds, said):
    with pytest.raises(InputError, match=said):
        Environment(speeds, tuple(ROWS[i][: len(speeds)] for i in range(len(speeds))))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (((-1.0, 1.0),), "is not 2 by 2"),
        (((-1.0, 1.0), (1.0, -1.0, 0.0)), "is not 2 by 2"),
        (((1.0, -1.0), (1.0, -1.0)), "negative or infinite"),
        (((-math.inf, math.inf), (1.0, -1.0)), "negative or infinite"),
        (((-1.0, 1.0), (1.0, -1.0 + 1e-6)), "does not sum to 0"),
        (((-1.0, 1.1), (1.0, -1.0)), "does not sum to 0"),
        (((-1.0, 1.0), (0.0, 0.0)), "never entered or never left"),
    ],
)
def test_what_generates_no_chain(rows, said):
    with pytest.raises(InputError, match=said):
        checked_generator("here", rows, 2)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_rounded_decimals_generate_a_chain(factor):
    """A row that misses 0 by 1e-10 of the rates; states reached by way of all the others."""
    checked_generator("here", ((-factor * (1 + 1e-10), factor), (factor, -factor)), 2)
    ring = [[-factor if j == i else factor if j == (i + 1) % 6 else 0.0 for j in range(6)] for i in range(6)]
    checked_generator("here", ring, 6)
