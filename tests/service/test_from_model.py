"""The law of a service time from a fitted model and the laws of its factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmodel.errors import InputError
from qmodel.policy import FCFS
from qmodel.scenario import Scenario
from qmodel.service.from_model import MAX_LEVELS, MAX_VALUES, levels, mapped, service_law
from qmodel.service.model import EXACT, Residual
from qmodel.service.system import System
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import (
    Deterministic,
    Discrete,
    Distribution,
    Empirical,
    Exponential,
    Gamma,
    Geometric,
    Lognormal,
    Mixture,
    Pareto,
    Poisson,
    RequestClass,
    Uniform,
    Weibull,
)
from qmodel.workload.joint_lengths import Copula


@dataclass
class Formula:
    """A fitted model in its simplest form."""

    function: Callable[..., float]
    factors: tuple[str, ...]
    residual: Residual = EXACT
    fingerprint: str = "formula"

    @property
    def residual_scv(self) -> float:
        return self.residual.scv

    def predict(self, levels: Mapping[str, float]) -> float:
        return self.function(**levels)


@dataclass
class Broadcasting(Formula):
    """The same, which takes arrays of levels, and counts how often it is asked."""

    broadcasts: bool = True
    asked: int = 0

    def predict(self, levels: Mapping[str, Any]) -> Any:
        self.asked += 1
        return self.function(**levels)


AFFINE = Formula(lambda steps, batch_size: 0.001 + 0.002 * steps + 0.0005 * batch_size, ("steps", "batch_size"))


def moment(law: Distribution, k: int) -> float:
    return math.fsum(p * value**k for value, p in levels(law))


class TestServiceLaw:
    def test_constant_levels_give_a_constant(self) -> None:
        law = service_law(AFFINE, {"steps": Deterministic(10), "batch_size": Deterministic(2)}, "here")
        assert law.atoms() == [(pytest.approx(0.022, rel=1e-14), 1.0)]

    def test_every_combination_with_its_probability(self) -> None:
        factors = {"steps": Discrete((10, 20), (0.25, 0.75)), "batch_size": Discrete((2, 4), (0.5, 0.5))}
        law = service_law(AFFINE, factors, "here")
        expected = [(0.022, 0.125), (0.023, 0.125), (0.042, 0.375), (0.043, 0.375)]
        np.testing.assert_allclose(law.atoms(), expected, rtol=1e-12)

    def test_combinations_of_equal_time_are_one(self) -> None:
        model = Formula(lambda a, b: a + b, ("a", "b"))
        law = service_law(model, {"a": Discrete((1, 2), (0.5, 0.5)), "b": Discrete((1, 2), (0.5, 0.5))}, "here")
        assert law.atoms() == [(2.0, 0.25), (3.0, 0.5), (4.0, 0.25)]

    @pytest.mark.parametrize("kind", [Gamma, Lognormal])
    def test_the_residual_that_the_fit_chose_widens_each_level(self, kind: type) -> None:
        model = Formula(lambda steps: 0.01 * steps, ("steps",), Residual(0.04, kind.__name__.lower()))
        law = service_law(model, {"steps": Discrete((1, 3), (0.5, 0.5))}, "here")
        assert law == Mixture((0.5, 0.5), (kind(0.01, 0.04), kind(0.03, 0.04)))
        assert law.moment(2) == pytest.approx(1.04 * 0.5 * (1e-4 + 9e-4), rel=1e-12)

    def test_an_empirical_residual_keeps_its_shape(self) -> None:
        """Nine in ten repetitions take 0.9, one takes 1.9: no gamma law looks like that."""
        quantiles = (*[0.9] * 10, 1.9)
        residual = Residual(0.09, "empirical", quantiles=quantiles)
        law = service_law(Formula(lambda steps: steps, ("steps",), residual), {"steps": Deterministic(2.0)}, "here")
        assert law.mean == pytest.approx(2.0, rel=1e-12)
        assert law.scv == pytest.approx(0.09, rel=1e-12)
        assert law.atoms() == [(pytest.approx(1.8), pytest.approx(0.9)), (pytest.approx(3.8), pytest.approx(0.1))]

    @pytest.mark.parametrize("kind", ["gamma", "lognormal", "empirical"])
    def test_many_levels_with_noise_keep_three_moments_of_the_product(self, kind: str) -> None:
        residual = Residual(0.04, kind, quantiles=tuple(np.linspace(0.8, 1.3, 101) ** 2))
        tokens = {"a": Lognormal(500.0, 2.0), "b": Exponential(100.0)}
        noisy = service_law(Formula(lambda a, b: a + b, ("a", "b"), residual), tokens, "here")
        plain = service_law(Formula(lambda a, b: a + b, ("a", "b")), tokens, "here")
        parts = len(noisy.laws) if isinstance(noisy, Mixture) else len(noisy.atoms())
        assert parts <= (MAX_LEVELS if kind != "empirical" else MAX_VALUES)
        for k in (1, 2, 3):
            assert noisy.moment(k) == pytest.approx(plain.moment(k) * residual.law(1.0).moment(k), rel=1e-9)

    @pytest.mark.parametrize("kind", ["gamma", "lognormal", "empirical"])
    def test_transform_and_samples_are_of_the_same_law(self, kind: str) -> None:
        residual = Residual(0.25, kind, quantiles=(*[0.8] * 70, *np.linspace(0.8, 2.5, 31)))
        model = Formula(lambda steps: 0.01 * steps, ("steps",), residual)
        law = service_law(model, {"steps": Discrete((1, 3, 9), (0.5, 0.3, 0.2))}, "here")
        draws = law.sample(np.random.default_rng(1), 200_000)
        for s in (5.0, 50.0, 20.0 + 60.0j):
            each = np.exp(-s * draws)
            assert abs(each.mean() - complex(law.lst(s))) < 4 * each.std() / math.sqrt(len(draws))
        assert abs(draws.mean() - law.mean) < 4 * math.sqrt(law.variance / len(draws))

    @pytest.mark.parametrize("kind", ["gamma", "lognormal", "empirical"])
    def test_theory_and_simulation_of_a_queue_agree(self, kind: str) -> None:
        """P95 of FCFS at load 0.5, where the shape of the noise shows (not the first two moments alone)."""
        residual = Residual(1.0, kind, quantiles=(*[0.6] * 85, *np.linspace(0.6, 9.0, 16)))
        model = Formula(lambda steps: 0.01 * steps, ("steps",), residual)
        draw = RequestClass("draw", Poisson(10.0), factors={"steps": Discrete((2, 8), (0.5, 0.5))})
        scenario = Scenario(classes=[draw], system=System(model=model), policy=FCFS())
        theory = analyse(scenario)["all"]
        found = simulate(scenario, requests=600_000, seed=3)["all"]
        for metric in ("mean_response_s", "p95_response_s"):
            low, high = found.ci95[metric]
            assert high - low < 0.05 * getattr(theory, metric)
            assert abs(getattr(theory, metric) - getattr(found, metric)) < high - low

    @pytest.mark.parametrize(
        "tokens", [Lognormal(500.0, 2.0), Exponential(500.0), Geometric(180.0), Weibull(9.0, 3.0)]
    )
    def test_an_affine_model_keeps_three_moments(self, tokens: Distribution) -> None:
        """The second moment decides the mean wait, the third its variance."""
        a, b = 0.05, 0.001
        law = service_law(Formula(lambda tokens: a + b * tokens, ("tokens",)), {"tokens": tokens}, "here")
        m1, m2, m3 = (b**k * tokens.moment(k) for k in (1, 2, 3))
        assert law.mean == pytest.approx(a + m1, rel=1e-12)
        assert law.moment(2) == pytest.approx(a * a + 2 * a * m1 + m2, rel=1e-8)
        assert law.moment(3) == pytest.approx(a**3 + 3 * a * a * m1 + 3 * a * m2 + m3, rel=1e-6)

    def test_other_factors_of_the_class_do_no_harm(self) -> None:
        factors = {"steps": Deterministic(10), "batch_size": Deterministic(2), "colour": Deterministic(1)}
        assert service_law(AFFINE, factors, "here").mean == pytest.approx(0.022)

    def test_a_missing_factor(self) -> None:
        with pytest.raises(InputError) as caught:
            service_law(AFFINE, {"steps": Deterministic(10)}, "class 'chat'")
        line = "class 'chat': lacks the model's factor 'batch_size'; the model has steps, batch_size"
        assert str(caught.value) == line

    @pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
    def test_a_time_that_is_none(self, seconds: float) -> None:
        with pytest.raises(InputError, match=r"here: the model predicts .* s; keep the factors inside the range"):
            service_law(Formula(lambda steps: seconds, ("steps",)), {"steps": Deterministic(1)}, "here")


class TestLevels:
    def test_few_point_masses_stand_for_themselves(self) -> None:
        law = Discrete((1.0, 4.0, 9.0), (0.5, 0.25, 0.25))
        assert levels(law) == law.atoms()

    @pytest.mark.parametrize(
        "law",
        [
            Exponential(2.0),
            Gamma(3.0, 0.1),
            Lognormal(1.0, 4.0),
            Uniform(1.0, 2.0),
            Weibull(1.0, 5.0),
            Geometric(180.0),
            Empirical(np.arange(1.0, 500.0) ** 1.5),
            Mixture((0.25, 0.75), (Deterministic(1.0), Exponential(4.0))),
        ],
        ids=lambda law: type(law).__name__,
    )
    def test_moments_hold(self, law: Distribution) -> None:
        pairs = levels(law)
        assert len(pairs) <= MAX_LEVELS
        assert math.fsum(p for _, p in pairs) == pytest.approx(1.0, abs=1e-12)
        assert min(p for _, p in pairs) > 0 and min(value for value, _ in pairs) > 0
        assert moment(law, 1) == pytest.approx(law.mean, rel=1e-12)
        assert moment(law, 2) == pytest.approx(law.moment(2), rel=1e-6)
        assert moment(law, 3) == pytest.approx(law.moment(3), rel=1e-5)

    def test_the_middle_of_the_law_is_resolved_too(self) -> None:
        """The distribution function of the levels follows the law's within the mass of one cell."""
        law = Lognormal(1.0, 2.0)
        pairs = sorted(levels(law))
        values, masses = np.array(pairs).T
        below = np.cumsum(masses)
        assert np.abs(below - law.cdf(values)).max() < 2 * 2 / MAX_LEVELS

    def test_an_infinite_variance_is_refused(self) -> None:
        with pytest.raises(InputError, match="has an infinite variance; use bounded_pareto"):
            levels(Pareto(1.0, 1.5))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0.01, 1e4), min_size=65, max_size=200, unique=True))
    def test_any_data(self, data: list[float]) -> None:
        law = Empirical(data)
        pairs = levels(law)
        assert len(pairs) <= MAX_LEVELS
        assert all(min(data) * (1 - 1e-9) <= value <= max(data) * (1 + 1e-9) for value, _ in pairs)
        for k in (1, 2, 3):
            assert moment(law, k) == pytest.approx(law.moment(k), rel=1e-9)


class TestMapped:
    def test_point_masses_move_and_merge(self) -> None:
        law = mapped(Discrete((6, 7, 16), (0.5, 0.25, 0.25)), lambda steps: steps // 2)
        assert law == Discrete((3.0, 8.0), (0.75, 0.25))

    def test_a_continuous_law_by_its_levels(self) -> None:
        assert mapped(Exponential(2.0), lambda x: 3 * x).mean == pytest.approx(6.0, rel=1e-12)


@pytest.mark.parametrize("correlated", [False, True])
def test_a_model_that_takes_arrays_is_asked_once_for_the_same_law(correlated: bool) -> None:
    def seconds(input_tokens: Any, output_tokens: Any, batch_size: Any) -> Any:
        return 0.01 + 0.001 * output_tokens * batch_size + 1e-6 * input_tokens**2

    names = ("input_tokens", "output_tokens", "batch_size")
    laws: dict[str, Distribution] = {
        "input_tokens": Lognormal(300.0, 2.0),
        "output_tokens": Exponential(100.0),
        "batch_size": Discrete((1.0, 2.0, 4.0), (0.5, 0.3, 0.2)),
    }
    joint = Copula(0.6) if correlated else None
    once = Broadcasting(seconds, names)
    found = service_law(once, laws, "class", joint)
    each = service_law(Formula(seconds, names), laws, "class", joint)
    assert once.asked == 1
    assert [moment(found, k) for k in (1, 2, 3)] == pytest.approx([moment(each, k) for k in (1, 2, 3)], rel=1e-12)


def test_one_level_for_all_is_one_time() -> None:
    """A model whose answer has no shape, as where its factors make no difference."""
    law = service_law(Broadcasting(lambda steps: 0.25, ("steps",)), {"steps": Uniform(1.0, 9.0)}, "class")
    assert law == Deterministic(0.25)
