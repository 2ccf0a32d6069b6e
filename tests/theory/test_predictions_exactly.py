"""Predicted sizes, part by part, against plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.answer import NotAnalysable
from qmodel.policy import PSPJF, SPJF, SPRPT
from qmodel.scenario import Scenario
from qmodel.theory.prediction.prediction_copula import Correlated
from qmodel.theory.prediction.prediction_errors import SummedSizes, _nodes_of
from qmodel.theory.prediction.prediction_levels import guesses_of, level_means
from qmodel.theory.prediction.prediction_sample import guesser
from qmodel.theory.prediction.predictions import predicted_means
from qmodel.theory.rank.soap import Background
from qmodel.workload import Deterministic, Discrete, Exponential, Gamma, Lognormal, Pareto, PredictedSize

from .scenarios import request_class


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_scores_that_are_kept_have_no_unit(unit):
    plain, scaled = (Correlated(Lognormal(mean, 4.0), 0.7, frozenset())._nodes for mean in (1.0, unit))
    np.testing.assert_allclose(scaled[0], plain[0])
    np.testing.assert_allclose(scaled[1], unit * plain[1], rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_sizes_that_are_kept_have_no_unit(unit):
    plain, scaled = (_nodes_of(Lognormal(mean, 4.0), 3.0) for mean in (1.0, unit))
    np.testing.assert_allclose(scaled[0], unit * plain[0], rtol=1e-9)
    np.testing.assert_allclose(scaled[1], plain[1], rtol=1e-9)


def served(rate, law, **guess):
    return Scenario([request_class("a", rate, law, predicted_size=PredictedSize(**guess))]).served


@pytest.mark.parametrize("correlation", [0.9, 0.9999, -0.6])
def test_two_correlated_sizes_share_a_quadrant(correlation):
    """P(both above their medians) = 1/4 + arcsin(r) / (2 pi): Sheppard 1899."""
    guess = PredictedSize("correlated", correlation=correlation)
    found = guesses_of(
        served(0.4, Discrete((1.0, 3.0), (0.5, 0.5)), error="correlated", correlation=correlation)[0]
    )
    alike = 0.5 + math.asin(guess.normal_correlation) / math.pi
    assert [each.share for each in found] == pytest.approx([0.5, 0.5], rel=1e-9)
    assert [dict(found[i].law.atoms())[value] for i, value in ((0, 1.0), (1, 3.0))] == pytest.approx(
        [alike] * 2, rel=1e-9
    )


def test_alike_behind_others_that_interrupt():
    """The second of two priorities: E[T] = (W0 + lambda S^2 / 2) / ((1 - r)(1 - r - lambda S)) + S / (1 - r)."""
    rate, size, load, residual = 0.2, 2.0, 0.3, 0.7
    found = level_means(
        SPJF(), 1.0, served(rate, Deterministic(size), error="exact"), Background(load, residual), True
    )
    wait = (residual + rate * size**2 / 2.0) / ((1.0 - load) * (1.0 - load - rate * size))
    assert found["a"] == pytest.approx(wait + size / (1.0 - load), rel=1e-12)


@pytest.mark.parametrize(("part", "cells"), [(1.0, 32), (0.5, 16)])
def test_guesses_about_a_size_are_as_likely_as_each_other(part, cells):
    law = Gamma(1.0, 0.5)
    found = guesser(served(0.5, law, error="correlated", correlation=0.8)[0], True, part)(float(law.quantile(0.5)))
    assert [p for p, _, _ in found] == [1.0 / cells] * cells
    # at the median score 0 the middle of the guesses is the median
    middle = [float(law.cdf(y)) for _, y, _ in found[cells // 2 - 1 : cells // 2 + 1]]
    assert sum(middle) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(
    ("guess", "second"), [({"error": "exponential"}, 2.0), ({"error": "lognormal", "scv": 2.0}, 3.0)]
)
def test_guesses_about_a_size_have_its_mean(guess, second):
    found = guesser(served(0.5, Gamma(1.0, 0.5), **guess)[0], True, 1.0)(1.5)
    assert math.fsum(p for p, _, _ in found) == pytest.approx(1.0, rel=1e-12)
    assert math.fsum(p * y for p, y, _ in found) == pytest.approx(1.5, rel=1e-9)
    assert math.fsum(p * y * y for p, y, _ in found) == pytest.approx(second * 1.5**2, rel=0.011)


@pytest.mark.parametrize("policy", [PSPJF(), SPJF()], ids=str)
def test_exact_predictions_behind_others(policy):
    """Exponential sizes of mean 1 behind a load of 0.3: the integral over sizes, by another quadrature."""
    rate, load, residual = 0.4, 0.3, 0.7
    x = np.linspace(0.0, 60.0, 600_001)[1:]
    idle = 1.0 - load - rate * (1.0 - (1.0 + x) * np.exp(-x))
    square = rate * (2.0 - (2.0 + 2.0 * x + x * x) * np.exp(-x)) if policy.preemptive else 2.0 * rate
    stay = x / idle if policy.preemptive else x
    exact = float(np.sum(np.exp(-x) * ((residual + 0.5 * square) / idle**2 + stay)) * 1e-4)
    found = predicted_means(policy, served(rate, Exponential(1.0), error="exact"), Background(load, residual))
    assert found["a"] == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("policy", "guess", "endless"),
    [
        (SPJF(), {"error": "exact"}, True),
        (PSPJF(), {"error": "exact"}, False),
        (SPRPT(), {"error": "exact"}, False),
        (SPRPT(), {"error": "exponential"}, True),
        (PSPJF(), {"error": "exponential"}, False),
    ],
)
def test_sizes_without_a_second_moment(policy, guess, endless):
    """What stays before others for its whole size, as mistaken or not interrupted, makes everyone wait for ever."""
    found = predicted_means(policy, served(0.5, Pareto(1.0, 1.6), **guess))
    assert isinstance(found, NotAnalysable) or math.isinf(found["a"]) == endless
    assert endless is False or found["a"] == math.inf


def test_a_narrow_error_is_resolved():
    """P(S Y <= y) for a factor of scv 1e-4, by the sum over the factor."""
    size, error = Gamma(1.0, 0.5), Lognormal(1.0, 1e-4)
    part = SummedSizes(size, error)
    y, u = np.array([0.2, 1.0, 3.0]), (np.arange(20_000) + 0.5) / 20_000
    exact = size.cdf(y[:, None] / error.quantile(u)).mean(axis=1)
    np.testing.assert_allclose(part.upto(0, y), exact, rtol=1e-7)
