"""The CSV: columns as promised, rows whole, torn lines cut off."""

import csv
from pathlib import Path

import pytest

from qmodel.errors import InputError
from qmodel.measure.rows import RowFile, columns, csv_line, failed, read_rows

CONTRACT = (
    "run_id,target,device,phase,batch_size,steps,pacing,replicate,run_order,block,"
    "latency_s,energy_j,peak_memory_bytes,status,started_at"
)


def row(**fields: object) -> dict[str, object]:
    return dict.fromkeys(columns(["batch_size", "steps"]), "x") | fields


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    made = RowFile(tmp_path / "p.csv", columns(["batch_size", "steps"]))
    made.begin()
    return made


def test_columns_are_the_contract(file: RowFile) -> None:
    assert file.path.read_text() == CONTRACT + "\n"
    assert [p.name for p in file.path.parent.iterdir()] == ["p.csv"]


def test_rows_come_back_as_written(file: RowFile) -> None:
    file.append(row(latency_s=0.1 + 0.2, energy_j=None, status='failed: he said "no", twice'))
    file.sync()
    (found,) = file.recover()
    assert float(found["latency_s"]) == 0.1 + 0.2
    assert found["energy_j"] == ""
    assert found["status"] == 'failed: he said "no", twice'


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_last_line_is_cut_off(file: RowFile, cut: int) -> None:
    file.append(row(replicate=1))
    whole = file.path.read_bytes()
    file.append(row(replicate=2))
    file.path.write_bytes(file.path.read_bytes()[:-cut])
    assert [r["replicate"] for r in file.recover()] == ["1"]
    assert file.path.read_bytes() == whole
    file.append(row(replicate=2))
    assert [r["replicate"] for r in file.recover()] == ["1", "2"]


def test_torn_header_is_an_empty_file(file: RowFile) -> None:
    file.path.write_text(CONTRACT[:30])
    assert file.recover() == []
    assert file.path.read_bytes() == b""


def test_other_columns_are_refused(file: RowFile) -> None:
    with pytest.raises(InputError, match="lacks column exit_layer"):
        read_rows(file.path, columns(["exit_layer"]))
    with pytest.raises(InputError, match="has other columns than this design"):
        read_rows(file.path, columns(["steps"]))


def test_files_that_are_no_profile(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="lacks column run_id"):
        read_rows(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "binary.csv")


def test_status_stays_on_one_line() -> None:
    assert failed("a\n  b") == "failed: a b"
    assert len(failed("x" * 900)) == len("failed: ") + 200
    assert csv_line([1, None, "a,b"]) == b'1,,"a,b"\n'
    assert next(csv.reader([csv_line([failed('"')]).decode()])) == ['failed: "']
