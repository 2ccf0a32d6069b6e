"""Iteration times from timed iterations: planted coefficients, noise, and what cannot be fitted."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from qmodel.errors import InputError
from qmodel.fit.iteration_times import fit_iteration_time, read_iterations

PLANTED = {"base": 0.004, "per_sequence": 3e-4, "per_context_token": 2e-6, "per_prefill_token": 1e-4}


def rows(noise=0.0, replicates=1, seed=0):
    rng = np.random.default_rng(seed)
    cells = [(b, c, 0.0) for b, c in itertools.product((1, 2, 4, 8, 16), (32, 192))]
    cells += [(b, 96, p) for b, p in itertools.product((1, 8), (16, 128))]
    made = []
    for batch, context, prompt in cells * replicates:
        seconds = PLANTED["base"] + PLANTED["per_sequence"] * (batch + (prompt > 0))
        seconds += PLANTED["per_context_token"] * batch * (context + 1) + PLANTED["per_prefill_token"] * prompt
        made.append((batch, context, prompt or np.nan, seconds * (1 + noise * rng.standard_normal())))
    return pd.DataFrame(made, columns=["batch_size", "context_tokens", "prefill_tokens", "latency_s"])


def test_planted_coefficients_come_back():
    found = fit_iteration_time(rows())
    assert found.coefficients == pytest.approx(PLANTED, rel=1e-9)
    assert found.worst_error < 1e-12
    assert "14 cells" in found.describe()
    assert found.summary().count("\n") == 18


def packed(table, pair_s):
    """The rows with so many seconds for each query with each key: n + p queries, n (c + 1) + p keys."""
    n, c, p = table.batch_size, table.context_tokens, table.prefill_tokens.fillna(0.0)
    return table.assign(latency_s=table.latency_s + pair_s * (n + p) * (n * (c + 1) + p))


def test_queries_times_keys_are_found_where_they_cost_time():
    found = fit_iteration_time(packed(rows(), 5e-8))
    assert found.coefficients == pytest.approx({**PLANTED, "per_query_key": 5e-8}, rel=1e-7)
    assert found.pairs.kept and found.pairs.with_them < 1e-9 < 0.02 < found.pairs.without
    assert found.pairs.standard_error < 1e-15
    assert "per_query_key kept: 50 ns" in found.summary()


def test_and_in_noise_that_their_standard_error_tells():
    wrong, errors = [], []
    for seed in range(40):
        pairs = fit_iteration_time(packed(rows(noise=0.02, seed=seed), 5e-8)).pairs
        assert pairs.kept
        wrong.append(pairs.seconds - 5e-8)
        errors.append(pairs.standard_error)
    assert abs(np.mean(wrong)) < 3 * np.std(wrong) / np.sqrt(40)
    assert 0.7 < np.median(errors) / np.std(wrong) < 1.4


def test_they_are_left_out_where_they_cost_nothing():
    kept = sum(fit_iteration_time(rows(noise=0.02, seed=seed)).pairs.kept for seed in range(40))
    assert kept <= 4
    found = fit_iteration_time(rows(noise=0.02, seed=0))
    assert set(found.coefficients) == set(PLANTED)
    assert "per_query_key left out" in found.summary()


def test_they_are_not_looked_for_where_nothing_tells_them_apart():
    two = pd.DataFrame({"batch_size": [1, 2, 4, 8], "latency_s": [0.003, 0.005, 0.009, 0.017]})
    assert fit_iteration_time(two).pairs is None
    few = rows()[lambda table: table.prefill_tokens.isna() & (table.context_tokens == 32)]
    assert fit_iteration_time(few.drop(columns="prefill_tokens")).pairs is None
    decoding = rows()[lambda table: table.prefill_tokens.isna()].drop(columns="prefill_tokens")
    assert fit_iteration_time(decoding).pairs is not None


def test_noise_averages_out():
    found = fit_iteration_time(rows(noise=0.1, replicates=400))
    assert found.coefficients == pytest.approx(PLANTED, rel=0.03)
    assert 0 < found.median_error < 0.01
    assert set(found.cells.rows) == {400}


def test_batches_have_a_base_and_a_time_for_each_request():
    table = pd.DataFrame({"batch_size": [1, 2, 4, 8], "latency_s": [0.003, 0.005, 0.009, 0.017]})
    found = fit_iteration_time(table)
    assert found.coefficients == pytest.approx(
        {"base": 0.001, "per_sequence": 0.002, "per_context_token": 0.0, "per_prefill_token": 0.0}
    )


def test_no_coefficient_is_negative():
    table = pd.DataFrame({"batch_size": [1, 2, 4, 8], "latency_s": [0.001, 0.004, 0.010, 0.022]})
    found = fit_iteration_time(table)
    assert found.coefficients["base"] == 0.0
    assert found.coefficients["per_sequence"] > 0
    assert found.worst_error > 0.1


def test_too_few_cells():
    two = pd.DataFrame({"batch_size": [1, 2], "context_tokens": [10, 30], "latency_s": [0.1, 0.2]})
    with pytest.raises(InputError, match="2 cells for 3 terms"):
        fit_iteration_time(two)


def test_rows_of_a_profile(tmp_path):
    path = tmp_path / "profile.csv"
    table = rows().assign(status="ok", phase="decode", pacing="back-to-back")
    table.loc[0, "status"] = "out_of_memory"
    table.loc[1, "phase"] = "other"
    table.loc[2, "pacing"] = "idle-gaps"
    table.to_csv(path, index=False)
    assert len(read_iterations(path, ["decode"])) == len(table) - 2
    assert len(read_iterations(path, ["decode"], "back-to-back")) == len(table) - 3
    with pytest.raises(InputError, match="mixed"):
        read_iterations(path, ["mixed"])
