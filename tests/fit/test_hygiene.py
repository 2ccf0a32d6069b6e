"""What is odd in measured times is named with its rows; what is not, is let pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qmodel.fit import read_profile
from qmodel.fit.csv_text import TextTable
from qmodel.fit.hygiene import (
    Finding,
    copies,
    departures,
    falling,
    finding,
    floor_findings,
    mixed,
    profile_findings,
    served_findings,
)


def frame(seed: int = 1, noise: float = 0.01, replicates: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"batch_size": b, "steps": s, "latency_s": 0.001 * b * s * (1 + noise * rng.standard_normal())}
        for b in (1, 2, 4, 8)
        for s in (5, 10)
        for _ in range(replicates)
    ]
    return pd.DataFrame(rows, index=pd.RangeIndex(2, len(rows) + 2))


FACTORS = ["batch_size", "steps"]


def test_clean_measurements_are_let_pass() -> None:
    for seed in range(50):
        assert profile_findings(frame(seed, 0.03), FACTORS) == []


def test_rows_are_written_out_up_to_a_point() -> None:
    assert str(Finding("a", (), "b")) == "a: b"
    assert str(Finding("a", (4,), "b")) == "a: b (line 4)"
    assert str(finding("a", list(range(2, 5000)), "b")).endswith("(lines 2, 3, 4, 5, 6, 7, ... 4998 in all)")


def test_copies_are_no_replicates() -> None:
    table = frame()
    table.loc[4, "latency_s"] = table.loc[2, "latency_s"]
    (one,) = copies(table, FACTORS, "latency_s")
    assert one.rows == (4,) and "copies, not replicates" in one.sentence


def test_a_coarse_clock_repeats_itself_by_chance() -> None:
    table = frame(noise=0.0)
    assert copies(table, FACTORS, "latency_s") == []


def test_a_copied_time_with_another_energy_is_a_measurement() -> None:
    table = frame().assign(energy_j=np.arange(24.0))
    table.loc[4, "latency_s"] = table.loc[2, "latency_s"]
    assert copies(table, FACTORS, "latency_s") == []


def test_a_cell_that_falls_is_named_and_its_neighbours_are_not() -> None:
    table = frame()
    at = (table["batch_size"] == 8) & (table["steps"] == 10)
    table.loc[at, "latency_s"] *= 0.1
    found = falling(table, FACTORS, "latency_s")
    assert found and all(set(one.rows) == set(table.index[at]) for one in found)
    assert "batch_size = 8, steps = 10" in found[0].sentence


def test_a_cell_that_sticks_out_is_named_not_those_after_it() -> None:
    table = frame()
    at = (table["batch_size"] == 2) & (table["steps"] == 5)
    table.loc[at, "latency_s"] *= 20.0
    found = [one for one in falling(table, FACTORS, "latency_s") if "of a larger batch_size" in one.sentence]
    assert len(found) == 1 and set(found[0].rows) == set(table.index[at])


def test_many_are_told_together() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"tokens": np.arange(1, 101), "latency_s": rng.uniform(1, 10, 100)})
    (one,) = falling(table, ["tokens"], "latency_s")
    assert "of 100 cells are out of line along tokens" in one.sentence and len(one.rows) > 20


def test_falls_along_names_mean_nothing() -> None:
    table = frame().rename(columns={"steps": "precision"})
    table.loc[table["precision"] == 10, "latency_s"] *= 0.01
    assert falling(table, ["batch_size", "precision"], "latency_s") == []


def test_departures_of_a_rising_sequence_are_none() -> None:
    assert not departures(np.array([1.0, 1.0, 2.0, 5.0])).any()
    assert departures(np.array([])).size == 0
    assert departures(np.array([1.0, 9.0, 2.0, 3.0])).tolist() == pytest.approx([0, 1 - 2 / 9, 0, 0])


def test_a_hidden_factor_shows_as_two_groups() -> None:
    table = frame(replicates=6)
    table.loc[table.index[::2], "latency_s"] *= 1.6
    (one,) = mixed(table, FACTORS, "latency_s")
    assert one.count == len(table) and "in 8 of 8 cells" in one.sentence
    assert mixed(frame(replicates=6), FACTORS, "latency_s") == []


def test_one_outlier_is_not_a_group() -> None:
    table = frame(replicates=6)
    table.loc[2, "latency_s"] *= 3.0
    assert mixed(table, FACTORS, "latency_s") == []


def test_faster_than_memory_could_feed() -> None:
    table = frame()
    (one,) = floor_findings(table, bytes_moved=16e9, bandwidth=1e12)
    assert one.rows == tuple(table.index[table["latency_s"] < 0.016])
    assert "wrong unit" in one.sentence
    assert floor_findings(table, 1.0, 1e12) == []


def test_served_figures_are_told_by_their_names() -> None:
    assert served_findings({"mean_tpot_ms": "", "max_concurrency": ""})
    assert not served_findings({"latency_s": "", "max_concurrency": ""})
    assert not served_findings({"mean_tpot_ms": "", "batch_size": ""})


def test_failed_rows_and_unknown_columns_are_passed_over() -> None:
    table = frame().assign(status="ok")
    table.loc[table["batch_size"] == 8, ["latency_s", "status"]] = [1e-9, "failed: x"]
    assert profile_findings(table, [*FACTORS, "absent"]) == []
    assert profile_findings(table, ["absent"]) == [] and profile_findings(table.iloc[:1], FACTORS) == []


def test_fit_tells_them_with_lines_of_the_file(tmp_path) -> None:
    table = frame()
    table.loc[table["batch_size"] == 8, "latency_s"] *= 0.05
    path = tmp_path / "p.csv"
    table.assign(status="ok").to_csv(path, index=False)
    told = [warning for warning in read_profile(path).warnings if warning.startswith("implausible")]
    assert told and "(lines 20, 21, 22)" in told[0]


def test_fit_takes_a_table_that_another_reader_made() -> None:
    table = frame()
    text = TextTable("x", table.astype(str), "0" * 64, table.index)
    measurements = read_profile(text)
    assert measurements.factors == ("batch_size", "steps") and len(measurements.frame) == len(table)
