"""Processor sharing where sizes have point masses: closed forms among few values, the stated error elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmodel.policy import PS
from qmodel.theory import analyse
from qmodel.theory.numerics import euler
from qmodel.theory.one_server import sharing_any_law, sharing_values
from qmodel.theory.one_server.sharing_any_law import AnySharedServer
from qmodel.theory.one_server.sharing_equation import SharingEquation
from qmodel.theory.one_server.sharing_percentiles import SharedServerLaw
from qmodel.theory.one_server.sharing_pieces import Pieces
from qmodel.theory.one_server.sharing_values import AmongValues
from qmodel.workload import Deterministic, Discrete, Empirical, Exponential, Mixture
from tests.theory.scenarios import several

THREE = Discrete((0.5, 1.0, 4.0), (0.5, 0.3, 0.2))
SEVEN = Discrete((0.1, 0.3, 0.55, 0.8, 1.3, 2.9, 7.0), (0.3, 0.2, 0.2, 0.1, 0.1, 0.07, 0.03))
AMONG_SMALL = Mixture((0.3, 0.2, 0.5), (Deterministic(0.5), Deterministic(2.0), Exponential(0.1)))
FORTY = Empirical(np.random.default_rng(5).lognormal(0, 1, 40))


def law_of(law, load):
    return SharedServerLaw([(1.0, law)], AnySharedServer(load / law.mean, law, (law,)))


def among(law, load, x):
    return AnySharedServer(load / law.mean, law, (law,))._among(x)


def closed_form_only(monkeypatch):
    """No other way than the closed form is left."""
    monkeypatch.setattr(AnySharedServer, "_given", None)


def equation_only(monkeypatch):
    """As if there were no closed form."""
    monkeypatch.setattr(AnySharedServer, "_directly", lambda self, table, t, terms: None)


@pytest.mark.parametrize("x", [0.5, 1.0, 2.3, 4.0])
@pytest.mark.parametrize("load", [0.1, 0.8])
def test_the_denominator_is_the_equation_s(x, load):
    server, s = AnySharedServer(load / THREE.mean, THREE, (THREE,)), euler.contour(9.0, 20)
    table = server._table(THREE, 9.0)
    equation = SharingEquation(Pieces(server._ends(9.0, 20)), server.rate, table.larger)
    below = equation.denominators(equation.solve(s), np.array([x]), load)[0] * np.exp(-s * x)
    assert server._among(x).denominators(s) == pytest.approx(below, rel=1e-9)


def test_one_size_came_and_left():
    """V(4) = 4.5: one request of 0.5 came before 3.5 were done, and none in the 4.5 after that or else."""
    found, rate = among(THREE, 0.3, 4.0), 0.3 / THREE.mean
    first = 0.7 * math.exp(-4.0 * rate)
    assert found.upto(0.49) == pytest.approx(first, rel=1e-12)
    assert found.upto(0.5) - found.upto(0.49) == pytest.approx(
        0.7 * math.exp(-4.5 * rate) * rate * 0.5 * 3.5, rel=1e-12
    )


@pytest.mark.parametrize("x", [0.5, 4.0])
def test_the_point_masses_sum_to_their_transform_at_0(x):
    found = among(THREE, 0.8, x)
    assert found.upto(1e4) == pytest.approx(float(found.point_masses(np.zeros(1)).real[0]), abs=1e-8)


def test_as_many_terms_as_are_taken_are_enough(monkeypatch):
    closed_form_only(monkeypatch)
    for load in (0.1, 0.8):
        server = law_of(THREE, load).server
        for t in (1.51, 4.001, 4.4999, 4.5001, 4.52, 5.0, 8.01, 12.0):
            coarse, fine = (server.probability(THREE, t, terms) for terms in (20, 160))
            assert coarse == pytest.approx(fine, abs=2e-5)


SIMULATED = [
    (THREE, 0.1, 1.4707, (0.765646, 0.765756)),
    (THREE, 0.1, 4.5226, (0.960819, 0.960880)),
    (THREE, 0.1, 5.0452, (0.977075, 0.977129)),
    (THREE, 0.1, 6.0033, (0.985758, 0.985807)),
    (THREE, 0.5, 4.5226, (0.826414, 0.826663)),
    (SEVEN, 0.1, 1.3798, (0.869556, 0.869691)),
    (SEVEN, 0.1, 7.2924, (0.985280, 0.985336)),
    (SEVEN, 0.1, 7.5848, (0.990109, 0.990155)),
    (AMONG_SMALL, 0.1, 0.8821, (0.776613, 0.776772)),
    (AMONG_SMALL, 0.1, 2.5194, (0.975283, 0.975368)),
    (AMONG_SMALL, 0.1, 2.5936, (0.977373, 0.977456)),
    (AMONG_SMALL, 0.1, 3.0017, (0.984374, 0.984437)),
    (AMONG_SMALL, 0.5, 2.5194, (0.853332, 0.853628)),
    (AMONG_SMALL, 0.5, 3.0017, (0.885845, 0.886128)),
]
"""95 % intervals of P(T <= t), 6e7 to 2e8 requests simulated."""


@pytest.mark.parametrize(("law", "load", "t", "interval"), SIMULATED)
def test_near_point_masses_of_the_response(law, load, t, interval):
    found, (low, high) = law_of(law, load), interval
    assert abs(found.cdf(t) - 0.5 * (low + high)) < 1.5 * (high - low)
    assert found.error < 1e-4


@pytest.mark.parametrize(("t", "interval"), [(2.0197, (0.854005, 0.854154)), (5.89, (0.988073, 0.988113))])
def test_the_stated_error_covers_the_point_masses_of_many_values(t, interval):
    found, (low, high) = law_of(FORTY, 0.1), interval
    assert abs(found.cdf(t) - 0.5 * (low + high)) < found.error + 1.5 * (high - low)
    assert 3e-5 < found.error < 2e-4


def test_the_error_left_where_point_masses_are_not_told_apart(monkeypatch):
    """A large value among thirty: too many for the closed form. As by the closed form of more values."""
    law = Mixture((0.7, 0.3), (Empirical(np.linspace(0.1, 0.7, 30)), Deterministic(3.0)))
    found = law_of(law, 0.3)
    assert found.server._among(3.0) is None
    monkeypatch.setattr(sharing_values, "MOST_VALUES", 40)
    monkeypatch.setattr(sharing_any_law, "MOST_VALUES", 40)
    other = law_of(law, 0.3)
    for t in (3.0, 3.305, 3.62, 4.7):
        assert abs(found.cdf(t) - other.cdf(t)) < found.error
    assert found.error < 2e-3


def test_by_the_equation_as_in_closed_form(monkeypatch):
    exact = [law_of(THREE, 0.2).cdf(t) for t in (4.51, 4.9, 5.5, 6.2)]
    equation_only(monkeypatch)
    found = law_of(THREE, 0.2)
    assert [found.cdf(t) for t in (4.51, 4.9, 5.5, 6.2)] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(("t", "exact"), [(1.0, 0.5 * math.exp(-0.5)), (2.5, 0.753147)])
def test_the_smallest_size_among_larger_ones_of_a_density(t, exact, monkeypatch):
    """In closed form as well, on the equation's way: nobody smaller comes and goes."""
    equation_only(monkeypatch)
    assert law_of(Deterministic(1.0), 0.5).cdf(t) == pytest.approx(exact, abs=3e-5)


def test_too_much_for_the_closed_form(monkeypatch):
    values, masses = np.linspace(0.1, 3.0, 30), np.full(30, 1 / 30)
    assert AmongValues.of(0.1, 0.15, values, masses, 3.0, 0.1) is None
    assert AmongValues.of(7.0, 0.7, np.array([0.1]), np.ones(1), 1.0, 0.0) is None
    uneven = np.sqrt(np.arange(2.0, 22.0)) - 1.3
    assert AmongValues.of(0.5, 0.9, uneven, np.full(20, 0.05), 3.0, 0.1) is None
    close = 0.01 * np.sqrt(np.arange(2.0, 22.0))
    assert AmongValues.of(0.5, 0.1, close, np.full(20, 0.05), 3.0, 0.1) is None
    monkeypatch.setattr(sharing_values, "MOST_STEPS", 8)
    assert among(THREE, 0.5, 4.0).probability(30.0, 160) is None
    found = law_of(THREE, 0.5).server
    assert found.probability(THREE, 30.0, 20) == pytest.approx(0.996, abs=4e-3)


def test_classes_of_constant_sizes():
    """Where a response is its size with probability 1/2 and more, that is its median."""
    classes = [(0.15, Deterministic(1.0)), (0.05, Deterministic(2.0)), (0.1, Deterministic(0.5))]
    found = analyse(several(classes, PS()))
    assert found["c0"].p50_response_s == pytest.approx(1.0, rel=1e-6)
    server = AnySharedServer(0.3, Discrete((0.5, 1.0, 2.0), (1 / 3, 0.5, 1 / 6)))
    for name, law in (("c1", Deterministic(2.0)), ("c2", Deterministic(0.5))):
        for percent in (95, 99):
            t = found[name].metrics[f"p{percent}_response_s"]
            upto, before = (server.probability(law, t * (1 + away), 40) for away in (1e-7, -1e-7))
            assert before - 1e-5 <= percent / 100 <= upto + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("law", [THREE, AMONG_SMALL], ids=["values", "values among smaller sizes"])
@pytest.mark.parametrize("load", [0.1, 0.7])
def test_point_masses_against_a_simulation_of_its_own(law, load):
    """By virtual time, in a list sorted by departure; batch means."""
    times = np.array([0.55, 1.02, 1.9, 2.01, 2.51, 2.6, 3.03, 4.01, 4.51, 4.6, 5.03, 6.0, 8.1])
    rng, count, batches = np.random.default_rng(11), 4_000_000, 40
    spent = sojourns(rng.exponential(law.mean / load, count), np.asarray(law.sample(rng, count), dtype=float))
    below = (spent[:, None] <= times * (1 + 1e-9)).reshape(batches, -1, len(times)).mean(axis=1)
    mean, deviation = below.mean(axis=0), below.std(axis=0, ddof=1) / batches**0.5
    found = law_of(law, load)
    exact = np.array([found.cdf(float(t)) for t in times])
    assert deviation.max() < 1e-3
    assert (np.abs(exact - mean) < 4.0 * deviation + 1e-6).all()


def sojourns(gaps, sizes):
    """Time in a processor-sharing system of each request."""
    import numba

    @numba.njit
    def run(gaps, sizes):
        spent, tags, whose = np.empty(len(gaps)), np.empty(len(gaps)), np.empty(len(gaps), dtype=np.int64)
        arrived = np.cumsum(gaps)
        present, now, virtual, coming = 0, 0.0, 0.0, 0
        while coming < len(gaps) or present > 0:
            upcoming = arrived[coming] if coming < len(gaps) else np.inf
            leaving = now + (tags[present - 1] - virtual) * present if present > 0 else np.inf
            if leaving <= upcoming:
                present -= 1
                now, virtual = leaving, tags[present]
                spent[whose[present]] = now - arrived[whose[present]]
                continue
            virtual = virtual + (upcoming - now) / present if present > 0 else 0.0
            now = upcoming
            tag, place = virtual + sizes[coming], present
            while place > 0 and tags[place - 1] < tag:
                tags[place], whose[place] = tags[place - 1], whose[place - 1]
                place -= 1
            tags[place], whose[place] = tag, coming
            present += 1
            coming += 1
        return spent

    return run(gaps, sizes)
