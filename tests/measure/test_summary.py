"""The summary of a profile CSV, from files made by hand."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from qmodel.errors import InputError
from qmodel.measure.rows import columns, csv_line
from qmodel.measure.summary import summarise_profile
from qmodel.measure.summary_text import humanise

HEADER = columns(["batch_size", "precision"])
Record = tuple[str, str, str, int, object, str]  # batch size, precision, pacing, block, latency, status


def write(path: Path, records: Iterable[Record], phase: str = "denoise") -> Path:
    lines = [csv_line(HEADER)]
    for order, (batch_size, precision, pacing, block, latency, status) in enumerate(records, 1):
        line = [
            "run",
            "t",
            "cpu",
            phase,
            batch_size,
            precision,
            pacing,
            1,
            order,
            block,
            latency,
            "",
            "",
            status,
            "now",
        ]
        lines.append(csv_line(line))
    path.write_bytes(b"".join(lines))
    return path


def cell(
    values: Iterable[float], batch_size: str = "1", pacing: str = "back-to-back", block: int = 1
) -> list[Record]:
    return [(batch_size, "fp32", pacing, block, value, "ok") for value in values]


def test_median_interval_and_spread(tmp_path: Path) -> None:
    values = np.random.default_rng(4).lognormal(-5, 0.05, size=21).tolist()
    summary = summarise_profile(write(tmp_path / "p.csv", cell(values)))
    (found,) = summary.cells
    ordered = sorted(values)
    assert (found.n, found.median_s) == (21, ordered[10])
    assert (found.low_s, found.high_s) == (ordered[5], ordered[15])
    assert found.iqr_over_median == pytest.approx(stats.iqr(values) / np.median(values), rel=1e-12)
    assert found.half_width == pytest.approx((ordered[15] - ordered[5]) / 2 / ordered[10])
    assert found.valid
    assert dict(found.levels) == {"batch_size": "1", "precision": "fp32"}
    assert summary.drift is None


@pytest.mark.parametrize(("spread", "valid"), [(0.099, True), (0.101, False)])
def test_valid_up_to_a_tenth(tmp_path: Path, spread: float, valid: bool) -> None:
    # For 1 - s, 1, 1 + s the quartiles lie at 1 - s/2 and 1 + s/2: IQR/median = s.
    summary = summarise_profile(write(tmp_path / "p.csv", cell([1 - spread, 1.0, 1 + spread])))
    assert summary.cells[0].iqr_over_median == pytest.approx(spread)
    assert summary.cells[0].valid is valid
    assert any("scattered" in line for line in summary.lines()) is not valid


def test_few_rows_have_no_interval(tmp_path: Path) -> None:
    (found,) = summarise_profile(write(tmp_path / "p.csv", cell([2.0]))).cells
    assert (found.n, found.median_s, found.low_s, found.half_width, found.iqr_over_median) == (
        1,
        2.0,
        None,
        None,
        0.0,
    )


def test_cells_come_in_the_order_of_their_levels(tmp_path: Path) -> None:
    records = [r for size in ("16", "2", "1") for r in cell([1.0], size)] + [
        ("1", "int8", "back-to-back", 1, 1.0, "ok")
    ]
    found = summarise_profile(write(tmp_path / "p.csv", records)).cells
    assert [tuple(c.levels.values()) for c in found] == [
        ("1", "fp32"),
        ("1", "int8"),
        ("2", "fp32"),
        ("16", "fp32"),
    ]


def test_failed_cells_are_kept(tmp_path: Path) -> None:
    records = [*cell([1.0] * 6), ("2", "fp32", "back-to-back", 1, "", "out_of_memory")]
    records += [("4", "fp32", "back-to-back", 1, "", "failed: ValueError: " + "x" * 50)]
    summary = summarise_profile(write(tmp_path / "p.csv", records))
    assert [c.status for c in summary.failed] == ["out_of_memory", "failed: ValueError: " + "x" * 50]
    assert not summary.cells[1].valid
    assert summary.cells[1].median_s is None
    assert max(map(len, summary.lines())) <= 80


def test_pacing_ratio_pairs_cells(tmp_path: Path) -> None:
    ratios = {"1": 1.05, "2": 1.03, "4": 1.01}
    records = []
    for size, ratio in ratios.items():
        records += cell([float(size)] * 7, size) + cell([float(size) * ratio] * 7, size, "idle-gaps")
    records += cell([9.0], "8", "idle-gaps")  # without a partner
    pacing = summarise_profile(write(tmp_path / "p.csv", records)).pacing
    assert pacing is not None
    logs = np.log(list(ratios.values()))
    low, high = stats.t.interval(0.95, 2, np.mean(logs), stats.sem(logs))
    assert (pacing.ratio, pacing.pairs) == (pytest.approx(np.exp(np.mean(logs)), rel=1e-12), 3)
    assert (pacing.low, pacing.high) == (
        pytest.approx(np.exp(low), rel=1e-9),
        pytest.approx(np.exp(high), rel=1e-9),
    )
    assert pacing.line().startswith("idle gaps against back to back: latency x 1.030 [")


def test_pacing_ratio_of_a_single_cell_pairs_its_blocks(tmp_path: Path) -> None:
    records = []
    for block, ratio in ((1, 1.1), (2, 1.2)):
        records += cell([1.0] * 3, block=block) + cell([ratio] * 3, pacing="idle-gaps", block=block)
    pacing = summarise_profile(write(tmp_path / "p.csv", records)).pacing
    assert pacing is not None
    assert (pacing.ratio, pacing.pairs) == (pytest.approx(np.sqrt(1.1 * 1.2)), 2)
    alone = cell([1.0]) + cell([1.1], pacing="idle-gaps")
    pacing = summarise_profile(write(tmp_path / "p.csv", alone)).pacing
    assert pacing is not None
    assert (pacing.low, pacing.line()) == (None, "idle gaps against back to back: latency x 1.100 over 1 pairs")
    assert summarise_profile(write(tmp_path / "p.csv", cell([1.0]))).pacing is None


def test_drift_uses_visits(tmp_path: Path) -> None:
    records = []
    for block in range(1, 6):
        for size in ("1", "2", "4"):
            records += cell([float(size) * 1.02**block] * 3, size, block=block)
    drift = summarise_profile(write(tmp_path / "p.csv", records)).drift
    assert drift is not None
    assert (drift.visits, drift.significant) == (15, True)
    assert drift.change == pytest.approx(
        1.02 ** (42 / 9) - 1, rel=1e-6
    )  # 9 rows a block; first to last visit: 42 rows


@pytest.mark.parametrize("latency", ["", "abc", "nan", "-0.1", "0", "inf"])
def test_latencies_that_cannot_be(tmp_path: Path, latency: str) -> None:
    path = write(tmp_path / "p.csv", [*cell([1.0]), ("1", "fp32", "back-to-back", 1, latency, "ok")])
    with pytest.raises(InputError) as caught:
        summarise_profile(path)
    assert str(caught.value).startswith(f"{path}, row with run_order 2, latency_s: is {latency or 'empty'}; ")


def test_a_file_without_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rows"):
        summarise_profile(write(tmp_path / "p.csv", []))


def test_text_fits_a_terminal(tmp_path: Path) -> None:
    records = [
        r for size in ("1", "16") for p in ("back-to-back", "idle-gaps") for r in cell([0.0123] * 9, size, p)
    ]
    lines = summarise_profile(write(tmp_path / "p.csv", records)).lines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["batch_"]
    assert lines[1].split() == ["size", "precision", "pacing", "n", "median", "+-95%", "IQR/med"]
    assert lines[2].split() == ["1", "fp32", "back-to-back", "9", "12.3", "ms", "0.0", "%", "0.0", "%"]
    assert "drift: not testable, each cell was visited once" in lines


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.25, "250 ms"), (2.5e-6, "2.5 us"), (4e-8, "40 ns"), (75.0, "75 s")]
)
def test_humanised_times(seconds: float, text: str) -> None:
    assert humanise(seconds) == text


def test_each_phase_has_its_own_table(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", cell([0.5] * 6), "decode")
    body = write(tmp_path / "q.csv", cell([1.0] * 6), "prefill").read_bytes().split(b"\n", 1)[1]
    path.write_bytes(path.read_bytes() + body.replace(b",fp32,", b",,"))
    lines = summarise_profile(path).lines()
    assert [line for line in lines if line.startswith("phase")] == ["phase decode", "phase prefill"]
    assert lines[2].split()[:2] == ["size", "precision"]
    assert lines[7].split()[:2] == ["size", "n"]
