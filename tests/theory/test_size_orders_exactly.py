"""Orders by size, part by part: roots of delay cycles, cells of many sizes, and other parts with plain numbers."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.size_order.remaining_time import RemainingTime
from qmodel.theory.size_order.size_atoms import point_masses
from qmodel.theory.size_order.size_law import FIRST_TERMS, STILL, SizeLaw, _Doubling
from qmodel.theory.size_order.size_moments import second_moment
from qmodel.theory.size_order.sized_queue import SizedQueue
from qmodel.theory.size_order.sizes_upto import SizesUpto
from qmodel.workload import Discrete, Exponential, Mixture, Pareto

RATE = 0.5


def two_cells():
    """Sizes 1 and 2; the first stands for several values, half of which are smaller than itself."""
    law, atoms, masses = Discrete((1.0, 2.0), (0.5, 0.5)), np.array([1.0, 2.0]), np.array([0.5, 0.5])
    return SizesUpto(law, None, atoms, masses, atoms, np.array([True, False]))


@pytest.mark.parametrize("rate", [RATE, 0.15])
def test_what_interrupts_a_remaining_time_is_smaller(rate):
    s = np.array([0.3 + 0.0j, 0.2 + 4.0j, 1.0 - 20.0j])
    found = RemainingTime(two_cells(), rate, s).theta
    for theta, smaller in zip(found, (0.25, 0.5), strict=True):
        np.testing.assert_allclose(theta - rate * smaller * (1.0 - np.exp(-theta)), s, rtol=1e-10)


@pytest.mark.parametrize("policy", [SRPT(), PSJF(), LAS(), MLFQ((0.3,))], ids=str)
def test_sizes_that_rounding_sets_apart_are_one_size(policy):
    law = Discrete((0.3, 1.0), (0.6, 0.4))
    plain = point_masses(policy, RATE, law, 0.3, 0.5)
    beside = point_masses(policy, RATE, law, 3 * 0.1, 0.5)
    assert 3 * 0.1 > 0.3
    assert [mass for _, mass in beside] == pytest.approx([mass for _, mass in plain], rel=1e-12)


@pytest.mark.parametrize(
    ("law", "smooth"),
    [(Exponential(1.0), True), (Discrete((1.0, 2.0), (0.5, 0.5)), False)],
    ids=["smooth", "jumps"],
)
def test_terms_are_doubled_until_the_value_stands(law, smooth):
    found = SizeLaw([(1.0, law)], SizedQueue(SJF(), RATE, law))
    value, last = found.cdf(2.0), 2 * found._terms
    coarser, coarse, fine = (found._value(2.0, terms) for terms in (last // 4, last // 2, last))
    assert (value, found.error) == (fine, abs(fine - coarse))
    assert found.error < STILL
    assert (found._terms == FIRST_TERMS) == smooth
    assert smooth or abs(coarse - coarser) > STILL


class Unsteady(_Doubling):
    """A law that moves by 0.1 at each doubling."""

    def __init__(self):
        super().__init__([(1.0, Exponential(1.0))], SizedQueue(SJF(), RATE, Exponential(1.0)), 8 * FIRST_TERMS)
        self.asked = []

    def _value(self, t, terms):
        self.asked.append(terms)
        return 0.1 * np.log2(terms / FIRST_TERMS)

    def _jumps(self):
        return np.empty(0)


def test_terms_end_where_they_must():
    law = Unsteady()
    assert law.cdf(1.0) == pytest.approx(0.3)
    assert law.error == pytest.approx(0.1)
    assert law.asked == [FIRST_TERMS, 2 * FIRST_TERMS, 4 * FIRST_TERMS, 8 * FIRST_TERMS]


@pytest.mark.parametrize("policy", [SRPT(), PSJF(), LAS()], ids=str)
def test_largest_sizes_are_delayed_in_any_unit(policy):
    """A twentieth of the second moment is past the panels: there, T is x / (1 - rho)."""
    plain, scaled = (
        second_moment(policy, SizeGrid(0.6 / unit, Pareto(unit, 2.1)), Pareto(unit, 2.1)) for unit in (1.0, 4.0)
    )
    assert np.isfinite(plain)
    assert scaled == pytest.approx(16.0 * plain, rel=1e-6)


def values(count):
    return Discrete(tuple(range(1, count + 1)), (1.0 / count,) * count)


@pytest.mark.parametrize(
    ("law", "few"),
    [
        (values(1), True),
        (values(16), True),
        (values(17), False),
        (Exponential(1.0), False),
        (Mixture((0.5, 0.5), (values(2), Exponential(1.0))), False),
    ],
)
def test_few_sizes_are_at_most_16_and_no_others(law, few):
    assert SizedQueue(LAS(), 0.01, law).is_few == few


def test_panels_of_las_end_where_point_masses_pass():
    """Masses at 2x, 3x, ... 8x: at t they come from sizes t/2, t/3, ... t/8."""
    queue, t = SizedQueue(LAS(), RATE, Exponential(1.0)), 3.0
    edges = queue.responses(t, 32)[0].panels.edges
    assert all(np.isclose(edges, t / k, rtol=1e-9, atol=0.0).any() for k in range(1, 9))


def test_half_of_a_cell_is_smaller_than_its_mean():
    """Masses 1/4, 1/2 and 1/4 at 1, 2 and 4, of which the last two stand for cells that end at 3 and 5."""
    law = Discrete((1.0, 3.0, 5.0), (0.25, 0.5, 0.25))
    atoms, masses, ends = np.array([1.0, 2.0, 4.0]), np.array([0.25, 0.5, 0.25]), np.array([1.0, 3.0, 5.0])
    cells = SizesUpto(law, None, atoms, masses, ends, np.array([False, True, True]))
    below, upto = cells.cumulative(atoms[:, None])
    assert below[:, 0].tolist() == pytest.approx([0.0, 0.75, 1.75])
    assert upto[:, 0].tolist() == pytest.approx([0.25, 0.75, 1.75])
    assert cells.larger.tolist() == pytest.approx([0.75, 0.5, 0.125])
    assert cells.weights(law).tolist() == pytest.approx(masses.tolist())
    # what is given before 1, before 2 and before 4: constant in between, but for the middle of a cell to the next
    assert cells.along(np.array([[1.0], [2.0], [8.0]]))[:, 0].tolist() == pytest.approx([1.0, 3.0, 13.0])
