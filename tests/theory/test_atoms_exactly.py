"""Delay cycles of fixed lengths by the generalised ballot theorem, two kinds of interruptions together."""

from __future__ import annotations

import math

import pytest

from qmodel.theory.one_server.atoms import prolonged_atoms

WORK, FIRST, SECOND = 1.0, (math.sqrt(2.0), 0.15), (0.7, 0.2)


@pytest.mark.parametrize(("m", "n"), [(0, 0), (1, 0), (1, 1), (2, 1), (1, 2), (2, 2)])
def test_each_number_of_interruptions_has_its_mass_once(m, n):
    """P = (w / t) e^{-lambda t} (lambda_1 t)^m / m! (lambda_2 t)^n / n!, t = w + m l_1 + n l_2."""
    found = prolonged_atoms([(WORK, 1.0)], 1.0, FIRST[1] + SECOND[1], [FIRST, SECOND])
    t = WORK + m * FIRST[0] + n * SECOND[0]
    mass = (FIRST[1] * t) ** m / math.factorial(m) * (SECOND[1] * t) ** n / math.factorial(n)
    exact = WORK / t * math.exp(-(FIRST[1] + SECOND[1]) * t) * mass
    assert math.fsum(p for time, p in found if abs(time - t) < 1e-9) == pytest.approx(exact, rel=1e-9)


def test_as_many_interruptions_are_followed_as_there_are_levels():
    """250 are expected, and the last level that is followed is the 255th: Poisson's mass there."""
    length, rate, last = 1e-6, 250.0, 255
    time, mass = prolonged_atoms([(WORK, 1.0)], 1.0, rate, [(length, rate)])[-1]
    assert time == pytest.approx(WORK + last * length, rel=1e-12)
    log_mass = last * math.log(rate * time) - rate * time - math.lgamma(last + 1)
    assert mass == pytest.approx(WORK / time * math.exp(log_mass), rel=1e-9)
