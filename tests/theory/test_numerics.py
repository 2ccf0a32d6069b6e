"""The numerical tools by themselves: inversion, roots, busy period, point masses, counts, stationary laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.scenario import Scenario
from qmodel.theory.numerics.arrival_counts import count_probabilities
from qmodel.theory.numerics.inversion import BlendedLaw, InvertedLaw
from qmodel.theory.numerics.panels import Panels
from qmodel.theory.numerics.roots import first_reaching
from qmodel.theory.numerics.stationary import stationary_law
from qmodel.theory.one_server.atoms import MOST, cdf_of, interrupted_atoms
from qmodel.theory.one_server.busy_period import busy_period_moments, prolonged
from qmodel.workload import Deterministic, Discrete, Empirical, Exponential, Gamma, Hyperexponential, Uniform
from tests.theory.scenarios import request_class

# ---- inversion ----


@pytest.mark.parametrize("shape", [0.3, 1.0, 2.5, 40.0])
def test_inversion_of_gamma(shape):
    law = Gamma(1.0, 1 / shape)
    inverted = InvertedLaw(law.lst, 1.0, lambda t: 0.0, scale=1.0)
    for t in (0.05, 0.4, 1.0, 2.0, 7.0):
        assert inverted.cdf(t) == pytest.approx(float(law.cdf(t)), abs=2e-6)
    assert inverted.error < 1e-5


def test_inversion_error_is_honest_at_a_jump():
    """A hidden point mass is what the method cannot see: the estimate says so."""
    inverted = InvertedLaw(Deterministic(1.0).lst, 1.0, lambda t: 0.0, scale=1.0, most_terms=4096)
    assert abs(inverted.cdf(1.0) - 1.0) > 0.1 or inverted.error > 1e-3
    assert inverted.cdf(0.5) == pytest.approx(0.0, abs=1e-4)
    assert inverted.cdf(3.0) == pytest.approx(1.0, abs=1e-4)


def test_inverted_law_at_its_edges():
    law = InvertedLaw(Exponential(1.0).lst, 0.0, lambda t: float(t >= 2), scale=1.0)
    assert law.cdf(-1.0) == 0.0 and law.cdf(1.0) == 0.0 and law.percentile(50) == pytest.approx(2.0)


def test_blended_law():
    laws = [InvertedLaw(Exponential(mean).lst, 1.0, lambda t: 0.0, scale=mean) for mean in (1.0, 5.0)]
    blend = BlendedLaw([0.25, 0.75], laws, scale=1.0)
    t = blend.percentile(90)
    assert 0.25 * math.exp(-t) + 0.75 * math.exp(-t / 5) == pytest.approx(0.1, abs=1e-6)
    assert blend.error == max(law.error for law in laws)


# ---- roots ----


@settings(max_examples=50, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.05, 20.0), st.floats(1e-3, 1e3))
def test_first_reaching_of_weibull(level, shape, start):
    found = first_reaching(lambda t: -math.expm1(-(t**shape)), level, start)
    assert found == pytest.approx((-math.log1p(-level)) ** (1 / shape), rel=1e-8)


def test_first_reaching_of_steps():
    steps = [(0.5, 0.2), (1.0, 0.7), (4.0, 1.0)]

    def cdf(t):
        return max((p for at, p in steps if at <= t), default=0.0)

    assert first_reaching(cdf, 0.2, 1.0) == pytest.approx(0.5, rel=1e-10)
    assert first_reaching(cdf, 0.21, 1.0) == pytest.approx(1.0, rel=1e-10)
    assert first_reaching(cdf, 0.9, 1.0) == pytest.approx(4.0, rel=1e-10)
    assert first_reaching(lambda t: 0.6 + 0.4 * (t > 1), 0.5, 1.0) == 0.0


# ---- busy period ----


@pytest.mark.parametrize("load", [0.05, 0.6, 0.99])
def test_busy_period_of_m_m_1(load):
    s = np.array([1e-6, 0.01, 1.0, 0.1 + 5j, 2 - 300j])
    busy = (1 + load + s - np.sqrt((1 + load + s) ** 2 - 4 * load)) / (2 * load)
    np.testing.assert_allclose(prolonged(s, load, Exponential(1.0)), s + load * (1 - busy), rtol=2e-9)


@pytest.mark.parametrize(
    "law", [Deterministic(1.0), Gamma(1.0, 1e-4), Hyperexponential(1.0, 9.0), Uniform(0, 2)], ids=str
)
def test_busy_period_solves_its_equation(law):
    s = np.array([[1e-5, 0.3], [0.2 + 40j, 1e-3 + 0.1j]], dtype=complex)
    theta = prolonged(s, 0.95, law)
    np.testing.assert_allclose(theta, s + 0.95 * (1 - law.lst(theta)), rtol=1e-10)
    assert (theta.real > 0).all()
    first, second = busy_period_moments(0.95, law)
    h = 1e-6
    busy = [1 - (prolonged(x, 0.95, law).real - x) / 0.95 for x in (h, 2 * h)]
    slopes = [(1 - busy[0]) / h, (1 - busy[1]) / (2 * h)]
    assert 2 * slopes[0] - slopes[1] == pytest.approx(first, rel=1e-2)
    assert second > first**2


def test_no_interruptions_change_nothing():
    s = np.array([1.0 + 2j])
    assert prolonged(s, 0.0, Exponential(1.0)) is not None
    assert (prolonged(s, 0.0, Exponential(1.0)) == s).all()
    assert (prolonged(s, 1.0, None) == s).all()


# ---- point masses ----


def served(*classes):
    return Scenario([request_class(f"c{i}", rate, law) for i, (rate, law) in enumerate(classes)]).served


def test_interrupted_atoms_are_borel_tanner():
    """Work 1, interruptions of length 1: P(n + 1 in all) = e^(-r(n+1)) (r(n+1))^n / (n+1)! * (n+1)/(n+1)..."""
    rate = 0.4
    atoms = interrupted_atoms([(1.0, 1.0)], 1.0, served((rate, Deterministic(1.0))))
    for n, (time, mass) in enumerate(atoms[:8]):
        assert time == pytest.approx(n + 1)
        borel = math.exp(-rate * (n + 1)) * (rate * (n + 1)) ** n / math.factorial(n + 1)
        assert mass == pytest.approx(borel, rel=1e-10)
    assert sum(mass for _, mass in atoms) == pytest.approx(1.0, abs=1e-5)


def test_interrupted_atoms_of_two_lengths_and_a_continuous_class():
    higher = served((0.2, Deterministic(0.5)), (0.1, Deterministic(1.1)), (0.1, Exponential(1.0)))
    atoms = dict(interrupted_atoms([(2.0, 0.5)], 0.8, higher))
    none = 0.8 * 0.5 * math.exp(-0.4 * 2)
    assert atoms[2.0] == pytest.approx(none, rel=1e-12)
    both = 3.6
    expected = 0.4 * 2 / both * math.exp(-0.4 * both) * (0.2 * both) * (0.1 * both)
    assert next(m for t, m in atoms.items() if abs(t - both) < 1e-9) == pytest.approx(expected, rel=1e-10)


def test_many_atoms_are_cut_to_the_heaviest():
    values = Empirical(np.linspace(0.5, 1.5, 40))
    atoms = interrupted_atoms(values.atoms(), 1.0, served((0.5, values)))
    assert len(atoms) == MOST
    assert interrupted_atoms([(0.0, 1.0)], 1.0, served((0.5, Discrete((0.0, 1.0), (0.5, 0.5))))) == []


def test_cdf_of_atoms():
    cdf = cdf_of([(1.0, 0.25), (2.0, 0.5)])
    assert [cdf(t) for t in (0.5, 1.0, 1.5, 2.0, 9.0)] == [0.0, 0.25, 0.25, 0.75, 0.75]
    assert cdf_of([])(1.0) == 0.0


# ---- counts and chains ----


@pytest.mark.parametrize("most", [0, 3, 40, 200])
def test_counts_in_a_constant_time(most):
    found = count_probabilities(Deterministic(2.0).lst, 1.5, most)
    exact = [math.exp(j * math.log(3.0) - 3.0 - math.lgamma(j + 1)) for j in range(most + 1)]
    np.testing.assert_allclose(found, exact, atol=1e-13)


def test_counts_in_an_exponential_time():
    found = count_probabilities(Exponential(1.0).lst, 4.0, 60)
    np.testing.assert_allclose(found, 0.2 * 0.8 ** np.arange(61), atol=1e-12)


def test_stationary_law_of_a_random_chain():
    rng = np.random.default_rng(3)
    p = rng.random((7, 7))
    p /= p.sum(axis=1, keepdims=True)
    law = stationary_law(p)
    np.testing.assert_allclose(law @ p, law, atol=1e-14)
    assert law.sum() == pytest.approx(1.0)


def test_stationary_law_ignores_states_never_reached():
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [0.0, 0.6, 0.4]])
    law = stationary_law(p)
    assert law[0] == 0.0
    np.testing.assert_allclose(law @ p, law, atol=1e-14)


# ---- quadrature ----


def test_panels_integrate_powers():
    panels = Panels.through({0.5, 2.0, 40.0, math.inf, 0.0}, widest=3.0)
    assert panels.edges[-1] == 40.0
    assert panels.weights @ panels.nodes**2 == pytest.approx(40.0**3 / 3, rel=1e-9)
    at_nodes, at_edges = panels.integrals(np.exp(-panels.nodes))
    np.testing.assert_allclose(at_nodes, -np.expm1(-panels.nodes), rtol=1e-9)
    np.testing.assert_allclose(at_edges, -np.expm1(-panels.edges), rtol=1e-9)
