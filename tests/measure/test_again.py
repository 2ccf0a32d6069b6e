"""Cells of a profile timed again: rows of each look in one file, by one process, whatever happens to a cell."""

import math
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.measure.again import LEAST, Again
from qmodel.measure.design import Cell
from qmodel.measure.rows import read_rows
from tests.measure.test_profile import known, spec


def cell(**levels: float | str) -> Cell:
    return Cell("call", levels, "back-to-back")


def test_each_look_adds_its_rows(tmp_path: Path) -> None:
    csv = tmp_path / "new" / "host.csv"
    made = known({"seconds": [0.5, 1.5], "width": [1, 2]})
    cells = [cell(seconds=0.5, width=2), cell(seconds=1.5, width=1)]
    with Again(made, cells, csv) as again:
        assert again.look() == [1.0, 1.5]
        assert again.look() == [1.0, 1.5]
    with Again(made, cells[:1], csv) as later:
        assert later.look() == [1.0]
    rows = read_rows(csv)
    assert [row["block"] for row in rows] == sorted(row["block"] for row in rows)
    assert {row["block"] for row in rows} == {"1", "2", "3"}
    assert all(sum(row["block"] == block for row in rows) >= LEAST * cells for block, cells in (("1", 2), ("3", 1)))
    assert {row["target"] for row in rows} == {"work:exact"}
    assert [int(row["run_order"]) for row in rows] == list(range(1, len(rows) + 1))


def test_the_target_stays_up_between_looks(tmp_path: Path) -> None:
    folder = str(tmp_path)
    made = spec("log_process", {"level": [1, 2], "folder": [folder]})
    with Again(made, [cell(level=1, folder=folder)], tmp_path / "host.csv") as again:
        again.look()
        again.look()
    assert len(set((tmp_path / "processes").read_text().split())) == 1


@pytest.mark.parametrize("how", ["raise", "memory", "exit"])
def test_a_cell_that_fails_is_not_a_number_and_the_others_are(tmp_path: Path, how: str) -> None:
    made = known({"level": [1, 2, 3], "how": [how]}, "fail_at")
    cells = [cell(level=level, how=how) for level in (1, 2, 3)]
    with Again(made, cells, tmp_path / "host.csv") as again:
        first, failed, last = again.look()
    assert math.isnan(failed)
    assert (first, last) == (0.001, 0.003)


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    csv = tmp_path / "host.csv"
    csv.write_text("a,b\n1,2\n")
    made = known({"seconds": [0.5], "width": [1]})
    with Again(made, [cell(seconds=0.5, width=1)], csv) as again, pytest.raises(InputError):
        again.look()
