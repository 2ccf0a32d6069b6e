"""Orders by size, part by part: roots of delay cycles, cells of many sizes, and other parts with plain numbers."""

from __future__ import annotations

import numpy as np
import pytest

from qmodel.policy import LAS, MLFQ, PSJF, SJF, SRPT
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.size_order.remaining_time import RemainingTime
from qmodel.theory.size_order.size_atoms import point_masses
from qmodel.theory.size_order.size_law import SizeLaw
from qmodel.theory.size_order.size_moments import second_moment
from qmodel.theory.size_order.sized_queue import SizedQueue
from qmodel.theory.size_order.sizes_upto import SizesUpto
from qmodel.workload import Deterministic, Discrete, Exponential, Mixture, Pareto

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
@pytest.mark.parametrize("beside", [0.3 * (1.0 + 2e-16), 0.3 * (1.0 - 2e-16)], ids=["above", "below"])
def test_sizes_that_rounding_sets_apart_are_one_size(policy, beside):
    law = Discrete((0.3, 1.0), (0.6, 0.4))
    assert beside != 0.3
    plain = point_masses(policy, RATE, law, 0.3, 0.5)
    beside = point_masses(policy, RATE, law, beside, 0.5)
    assert [mass for _, mass in beside] == pytest.approx([mass for _, mass in plain], rel=1e-12)


@pytest.mark.parametrize(
    ("law", "smooth"),
    [(Exponential(1.0), True), (Discrete((1.0, 2.0), (0.5, 0.5)), False)],
    ids=["smooth", "jumps"],
)
def test_terms_are_doubled_until_the_value_stands(law, smooth):
    found = SizeLaw([(1.0, law)], SizedQueue(SJF(), RATE, law))
    first = found._terms
    value, last = found.cdf(2.0), 2 * found._terms
    coarser, coarse, fine = (found._value(2.0, terms) for terms in (last // 4, last // 2, last))
    assert (value, found.error) == (fine, abs(fine - coarse))
    assert found.error < 2e-5
    assert (found._terms == first) == smooth
    assert smooth or abs(coarse - coarser) > 2e-5


class Moving(SizeLaw):
    """A law whose probability depends on the number of terms, in units of the first; 64 of them at most."""

    def __init__(self, value):
        super().__init__([(1.0, Exponential(1.0))], SizedQueue(SJF(), RATE, Exponential(1.0)))
        self.first, self.value, self.asked = self._terms, value, []
        self._most_terms = 64 * self.first

    def _value(self, t, terms):
        self.asked.append(terms // self.first)
        return self.value(terms / self.first)


def test_terms_end_where_they_must():
    law = Moving(lambda terms: 0.1 * np.log2(terms))
    assert law.cdf(1.0) == pytest.approx(0.6)
    assert law.error == pytest.approx(0.1)
    assert law.asked == [1, 2, 4, 8, 16, 32, 64]


def test_probabilities_near_one_must_stand_to_a_hundredth_of_the_tail():
    """It moves by 5, 2.5, 1.25 and 0.63 millionths: the last is below 1 % of 1e-4."""
    law = Moving(lambda terms: 1.0 - 1e-4 - 1e-5 / terms)
    assert law.cdf(1.0) == pytest.approx(1.0 - 1e-4, abs=1e-6)
    assert law.asked == [1, 2, 4, 8, 16]


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


def test_chances_that_nobody_goes_before():
    """exp(-l x F(x)) under PSJF, exp(-l int_0^x F) under SRPT, exp(-l x) past the first of several levels."""
    law = Exponential(1.0)

    def chances(policy):
        queue = SizedQueue(policy, RATE, law)
        sizes = queue.responses(3.0, 32)[0]
        return sizes.x, queue._uninterrupted(sizes)

    x, found = chances(PSJF())
    np.testing.assert_allclose(found, np.exp(RATE * x * np.expm1(-x)), rtol=1e-8)
    x, found = chances(SRPT())
    np.testing.assert_allclose(found, np.exp(-RATE * (x + np.expm1(-x))), rtol=1e-6)
    x, found = chances(MLFQ((1.5,)))
    np.testing.assert_allclose(found, np.where(x <= 1.5, 1.0, np.exp(-RATE * x)), rtol=1e-12)
    assert (chances(SJF())[1] == 1.0).all()


def test_probabilities_of_smaller_sizes_beside_a_point_mass():
    law = Mixture((0.4, 0.6), (Deterministic(1.0), Exponential(1.0)))
    sizes = SizedQueue(PSJF(), RATE, law).responses(3.0, 32)[0]
    below, upto = sizes.cumulative(np.ones((len(sizes.x), 1)))
    np.testing.assert_allclose(upto[:, 0], law.cdf(sizes.x), rtol=1e-5)
    np.testing.assert_allclose(upto[:, 0] - below[:, 0], np.where(sizes.x == 1.0, 0.4, 0.0), atol=1e-12)
