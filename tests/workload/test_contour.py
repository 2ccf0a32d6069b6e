"""Transforms at large frequencies, where a real path of integration only oscillates."""

import cmath

import mpmath as mp
import numpy as np
import pytest

from qmodel.workload import BoundedPareto, Lognormal, Pareto, Weibull

FREQUENCIES = [1e-6, 0.3 + 0.1j, 1j, 3 - 40j, 1 + 300j, 5 + 3e4j]


@pytest.mark.parametrize("scv", [0.01, 0.3, 4.0, 60.0, 1000.0])
def test_lognormal(scv):
    law = Lognormal(1.5, scv)
    with mp.workdps(40):
        mu, sigma = mp.mpf(law.mu), mp.mpf(law.sigma)
        for s in FREQUENCIES:
            z = mp.mpmathify(s)
            saddle = -mp.lambertw(z * sigma**2 * mp.e**mu) / sigma

            def integrand(y, z=z, saddle=saddle):
                return mp.exp(-z * mp.exp(mu + sigma * (saddle + y)) - (saddle + y) ** 2 / 2)

            exact = mp.quad(integrand, [-14, -7, -3, -1, 0, 0.5, 1, 2, 4, 14]) / mp.sqrt(2 * mp.pi)
            assert complex(law.lst(s)) == pytest.approx(complex(exact), abs=1e-12)


@pytest.mark.parametrize("scv", [0.02, 0.3, 1.0, 4.0])
def test_weibull(scv):
    law = Weibull(1.5, scv)
    with mp.workdps(20):
        k, scale = mp.mpf(law.shape), mp.mpf(law.scale)
        for s in FREQUENCIES:
            z = mp.mpmathify(s) * scale
            ray = mp.expj(-0.8 * mp.arg(z) / (1 + k))

            def integrand(u, z=z, ray=ray):
                x = mp.exp(u) * ray
                return mp.exp(-(x**k) - z * x) * k * x**k

            exact = mp.quad(integrand, mp.linspace(-60 / k, 8 / min(k, 1) ** 2, 30))
            assert complex(law.lst(s)) == pytest.approx(complex(exact), abs=2e-12)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 2.5, 8.0])
def test_pareto(alpha):
    law = Pareto(1.5, alpha)
    for s in FREQUENCIES:
        exact = complex(alpha * mp.expint(alpha + 1, mp.mpmathify(s) * law.low))
        assert complex(law.lst(s)) == pytest.approx(exact, abs=2e-12)


def test_bounded_pareto():
    law = BoundedPareto(0.5, 300.0, 1.3)
    for s in FREQUENCIES:
        whole, beyond = (
            complex(mp.mpf("1.3") * mp.mpf(end) ** 0 * mp.expint(2.3, mp.mpmathify(s) * end)) for end in (0.5, 300)
        )
        kept = (0.5 / 300) ** 1.3
        assert complex(law.lst(s)) == pytest.approx((whole - kept * beyond) / (1 - kept), abs=2e-12)


def test_nearly_constant_laws_use_their_quantiles():
    for law in (Weibull(2.0, 1e-4), BoundedPareto(2.0, 2.0005, 1.5)):
        s = 0.7 + 2j
        second = cmath.exp(-s * law.mean) * (1 + s**2 * law.variance / 2)
        assert complex(law.lst(s)) == pytest.approx(second, abs=2e-5)


@pytest.mark.parametrize("law", [Lognormal(1.0, 4.0), Weibull(1.0, 3.0), Pareto(1.0, 1.5)], ids=str)
def test_conjugate_frequencies_and_shapes(law):
    s = np.array([[0.5 + 3j, 1.0], [2j, 0.0]])
    np.testing.assert_allclose(law.lst(s.conj()), law.lst(s).conj(), atol=1e-13)
    assert law.lst(s).shape == (2, 2)
    assert complex(law.lst(0.0)) == pytest.approx(1.0, abs=1e-12)
