"""The law of the response under processor sharing by its roots."""

from itertools import pairwise

import numpy as np
import pytest

from qmodel.policy import PS
from qmodel.theory import analyse
from qmodel.theory.numerics.exponentials import FARTHEST, exponential
from qmodel.theory.numerics.roots import interpolated
from qmodel.theory.one_server.processor_sharing import second_moment
from qmodel.theory.one_server.sharing_law import SharingLaw
from qmodel.theory.one_server.sharing_percentiles import SharedServerLaw
from qmodel.theory.one_server.sharing_phases import SharedServer, erlang_phases
from qmodel.workload import (
    Deterministic,
    Erlang,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Mixture,
)
from tests.theory.scenarios import several

UNIT = Exponential(1.0)


def law_of(own, rate, size):
    return SharedServerLaw([(1.0, own)], SharedServer(rate, size, erlang_phases(size), (own,)))


@pytest.mark.parametrize("size", [UNIT, Hyperexponential(1.0, 20.0), Erlang(3, 1.0)], ids=["M", "H2", "E3"])
@pytest.mark.parametrize("load", [0.3, 0.9])
def test_mean_and_variance_from_the_law(size, load):
    """E[T] = E[S]/(1 - rho) and Yashkov's variance, as integrals of P(T > t)."""
    law = law_of(size, load, size)
    longest = max(count * mean for _, count, mean in law.server.erlangs)
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = np.concatenate(
        ([0.0], np.geomspace(0.05, (100.0 if longest > 5.0 else 400.0) * longest / (1 - load), 18))
    )
    first = second = 0.0
    for a, b in pairwise(edges):
        t = a + 0.5 * (b - a) * (nodes + 1)
        late = np.array([1 - law._value(float(x), 40) for x in t])
        late[late < 3e-8] = 0.0  # the inversion's own error
        first += 0.5 * (b - a) * float(weights @ late)
        second += (b - a) * float(weights @ (t * late))
    assert first == pytest.approx(1 / (1 - load), rel=1e-4)
    assert second == pytest.approx(second_moment(size, load, size), rel=1e-3)


def test_against_the_double_inversion():
    for size in (UNIT, Erlang(2, 1.0)):
        for t in (0.5, 5.0, 20.0):
            assert law_of(size, 0.8, size).cdf(t) == pytest.approx(SharingLaw(size, 0.8, size).cdf(t), abs=2e-4)
    early = law_of(Deterministic(0.5), 0.8, UNIT)
    other = SharingLaw(Deterministic(0.5), 0.8, UNIT)
    for t in (0.5, 0.7, 1.2, 4.0):
        assert early.cdf(t) == pytest.approx(other.cdf(t), abs=2e-4)
    assert early.cdf(0.4) == 0.0 and early.cdf(0.0) == 0.0


def test_far_beyond_where_the_double_inversion_loses_its_digits():
    """1.5e6 requests simulated: P(T <= 200) = 0.99633 +- 0.00017."""
    size = Hyperexponential(1.0, 20.0)
    assert law_of(size, 0.8, size).cdf(200.0) == pytest.approx(0.9965176, abs=1e-6)


def test_classes_share_a_server():
    found = analyse(several([(0.3, Hyperexponential(1.0, 4.0)), (0.2, Exponential(0.5).scaled(2.0))], PS()))
    assert found["c0"].p50_response_s < found["all"].p50_response_s < found["c1"].p50_response_s
    server = SharedServer(0.5, UNIT, erlang_phases(UNIT))
    mine = SharedServerLaw([(1.0, UNIT)], server)
    assert mine.together([0.5, 0.5], [mine, law_of(UNIT, 0.5, UNIT)]) is None
    assert mine.together([0.5, 0.5], [mine, mine]).cdf(3.0) == pytest.approx(mine.cdf(3.0), abs=1e-9)


def test_which_laws_are_mixtures_of_erlangs():
    assert erlang_phases(Lognormal(1.0, 1.0)) is None
    assert erlang_phases(Erlang(40, 1.0)) is None
    assert erlang_phases(Gamma(1.0, 0.3)) is None
    felt = Mixture((1 - 1e-13, 1e-13), (UNIT, Deterministic(5.0)))
    assert [phases for _, phases, _ in erlang_phases(felt)] == [1]


def test_exponentials_far_out_are_numpy_s():
    z = np.array([[1.0 + 2.0j * FARTHEST, -700.0 + 1.0j]])
    assert (exponential(z) == np.exp(z)).all()
    assert exponential(np.empty((0, 3), dtype=complex)).shape == (0, 3)


def test_a_percentile_on_a_plateau_is_found_to_the_time():
    """One request in a thousand is a million times larger: between them P(T > t) hardly falls."""

    def cdf(t):
        return 1 - 0.999 * np.exp(-t) - 0.001 * np.exp(-t / 1e6)

    t = interpolated(cdf, 0.99901, {}, 1.0, still=1e-4)
    assert cdf(t) == pytest.approx(0.99901, abs=1e-9)
    assert t == pytest.approx(1e6 * np.log(0.001 / 0.00099), rel=1e-3)
