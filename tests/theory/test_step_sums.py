"""Sums over the steps of a service: running and interpolated, and size by size; SRPT in steps by quadrature."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from qmodel.policy import SRPT
from qmodel.theory.preemption import preemption_grain
from qmodel.theory.preemption.preemption_grain import shortest_remaining_means, steps_of
from qmodel.theory.preemption.step_sums import StepSums
from qmodel.workload import Deterministic, Discrete, Exponential, Gamma, Lognormal, Mixture, Uniform
from qmodel.workload.partial import partial_moment

from .scenarios import several

LAWS = {
    "exponential": (Exponential(1.0), 0.4),
    "lognormal": (Lognormal(1.0, 1.0), 1.0),
    "narrow": (Mixture((0.5, 0.5), (Gamma(3.0, 0.01), Exponential(1.0))), 0.9),
    "uniform": (Uniform(0.3, 1.85), 0.25),
    "point masses and a rest": (Mixture((0.4, 0.6), (Discrete((0.7, 2.2), (0.5, 0.5)), Gamma(1.0, 0.5))), 0.5),
}


def one_by_one(sums, x):
    """Both sums as they are written."""
    g, law = sums.grain, sums.law
    recycled = 0.0
    for j in range(sums.steps + 2):
        zero, first, second = (
            float(partial_moment(law, k, x + (j + 1) * g) - partial_moment(law, k, x + j * g)) for k in (0, 1, 2)
        )
        recycled += (j * g**2 + (j * g) ** 2) * zero - 2.0 * j * g * first + second
    whole = math.ceil(x / g * (1.0 - 1e-12))
    before = [float(partial_moment(law, 1, (x - i * g) * (1.0 - 1e-12))) for i in range(1, whole)]
    return recycled, sum(g / (1.0 - sums.rate * load) for load in before)


@pytest.mark.parametrize("name", LAWS)
def test_running_sums_are_the_sums(name):
    law, grain = LAWS[name]
    sums = StepSums(0.7 / law.mean, law, grain, int(steps_of(law, grain)))
    x = np.sort(np.concatenate((np.geomspace(1e-4, 6.0, 300), grain * np.arange(1, 8), [0.7, 1.2, 1.7, 2.2, 2.7])))
    x = x[x <= sums.steps * grain]
    exact = np.array([one_by_one(sums, float(size)) for size in x]).T
    for found, alone, plain in zip(sums(x), (sums._recycled(x), sums._stretched(x)), exact, strict=True):
        np.testing.assert_allclose(alone, plain, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found, plain, rtol=2e-7, atol=1e-9)


def test_places_that_are_followed_through_all_steps():
    """Two point masses 0.7 and 2.2 at half a second are one place, 0.2; a uniform law has those of its ends."""
    sums = StepSums(0.5, *LAWS["point masses and a rest"], 20)
    assert sums.edges.tolist() == pytest.approx([0.0, 0.2, 0.5], abs=1e-12)
    sums = StepSums(0.5, *LAWS["uniform"], 20)
    assert sums.edges.tolist() == pytest.approx([0.0, 0.05, 0.1, 0.25], abs=1e-12)


def queue():
    return several([(0.2, Deterministic(1.3)), (0.5, Uniform(0.0, 2.0))], SRPT()).served


def test_shortest_remaining_in_steps_beside_a_point_mass():
    """Steps of 0.5 s; sizes uniform on (0, 2) are averaged between the jumps, 0.3 s after each step."""
    grain, classes = 0.5, queue()
    law = Mixture((2.0 / 7.0, 5.0 / 7.0), (Deterministic(1.3), Uniform(0.0, 2.0)))
    sums = StepSums(0.7, law, grain, 4)

    def response(x):
        recycled, stretched = one_by_one(sums, x)
        below, upto = (1.0 - 0.7 * float(partial_moment(law, 1, x * (1.0 + side))) for side in (-1e-12, 1e-12))
        residual = 0.35 * (float(partial_moment(law, 2, x)) + recycled)
        return residual / (below * upto) + stretched + x - grain * (math.ceil(x / grain) - 1.0)

    ends = sorted({*(0.5 * np.arange(5)).tolist(), *(0.3 + 0.5 * np.arange(4)).tolist()})
    pieces = pairwise(ends)
    mean = sum(quad(lambda x: 0.5 * response(x), low, high, epsabs=1e-11)[0] for low, high in pieces)
    found = shortest_remaining_means(classes, grain)
    assert found["c1"] == pytest.approx(mean, rel=1e-9)
    assert found["c0"] == pytest.approx(response(1.3), rel=1e-9)


def test_many_places_in_many_steps_are_not_told_apart(monkeypatch):
    exact = shortest_remaining_means(queue(), 0.5)
    monkeypatch.setattr(preemption_grain, "MOST_PARTS", 5)
    assert shortest_remaining_means(queue(), 0.5) == pytest.approx(exact, rel=1e-3)
    assert shortest_remaining_means(queue(), 0.5)["c1"] != exact["c1"]
