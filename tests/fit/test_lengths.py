"""Laws of lengths: planted laws found, heaps named, correlation by copula, lines that paste."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest

from qmodel.fit.lengths import distance, fit_length, fit_lengths, heaps, length_lines
from qmodel.workload.discrete import Geometric
from qmodel.workload.grammar import service_from_table


def lognormal(n: int, seed: int = 1, mean: float = 6.0, sigma: float = 0.8) -> np.ndarray:
    return np.ceil(np.random.default_rng(seed).lognormal(mean, sigma, n))


def test_lognormal_is_found() -> None:
    found = fit_length("input_tokens", lognormal(20_000))
    assert found.chosen is not None and found.chosen.name.startswith("lognormal")
    assert found.chosen.distance < 0.01 and abs(found.chosen.mean_off) < 0.01


def test_geometric_is_found() -> None:
    values = np.random.default_rng(2).geometric(1 / 30, 20_000).astype(float)
    found = fit_length("output_tokens", values)
    assert found.chosen is not None and found.chosen.name == "geometric"


def test_an_atom_becomes_a_mixture() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.uniform(size=20_000) < 0.3, 512.0, lognormal(20_000, mean=4.0, sigma=0.6))
    found = fit_length("output_tokens", values)
    assert [(low, high) for low, high, _ in found.atoms] == [(512.0, 512.0)]
    assert found.chosen is not None and found.chosen.name == "atoms and lognormal"
    assert found.chosen.law.mean == pytest.approx(values.mean(), rel=0.01)


def test_two_counts_of_one_cap_are_one_heap() -> None:
    values = np.concatenate((lognormal(5000), np.full(200, 7435.0), np.full(150, 7436.0)))
    ((low, high, count),) = heaps(values[values <= 7436])
    assert (low, high) == (7435.0, 7436.0) and count >= 350


def test_short_lengths_heap_by_nature() -> None:
    assert heaps(np.random.default_rng(1).geometric(0.1, 5000).astype(float)) == []


def test_constant_lengths() -> None:
    found = fit_length("input_tokens", np.full(100, 64.0))
    assert (
        found.chosen is not None
        and found.spelling() == 'input_tokens = { distribution = "deterministic", value = 64.0 }'
    )


def test_no_law_means_the_file() -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate((rng.uniform(10, 20, 500), rng.uniform(900, 1000, 500)))
    found = fit_length("output_tokens", values)
    assert found.chosen is None and found.spelling("t.csv") == 'output_tokens = "empirical:t.csv:output_tokens"'


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.7])
def test_the_copula_comes_back(rho: float) -> None:
    pair = np.random.default_rng(4).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 20_000)
    frame = pd.DataFrame({"input_tokens": np.exp(6 + pair[:, 0]), "output_tokens": np.exp(4 + 0.5 * pair[:, 1])})
    found = fit_lengths(frame)
    assert found is not None and found.copula == pytest.approx(rho, abs=0.02)


def test_lines_paste_and_keep_to_the_width() -> None:
    frame = pd.DataFrame({"input_tokens": lognormal(2000, 1), "output_tokens": lognormal(2000, 2, 4.0)})
    found = fit_lengths(frame)
    assert found is not None
    lines = list(length_lines(found, "t.csv"))
    pasted = [line.removeprefix("  paste: ") for line in lines if "paste" in line]
    assert max(len(line) for line in lines if "paste" not in line) <= 80
    for line, one in zip(pasted, found.marginals, strict=True):
        law = service_from_table(tomllib.loads(line)[one.name], "law")
        assert law.mean == pytest.approx(one.mean, rel=0.05)


def test_too_few_or_none() -> None:
    assert fit_lengths(pd.DataFrame({"input_tokens": [1.0] * 10, "output_tokens": [1.0] * 10})) is None
    assert fit_lengths(pd.DataFrame({"x": [1.0] * 100})) is None
    alone = fit_lengths(pd.DataFrame({"input_tokens": lognormal(100)}))
    assert alone is not None and alone.spearman is None
    assert "together" not in "\n".join(length_lines(alone))


def test_distance_of_the_true_law_is_small() -> None:
    values = np.random.default_rng(1).geometric(0.05, 50_000).astype(float)
    assert distance(Geometric(mean=20.0), np.sort(values)) < 0.01
    assert distance(Geometric(mean=40.0), np.sort(values)) > 0.2
