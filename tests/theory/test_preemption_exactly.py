"""Preemption in steps and at a cost, part by part, against plain numbers."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from qmodel.policy import LAS, MLFQ, PSJF
from qmodel.policy.preemption import Preemption
from qmodel.scenario import Scenario
from qmodel.theory.dispatch import result_of
from qmodel.theory.numerics.sizes import SizeGrid
from qmodel.theory.preemption.grained_path import grained
from qmodel.theory.preemption.preemption_cost import Busy, smallest_first_means
from qmodel.theory.preemption.srpt_with_cost import Resumptions, _squares
from qmodel.theory.rank.rank_path import Path
from qmodel.workload import Deterministic, Exponential, Gamma, Uniform

from .scenarios import request_class


def test_a_step_is_open_for_a_moment_and_then_closed_until_the_next():
    """Steps of a quarter second, three of them; the rank is the age."""
    line = Path(*(np.array([x]) for x in (0.0, 9.0, 0.0, 9.0)))
    found = grained(line, 0.25, 3)
    assert found.start[1] == pytest.approx(0.25e-12, rel=1e-9, abs=0.0)
    assert found.start.tolist() == pytest.approx([0.0, 0.0, 0.25, 0.25, 0.5, 0.5], rel=1e-9)
    assert found.end.tolist() == pytest.approx([0.0, 0.25, 0.25, 0.5, 0.5, 0.75], rel=1e-9)
    assert (found.end > found.start).all()
    assert found.first.tolist() == pytest.approx([0.0, -math.inf, 0.25, -math.inf, 0.5, -math.inf], rel=1e-9)


def in_steps(policy, grain, *classes):
    made = [request_class(f"c{k}", rate, law) for k, (rate, law) in enumerate(classes)]
    return [
        part.mean_response
        for part in result_of(Scenario(made, policy=policy, preemption=Preemption(grain_s=grain))).classes
    ]


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_constant_services_by_age_in_steps(steps):
    """All but the last step of newcomers go before one's own last: W = (l/2) / ((1 - l (1 - g)) (1 - l))."""
    rate, grain = 0.6, 1.0 / steps
    before = rate * (1.0 - grain)
    exact = 0.5 * rate / ((1.0 - before) * (1.0 - rate)) + (1.0 - grain) / (1.0 - before) + grain
    assert in_steps(LAS(), grain, (rate, Deterministic(1.0))) == pytest.approx([exact], rel=1e-9)


@pytest.mark.parametrize(("threshold", "early"), [(0.3, True), (0.5, True), (0.7, False)])
def test_levels_change_at_the_end_of_a_step(threshold, early):
    """Half-second steps of one-second services: below after the first step, or first come first served."""
    rate = 0.6
    exact = 0.3 / (0.7 * 0.4) + 0.5 / 0.7 + 0.5 if early else 1.0 + 0.3 / 0.4
    assert in_steps(MLFQ((threshold,)), 0.5, (rate, Deterministic(1.0))) == pytest.approx([exact], rel=1e-9)


def test_two_classes_by_age_in_steps():
    """Quarters of a second: services of 1 s, and of 0.2 s, which end within their first step."""
    long, short = 0.4, 0.7
    new, old = 0.75 * long + 0.2 * short, long + 0.2 * short
    exact = 0.5 * (long + 0.04 * short) / ((1.0 - new) * (1.0 - old)) + 0.75 / (1.0 - new) + 0.25
    found = in_steps(LAS(), 0.25, (long, Deterministic(1.0)), (short, Deterministic(0.2)))
    first = 0.5 * (long * 4 * 0.25**2 + short * 0.04) / (1.0 - 0.25 * long - 0.2 * short) + 0.2
    assert found == pytest.approx([exact, first], rel=1e-9)


def test_uniform_services_by_age_in_two_steps():
    """Sizes up to 1/2 s need one step; moments of min(S, 1/2) and of what exceeds it by hand."""
    rate = 1.2
    one_step = 0.5 * rate * (1.0 / 6.0 + 1.0 / 24.0) / (1.0 - 0.375 * rate)
    two_steps = 0.5 * rate / 3.0 / ((1.0 - 0.375 * rate) * (1.0 - 0.5 * rate)) + 0.5 / (1.0 - 0.375 * rate)
    exact = 0.5 * one_step + 0.125 + 0.5 * two_steps + 0.125
    assert in_steps(LAS(), 0.5, (rate, Uniform(0.0, 1.0))) == pytest.approx([exact], rel=1e-9)


def moments_of(mu, upto, squares, i, cost):
    """E[H] and E[H^2] beside arrivals up to the i-th size; `upto` and `squares` are lambda E[m(S)^k; S <= r]."""
    return Resumptions.of(mu, upto, squares, cost).moments(1.0 + upto[i], 1.0, squares[i])


def test_squares_under_srpt_are_those_of_independent_interruptions():
    """Var[L(y)] grows in y by lambda E[(L(S) + resumption)^2]: a fixed point in E[L^2], by another quadrature."""
    rate, cost, law = 0.4, 0.5, Gamma(1.0, 0.5)
    grid = SizeGrid(rate, law)
    x = grid.nodes
    arrivals, dense = rate * law.cdf(x), rate * law.pdf(x)
    own = grid.panels.integrals(np.exp(arrivals * cost))[0]
    load = grid.panels.integrals(dense * own)[0]
    rest, here = _squares(grid, arrivals, own, load, dense, cost)
    i = int(np.searchsorted(x, 2.0))
    mean = own / (1.0 - load[i])
    upto, square = grid.panels.integrals(dense * mean)[0], mean**2
    for _ in range(200):
        squares = grid.panels.integrals(dense * square)[0]
        first, second = moments_of(arrivals, upto, squares, i, cost)
        square = mean**2 + grid.panels.integrals(squares[i] + 2.0 * upto * first + arrivals * second)[0]
    assert rest[i] == pytest.approx(squares[i], rel=1e-9)
    assert here[i] == pytest.approx(square[i], rel=1e-9)


def test_resumptions_by_their_transform():
    """Interrupted at rate 0.7 by 0.5 s, 0.4/s others of 0.9 s beside: E[exp(-sH)] has a closed form."""
    mu, by, others, beside, cost = 0.7, 0.5, 0.4, 0.9, 0.8

    def transform(s):
        phi = s + others * (1 - mpmath.exp(-s * beside))
        once = mpmath.exp(-(phi + mu) * cost)
        return once / (1 - mu / (mu + phi) * (1 - once) * mpmath.exp(-s * by))

    up = np.array([mu, mu + others])
    means, squares = (np.array([mu * by**k, mu * by**k + others * beside**k]) for k in (1, 2))
    first, second = (found[0] for found in moments_of(up, means, squares, 1, cost))
    assert first == pytest.approx(float(-mpmath.diff(transform, 0)), rel=1e-9)
    assert second == pytest.approx(float(mpmath.diff(transform, 0, 2)), rel=1e-7)


def test_a_resumption_that_nothing_interrupts():
    """It takes c, and the others that come in it: c (1 + r), squared, and c times their rate of squares."""
    others, beside, cost = 0.4, 0.9, 0.8
    upto, squares = np.array([0.0, others * beside]), np.array([0.0, others * beside**2])
    first, second = (found[0] for found in moments_of(np.array([0.0, others]), upto, squares, 1, cost))
    assert first == pytest.approx(cost * (1.0 + others * beside), rel=1e-12)
    assert second == pytest.approx(first**2 + cost * others * beside**2, rel=1e-12)


@pytest.mark.parametrize("cost", [0.0, 0.2])
def test_smallest_first_where_the_density_jumps(cost):
    """Sizes uniform on (0.4, 1), others exponential: u and v in adaptive steps between the jumps."""
    from scipy.integrate import solve_ivp

    laws, rate = (Uniform(0.4, 1.0), Exponential(0.5)), 0.6

    def growth(x, y):
        busy = Busy(rate * sum(float(law.cdf(x)) for law in laws), y[0], y[1])
        mean, square = busy.completion(x, x**2, cost)
        densities = [float(law.pdf(x)) for law in laws]
        both = np.array([mean * (1.0 + y[0]), square * (1.0 + y[0]) + 2.0 * y[1] * mean])
        return np.append(rate * sum(densities) * both, np.array(densities) * (busy.wait + mean))

    state = np.zeros(4)
    for low, high in ((1e-9, 0.4), (0.4, 1.0), (1.0, 20.0)):
        inside = (low * (1.0 + 1e-12), high * (1.0 - 1e-12))
        state = solve_ivp(growth, inside, state, method="DOP853", rtol=1e-10, atol=1e-13).y[:, -1]
    classes = [request_class(f"c{i}", rate, law) for i, law in enumerate(laws)]
    found = smallest_first_means(Scenario(classes, policy=PSJF()).served, cost)[0]
    assert list(found.values()) == pytest.approx(state[2:].tolist(), rel=1e-7)
