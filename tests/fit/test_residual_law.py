"""The law of repetitions: told apart where the data can, kept as quantiles where neither law fits."""

import numpy as np
import pytest

from qmodel.fit import fit_measurements
from qmodel.fit.residual_law import residual_law

from .planted import planted


@pytest.mark.parametrize("seed", range(5))
def test_wide_laws_are_told_apart(seed):
    rng = np.random.default_rng(seed)
    assert residual_law(rng.gamma(2.0, 0.5, 4000)).distribution == "gamma"
    assert residual_law(rng.lognormal(-0.32, 0.8, 4000)).distribution == "lognormal"


@pytest.mark.parametrize("seed", range(5))
def test_two_modes_are_neither(seed):
    rng = np.random.default_rng(seed)
    law = residual_law(np.where(rng.random(2000) < 0.2, 1.8, 0.8) * rng.lognormal(0, 0.02, 2000))
    assert law.distribution == "empirical" and law.refused


def test_a_true_law_is_seldom_refused():
    rng = np.random.default_rng(0)
    refused = sum(residual_law(rng.lognormal(0, 0.1, 500)).refused for _ in range(300))
    assert refused <= 10


def test_few_or_constant_values():
    assert residual_law(np.ones(100)).distribution == "lognormal"
    assert residual_law(np.array([0.9, 1.1])).values == 2
    few = np.concatenate([np.full(20, 0.5), np.full(20, 1.5)]) * np.random.default_rng(0).lognormal(0, 0.01, 40)
    assert residual_law(few).refused and residual_law(few).distribution != "empirical"


def test_the_model_carries_it():
    model = fit_measurements(planted(0, noise=0.3, replicates=30), analysis=False).model
    assert model.residual.distribution == "gamma"
    law = model.law({"steps": 10, "batch_size": 4})
    assert law.mean == pytest.approx(model.predict({"steps": 10, "batch_size": 4}))
    assert law.scv == pytest.approx(0.09, rel=0.15)
