"""Every law against its textbook density: moments, distribution function, transform, samples, point masses."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.workload import (
    BoundedPareto,
    Deterministic,
    Discrete,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Gamma,
    Geometric,
    Hyperexponential,
    Lognormal,
    Mixture,
    Pareto,
    Scaled,
    Uniform,
    Weibull,
)
from qmodel.workload.discrete import MAX_ATOMS
from qmodel.workload.distribution import Shifted
from tests.workload.reference_laws import REFERENCES, finite_moments

CONTINUOUS = pytest.mark.parametrize("name", REFERENCES)
WITH_ATOMS: dict[str, Distribution] = {
    "deterministic": Deterministic(2.5),
    "discrete": Discrete((4.0, 1.0, 2.0), (0.5, 0.25, 0.25)),
    "discrete with zero": Discrete((0.0, 3.0), (0.25, 0.75)),
    "empirical": Empirical([3.0, 1.0, 1.0, 7.0, 2.0]),
    "geometric 4": Geometric(4.0),
    "geometric 180": Geometric(180.0),
    "geometric 1": Geometric(1.0),
}
COMPOSED: dict[str, Distribution] = {
    "scaled": Scaled(Lognormal(2.0, 3.0), 0.25),
    "shifted": Shifted(Gamma(1.5, 0.3), 0.75),
    "mixture": Mixture((0.3, 0.7), (Exponential(1.0), Uniform(2.0, 5.0))),
    "mixture with atom": Mixture((0.25, 0.75), (Deterministic(0.5), Exponential(2.0))),
}
ALL_LAWS = {name: reference.law for name, reference in REFERENCES.items()} | WITH_ATOMS | COMPOSED
EVERY = pytest.mark.parametrize("name", ALL_LAWS)


class TestAgainstTheDensity:
    @CONTINUOUS
    def test_moments(self, name: str) -> None:
        reference = REFERENCES[name]
        for k in finite_moments(reference.law):
            expected = float(reference.integral(lambda x, k=k: x**k))
            if isinstance(reference.law, Pareto):  # the integral to infinity converges too slowly
                alpha, low = reference.law.alpha, float(reference.edges[0])
                expected = alpha * low**k / (alpha - k)
            assert reference.law.moment(k) == pytest.approx(expected, rel=1e-12)

    @CONTINUOUS
    def test_distribution_function(self, name: str) -> None:
        reference = REFERENCES[name]
        for x in np.asarray(reference.law.quantile([0.001, 0.2, 0.5, 0.9, 0.999])):
            below = float(reference.integral(lambda x: mp.mpf(1), end=float(x)))
            assert float(reference.law.cdf(x)) == pytest.approx(below, rel=1e-11)
            assert float(reference.law.sf(x)) == pytest.approx(1.0 - below, abs=1e-14)

    @CONTINUOUS
    def test_density(self, name: str) -> None:
        reference = REFERENCES[name]
        x = reference.law.quantile([0.001, 0.2, 0.5, 0.9, 0.999])
        expected = [float(reference.density(mp.mpf(value))) for value in x]
        np.testing.assert_allclose(reference.law.pdf(x), expected, rtol=1e-11)
        assert float(reference.law.pdf(-1.0)) == 0.0

    @CONTINUOUS
    @pytest.mark.parametrize("ratio", [0, 1, 14])
    def test_transform(self, name: str, ratio: int) -> None:
        reference = REFERENCES[name]
        for real in (0.05, 1.0, 20.0):
            s = complex(1, ratio) * real / reference.law.mean
            if ratio == 0:
                expected = complex(reference.integral(lambda x, s=s: mp.exp(-s.real * x)))
                assert complex(reference.law.lst(s)) == pytest.approx(expected, abs=2e-12)
            else:
                assert complex(reference.law.lst(s)) == pytest.approx(reference.transform(s), abs=2e-12)

    @CONTINUOUS
    def test_density_carries_all_the_mass(self, name: str) -> None:
        law = REFERENCES[name].law
        assert law.atoms() == []
        assert float(law.cdf(law.support()[0])) == 0.0
        assert float(law.cdf(law.support()[1])) == 1.0


class TestEveryLaw:
    @EVERY
    def test_quantile_is_the_smallest_value_that_reaches_p(self, name: str) -> None:
        law = ALL_LAWS[name]
        p = np.array([1e-6, 0.01, 0.2, 0.25, 0.5, 0.75, 0.9, 0.999, 1 - 1e-9])
        x = law.quantile(p)
        assert (law.cdf(x * (1 + 1e-12)) >= p * (1 - 1e-11)).all()
        assert (law.cdf(x * (1 - 1e-9) - 1e-300) <= p + 1e-12).all()

    @EVERY
    def test_upper_quantile_reaches_far_into_the_tail(self, name: str) -> None:
        law = ALL_LAWS[name]
        for tail in (0.5, 1e-3, 1e-9):
            x = float(law.upper_quantile(tail))
            assert float(law.sf(x * (1 + 1e-6))) <= tail * (1 + 1e-6)
            assert float(law.sf(x * (1 - 1e-6) - 1e-300)) >= tail * (1 - 1e-5)

    @EVERY
    def test_survival_complements_the_distribution_function(self, name: str) -> None:
        law = ALL_LAWS[name]
        x = np.linspace(0.0, 4.0, 41) * law.mean
        np.testing.assert_allclose(law.sf(x) + law.cdf(x), 1.0, rtol=0, atol=1e-15)
        assert (np.diff(law.cdf(x)) >= 0).all()
        assert float(law.cdf(-1.0)) == 0.0 and float(law.sf(-1.0)) == 1.0

    @EVERY
    def test_transform_starts_at_one_and_falls_by_the_mean(self, name: str) -> None:
        law = ALL_LAWS[name]
        assert complex(law.lst(0.0)) == pytest.approx(1.0, abs=1e-11)
        if name not in ("pareto 1.3",):  # its second moment is infinite: the slope at 0 is reached too slowly
            step = 1e-6 / law.mean
            slope = (1.0 - complex(law.lst(step)).real) / step
            assert slope == pytest.approx(law.mean, rel=1e-3 if math.isinf(law.moment(2)) else 3e-5 * (1 + law.scv))

    @EVERY
    def test_samples_follow_the_law(self, name: str) -> None:
        law = ALL_LAWS[name]
        n = 40_000
        draws = law.sample(np.random.default_rng(7), n)
        assert draws.shape == (n,)
        low, high = law.support()
        assert draws.min() >= low * (1 - 1e-12) and draws.max() <= high * (1 + 1e-12)
        for p in (0.1, 0.5, 0.9):
            x = float(law.quantile(p)) * (1 + 1e-9)
            share = float(law.cdf(x))
            error = math.sqrt(share * (1 - share) / n)
            assert abs((draws <= x).mean() - share) <= 4 * error + 1e-15
        if math.isfinite(law.moment(4)) and law.scv < 10:
            assert abs(draws.mean() - law.mean) <= 4 * math.sqrt(law.variance / n) + 1e-12

    @EVERY
    def test_samples_follow_the_seed(self, name: str) -> None:
        first, second = (ALL_LAWS[name].sample(np.random.default_rng(3), 5) for _ in range(2))
        assert first.tolist() == second.tolist()

    @EVERY
    def test_mean_variance_scv_belong_together(self, name: str) -> None:
        law = ALL_LAWS[name]
        assert law.mean == law.moment(1)
        if math.isfinite(law.moment(2)):
            assert law.variance == pytest.approx(law.moment(2) - law.mean**2, rel=1e-12, abs=1e-15)
            assert law.scv * law.mean**2 == pytest.approx(law.variance, rel=1e-12, abs=1e-15)

    @EVERY
    def test_values_keep_their_shape(self, name: str) -> None:
        law = ALL_LAWS[name]
        x = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]])
        for function in (law.cdf, law.sf, law.pdf, law.lst):
            assert np.asarray(function(x)).shape == (2, 3)
            assert np.asarray(function(1.0)).shape == ()
        assert np.asarray(law.quantile(x / 10)).shape == (2, 3)
        assert np.asarray(law.upper_quantile(x / 10)).shape == (2, 3)


class TestPointMasses:
    def test_discrete_by_hand(self) -> None:
        law = WITH_ATOMS["discrete"]
        assert law.atoms() == [(1.0, 0.25), (2.0, 0.25), (4.0, 0.5)]
        assert law.moment(3) == 0.25 + 0.25 * 8 + 0.5 * 64
        assert law.cdf([0.99, 1.0, 3.0, 4.0]).tolist() == [0.0, 0.25, 0.5, 1.0]
        assert law.quantile([0.0, 0.25, 0.26, 0.5, 0.51, 1.0]).tolist() == [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]
        expected = 0.25 * np.exp(-0.5j) + 0.25 * np.exp(-1j) + 0.5 * np.exp(-2j)
        assert complex(law.lst(0.5j)) == pytest.approx(complex(expected), abs=1e-15)

    def test_repeated_values_are_one_atom(self) -> None:
        assert Discrete((2.0, 1.0, 2.0), (0.25, 0.5, 0.25)).atoms() == [(1.0, 0.5), (2.0, 0.5)]

    def test_values_of_no_probability_are_no_atoms(self) -> None:
        assert Discrete((2.0, 1.0), (1.0, 0.0)).atoms() == [(2.0, 1.0)]

    def test_empirical_is_its_data(self) -> None:
        law = Empirical([3.0, 1.0, 1.0, 7.0, 2.0])
        assert law.atoms() == [(1.0, 0.4), (2.0, 0.2), (3.0, 0.2), (7.0, 0.2)]
        assert law.mean == pytest.approx(2.8, rel=1e-15)
        assert law.support() == (1.0, 7.0)

    def test_geometric_moments(self) -> None:
        for mean in (1.0, 1.5, 4.0, 180.0):
            q = 1 - 1 / mp.mpf(mean)
            for k in (1, 2, 3, 4):
                series = mp.nsum(lambda n, k=k, q=q: n**k * (1 - q) * q ** (n - 1), [1, mp.inf]) if q else 1
                assert Geometric(mean).moment(k) == pytest.approx(float(series), rel=1e-12)

    def test_geometric_masses(self) -> None:
        values, masses = np.array(Geometric(4.0).atoms()).T
        np.testing.assert_allclose(masses, 0.25 * 0.75 ** (values - 1), rtol=1e-12)
        assert values[0] == 1.0 and (np.diff(values) == 1).all()
        assert masses.sum() == pytest.approx(1.0, abs=2e-12)
        s = 0.3 + 2j
        assert complex(Geometric(4.0).lst(s)) == pytest.approx(complex(masses @ np.exp(-s * values)), abs=1e-11)

    @pytest.mark.parametrize("mean", [1e6, 1e12])
    def test_long_geometric_laws_list_lumps_of_the_same_mean(self, mean: float) -> None:
        values, masses = np.array(Geometric(mean).atoms()).T
        assert len(values) <= MAX_ATOMS + 1
        assert masses.sum() == pytest.approx(1.0, abs=2e-12)
        assert masses @ values == pytest.approx(mean, rel=1e-10)
        assert masses @ values**2 == pytest.approx(Geometric(mean).moment(2), rel=1e-8)

    @given(
        st.lists(
            st.tuples(st.floats(1e-3, 1e3), st.integers(1, 50)), min_size=1, max_size=8, unique_by=lambda a: a[0]
        )
    )
    def test_quantile_inverts_any_table(self, table: list[tuple[float, int]]) -> None:
        total = sum(weight for _, weight in table)
        law = Discrete(tuple(v for v, _ in table), tuple(w / total for _, w in table))
        for value, mass in law.atoms():
            assert float(law.quantile(float(law.cdf(value)))) == value
            assert float(law.cdf(value)) - float(law.cdf(np.nextafter(value, 0))) == pytest.approx(mass, abs=1e-12)


SOME_LAWS = st.one_of(
    st.builds(Exponential, st.floats(0.01, 100)),
    st.builds(Gamma, st.floats(0.01, 100), st.floats(0.05, 20)),
    st.builds(Hyperexponential, st.floats(0.01, 100), st.floats(1.0, 100)),
    st.builds(Deterministic, st.floats(0.01, 100)),
    st.builds(lambda low, width: Uniform(low, low + width), st.floats(0, 10), st.floats(0.1, 10)),
    st.builds(lambda a, b: Discrete((a, b), (0.25, 0.75)), st.floats(0.01, 5), st.floats(5.1, 50)),
)


class TestAlgebra:
    @settings(max_examples=60, deadline=None)
    @given(SOME_LAWS, st.floats(0.01, 50), st.floats(0.01, 50))
    def test_scaling_and_shifting(self, law: Distribution, factor: float, offset: float) -> None:
        made = law.scaled(factor).shifted(offset)
        assert made.mean == pytest.approx(factor * law.mean + offset, rel=1e-12)
        assert made.variance == pytest.approx(factor**2 * law.variance, rel=1e-9, abs=1e-9 * made.mean**2)
        s = (0.3 + 2j) / made.mean
        assert complex(made.lst(s)) == pytest.approx(complex(law.lst(factor * s) * np.exp(-s * offset)), abs=1e-13)
        assert float(made.quantile(0.7)) == pytest.approx(factor * float(law.quantile(0.7)) + offset, rel=1e-12)
        low, high = law.support()
        assert made.support() == pytest.approx((factor * low + offset, factor * high + offset))
        assert [p for _, p in made.atoms()] == [p for _, p in law.atoms()]

    @settings(max_examples=60, deadline=None)
    @given(SOME_LAWS, SOME_LAWS, st.floats(0.0, 1.0))
    def test_mixing(self, first: Distribution, second: Distribution, p: float) -> None:
        mixed = Mixture((p, 1 - p), (first, second))
        for k in (1, 2, 3):
            blend = p * first.moment(k) + (1 - p) * second.moment(k)
            assert mixed.moment(k) == pytest.approx(blend, rel=1e-12)
        s = (0.5 + 3j) / mixed.mean
        blend = p * complex(first.lst(s)) + (1 - p) * complex(second.lst(s))
        assert complex(mixed.lst(s)) == pytest.approx(blend, abs=1e-14)
        for q in (0.05, 0.5, 0.99):
            x = float(mixed.quantile(q))
            assert float(mixed.cdf(x * (1 + 1e-11))) >= q - 1e-12
            assert float(mixed.cdf(x * (1 - 1e-9))) <= q + 1e-12
        assert sum(m for _, m in mixed.atoms()) <= 1 + 1e-12

    def test_neutral_operations_return_the_law_itself(self) -> None:
        law = Exponential(1.0)
        assert law.scaled(1.0) is law and law.shifted(0.0) is law

    def test_atoms_of_a_mixture_add_up(self) -> None:
        law = Mixture((0.5, 0.5), (Deterministic(1.0), Discrete((1.0, 2.0), (0.5, 0.5))))
        assert law.atoms() == [(1.0, 0.75), (2.0, 0.25)]

    def test_a_law_of_probability_zero_leaves_no_trace(self) -> None:
        law = Mixture((1.0, 0.0), (Exponential(1.0), Pareto(9.0, 1.5)))
        assert law.moment(2) == 2.0
        assert law.support() == (0.0, math.inf) and float(law.quantile(0.5)) == pytest.approx(
            math.log(2), rel=1e-12
        )

    def test_quantile_at_an_atom_of_a_mixture(self) -> None:
        law = COMPOSED["mixture with atom"]  # an atom of 1/4 at 0.5 on an exponential of mean 2
        before = 0.75 * -math.expm1(-0.25)
        assert law.quantile([before + 0.01, before + 0.24]).tolist() == [0.5, 0.5]
        assert float(law.cdf(0.5)) == pytest.approx(before + 0.25, rel=1e-14)
        assert law.upper_quantile([0.76 - before, 0.99 - before]).tolist() == [0.5, 0.5]

    def test_quantiles_at_one_atom_are_one_number(self) -> None:
        """Found by bisections that start elsewhere: an edge between bins of sizes must not lie just beyond it."""
        law = Mixture((0.1, 0.9), (Lognormal(30.0, 1.0), Deterministic(30.0)))
        assert law.quantile([1 / 3, 0.5, 2 / 3]).tolist() == [30.0, 30.0, 30.0]
        assert law.upper_quantile([1 / 3, 0.5, 2 / 3]).tolist() == [30.0, 30.0, 30.0]

    def test_a_law_scaled_twice_is_scaled_once(self) -> None:
        """Closed forms of scaled laws are found by what is inside."""
        law = Exponential(2.0).scaled(0.5).scaled(8.0)
        assert isinstance(law, Scaled) and (law.law, law.factor) == (Exponential(2.0), 4.0)
        assert Exponential(2.0).scaled(0.5).scaled(2.0) == Exponential(2.0)


class TestExtremes:
    @pytest.mark.parametrize(
        "law",
        [
            Gamma(1.0, 1e-10),
            Gamma(1.0, 1e9),
            Hyperexponential(1.0, 1e50),
            Lognormal(1.0, 1e30),
            Weibull(1.0, 1e-7),
            Weibull(1.0, 1e20),
            BoundedPareto(1e-3, 1e6, 700.0),
            BoundedPareto(1e-9, 1e9, 1e-3),
            Exponential(1e50),
            Exponential(1e-50),
            Geometric(1e50),
            Deterministic(1e50),
        ],
        ids=repr,
    )
    def test_nothing_overflows(self, law: Distribution) -> None:
        assert all(moment > 0 for moment in map(law.moment, (1, 2, 3, 4)))
        assert law.scv >= 0
        assert 0 <= float(law.cdf(law.mean)) <= 1
        assert abs(complex(law.lst(1.0 / law.mean))) <= 1 + 1e-12
        assert (np.asarray(law.quantile([0.1, 0.5, 0.9])) >= 0).all()

    def test_nearly_constant_gamma_keeps_its_transform(self) -> None:
        s = 1.0 + 3j
        exact = complex(mp.exp(-mp.log1p(mp.mpf("1e-10") * mp.mpmathify(s)) / mp.mpf("1e-10")))
        assert complex(Gamma(1.0, 1e-10).lst(s)) == pytest.approx(exact, abs=1e-15)

    def test_small_probabilities_of_the_hyperexponential_keep_their_digits(self) -> None:
        law = Hyperexponential(1e-3, 4.0)
        (p, a), (q, b) = law.phases
        assert float(law.cdf(1e-15)) == pytest.approx(1e-15 * (p / a + q / b), rel=1e-10)
        assert float(law.quantile(1e-12)) == pytest.approx(1e-12 / (p / a + q / b), rel=1e-10)
        far = float(law.upper_quantile(1e-200))
        assert q * math.exp(-far / b) == pytest.approx(1e-200, rel=1e-10)

    def test_far_tails_survive_scaling_and_shifting(self) -> None:
        law = Lognormal(1.0, 2.0).scaled(3.0).shifted(1.0)
        assert float(law.sf(law.upper_quantile(1e-100))) == pytest.approx(1e-100, rel=1e-6)

    def test_ends_of_the_quantile(self) -> None:
        for law in (Hyperexponential(1.0, 4.0), Exponential(1.0), Lognormal(1.0, 1.0)):
            assert law.quantile([0.0, 1.0]).tolist() == [0.0, math.inf]

    def test_pareto_moments_end_at_alpha(self) -> None:
        law = Pareto(1.0, 1.5)
        assert (law.moment(1), law.moment(2), law.variance, law.scv) == (1.0, math.inf, math.inf, math.inf)

    def test_bounded_pareto_is_smooth_in_alpha(self) -> None:
        """Moments near alpha = k, where the closed form is 0/0."""
        centre = BoundedPareto(1.0, 100.0, 2.0).moment(2)
        for offset in (1e-13, 1e-9, 1e-5):
            assert BoundedPareto(1.0, 100.0, 2.0 + offset).moment(2) == pytest.approx(
                centre, rel=1e-4 + 10 * offset
            )
        assert centre == pytest.approx(2 * math.log(100) / (1 - 1e-4), rel=1e-13)


BAD = {
    "text": lambda: Exponential("fast"),
    "nan": lambda: Exponential(math.nan),
    "infinite": lambda: Exponential(math.inf),
    "negative": lambda: Gamma(1.0, -1.0),
    "zero": lambda: Lognormal(0.0, 1.0),
    "true": lambda: Exponential(True),
    "huge integer": lambda: Exponential(10**400),
    "tiny": lambda: Exponential(1e-300),
    "hyperexponential below 1": lambda: Hyperexponential(1.0, 0.5),
    "half a phase": lambda: Erlang(2.5, 1.0),
    "no phase": lambda: Erlang(0, 1.0),
    "nan phases": lambda: Erlang(math.nan, 1.0),
    "infinite phases": lambda: Erlang(math.inf, 1.0),
    "weibull too regular": lambda: Weibull(1.0, 1e-9),
    "weibull too wild": lambda: Weibull(1.0, 1e30),
    "uniform reversed": lambda: Uniform(3.0, 1.0),
    "uniform negative": lambda: Uniform(-1.0, 1.0),
    "uniform without end": lambda: Uniform(0.0, math.inf),
    "pareto without mean": lambda: Pareto(1.0, 1.0),
    "bounded pareto reversed": lambda: BoundedPareto(2.0, 1.0, 1.5),
    "geometric below 1": lambda: Geometric(0.5),
    "no values": lambda: Discrete((), ()),
    "unequal lengths": lambda: Discrete((1.0,), (0.5, 0.5)),
    "negative value": lambda: Discrete((-1.0, 2.0), (0.5, 0.5)),
    "nan value": lambda: Discrete((math.nan, 2.0), (0.5, 0.5)),
    "only zeros": lambda: Discrete((0.0,), (1.0,)),
    "sum above 1": lambda: Discrete((1.0, 2.0), (0.5, 0.6)),
    "negative probability": lambda: Discrete((1.0, 2.0), (-0.5, 1.5)),
    "nan probability": lambda: Discrete((1.0, 2.0), (math.nan, 0.5)),
    "empty data": lambda: Empirical([]),
    "negative data": lambda: Empirical([1.0, -1.0]),
    "mixture lengths": lambda: Mixture((1.0,), (Exponential(1.0), Exponential(2.0))),
    "empty mixture": lambda: Mixture((), ()),
    "mixture sum": lambda: Mixture((0.5, 0.4), (Exponential(1.0), Exponential(2.0))),
    "mixture nan": lambda: Mixture((math.nan, 0.4), (Exponential(1.0), Exponential(2.0))),
    "scaled by 0": lambda: Scaled(Exponential(1.0), 0.0),
    "shifted back": lambda: Shifted(Exponential(1.0), -1.0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_refused_on_one_line(name: str) -> None:
    with pytest.raises(InputError) as caught:
        BAD[name]()
    line = str(caught.value)
    assert "\n" not in line and ": " in line and caught.value.remedy
