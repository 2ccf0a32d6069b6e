"""One stay at a cell: the warm-up, the stopping rule, the rows, and what can go wrong in it."""

import gc
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmodel.errors import InputError
from qmodel.measure import visit
from qmodel.measure.rows import RowFile, columns
from qmodel.measure.targets.base import OutOfMemory
from qmodel.measure.visit import VisitOrder, measure


class Fake:
    """A target whose repetitions take what it is told: it times itself."""

    def __init__(self, trial: Callable[[], float | None]) -> None:
        self.trial, self.calls = trial, 0

    def prepare(self, phase: str, levels: dict) -> Callable[[], float | None]:
        if levels.get("x") == "bad":
            raise InputError("x", "is bad", "mend it")

        def counted() -> float | None:
            self.calls += 1
            return self.trial()

        return counted

    def peak_memory_bytes(self) -> int:
        return 4096

    def energy_j(self) -> float:
        return 2.5


def order(**changed: Any) -> VisitOrder:
    who = {"phase": "call", "levels": {"x": 1}, "row": {"run_id": "r", "phase": "call", "x": 1, "block": 2}}
    numbers = {"least": 5, "most": 50, "precision": 0.02, "replicate": 4, "run_order": 11, "seed": "1/0/0"}
    times = {"warmup_s": 0.0, "idle_gap_s": 0.0, "share_s": 1e9, "deadline_s": 1e9}
    return VisitOrder(**(who | numbers | times | changed))


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    made = RowFile(tmp_path / "p.csv", columns(["x"]))
    made.begin()
    return made


def run(trial: Callable[[], float | None], file: RowFile, **changed: Any) -> tuple[dict, list[dict], Fake]:
    target = Fake(trial)
    outcome = measure(target, order(**changed), file, lambda event: None)
    return outcome, file.recover(), target


def steady() -> float:
    return 0.5


def test_rows_are_numbered_and_complete(file: RowFile) -> None:
    outcome, rows, _ = run(steady, file)
    assert outcome["status"] == "ok"
    assert outcome["latencies_s"] == [0.5] * 6  # the first sample size that has a 95 % interval
    assert [(r["replicate"], r["run_order"]) for r in rows] == [(str(4 + i), str(11 + i)) for i in range(6)]
    assert {(r["latency_s"], r["energy_j"], r["peak_memory_bytes"], r["status"]) for r in rows} == {
        ("0.5", "2.5", "4096", "ok")
    }
    assert all(r["started_at"].endswith("Z") and r["block"] == "2" for r in rows)


def test_warms_up_at_least_once_and_for_its_time(file: RowFile) -> None:
    assert run(steady, file)[2].calls == 1 + 6
    clock = iter(np.arange(0.0, 1000.0, 0.05))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: float(next(clock)))
        _, _, target = run(steady, file, warmup_s=1.0)
    assert 1 + 8 <= target.calls - 6 <= 21


def test_stops_at_the_precision_asked_for(file: RowFile) -> None:
    values = iter(np.random.default_rng(3).normal(1.0, 0.03, size=500).tolist())
    outcome, _, _ = run(lambda: next(values), file, most=400)
    seen = outcome["latencies_s"]
    from qmodel.measure.precision import relative_half_width

    assert relative_half_width(seen) <= 0.02
    assert all(relative_half_width(seen[:n]) > 0.02 for n in range(5, len(seen)))


def scattered() -> Callable[[], float]:
    values = iter(np.random.default_rng(3).uniform(1.0, 3.0, size=5000).tolist())
    return lambda: next(values)


def test_stops_at_most_rows_and_when_its_share_is_spent(file: RowFile) -> None:
    assert run(scattered(), file, most=30)[0]["rows"] == 30
    assert run(scattered(), file, share_s=0.0)[0]["rows"] == 5


def test_deadline_leaves_one_row(file: RowFile) -> None:
    assert run(scattered(), file, deadline_s=0.0)[0]["rows"] == 1


def test_earlier_rows_count(file: RowFile) -> None:
    assert run(steady, file, earlier_s=[0.5] * 4)[0]["rows"] == 2
    outcome, _, target = run(steady, file, earlier_s=[0.5] * 20, most=20)
    assert (outcome["rows"], target.calls) == (0, 0)


def test_fixed_number_of_rows(file: RowFile) -> None:
    assert run(steady, file, least=9, most=9)[0]["rows"] == 9


def test_clock_is_used_when_the_target_does_not_time_itself(file: RowFile) -> None:
    ticks = iter(range(0, 10**9, 3_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter_ns", lambda: next(ticks))
        outcome, _, _ = run(lambda: None, file)
    assert outcome["latencies_s"] == pytest.approx([0.003] * 6, rel=1e-12)


def test_wall_clocks_that_jump_do_not_matter(file: RowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day forth and back at every reading: repetitions, shares and deadlines are on monotonic clocks."""
    day, now = itertools.cycle((86_400.0, -86_400.0)), time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(day))
    outcome, rows, _ = run(lambda: time.sleep(1e-3), file, least=6, most=6, share_s=60.0, deadline_s=60.0)
    assert outcome["rows"] == len(rows) == 6
    assert all(1e-3 <= latency < 60.0 for latency in outcome["latencies_s"])
    assert len({row["started_at"][:10] for row in rows}) == 2  # the clock did jump: on two days


def test_garbage_collector_rests_while_timing(file: RowFile) -> None:
    seen = []
    run(lambda: seen.append(gc.isenabled()) or 1.0, file)
    assert set(seen) == {False}
    assert gc.isenabled()


def test_idle_gaps_are_exponential_rests(file: RowFile) -> None:
    def rests(**changed: Any) -> list[float]:
        gaps: list[float] = []
        measure(Fake(scattered()), order(**changed), file, lambda event: None, gaps.append)
        return gaps

    gaps = rests(idle_gap_s=0.005, most=2000, precision=0.0)
    assert len(gaps) == 2000
    assert np.mean(gaps) == pytest.approx(0.005, rel=0.09)  # 4 standard errors
    assert np.std(gaps) == pytest.approx(0.005, rel=0.15)
    assert max(gaps) <= 0.05
    assert rests(idle_gap_s=0.005, most=2000, precision=0.0) == gaps
    assert rests() == []  # back to back


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfMemory("cuda"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (ValueError("no\nlayer"), "failed: ValueError: no layer"),
        (KeyError(), "failed: KeyError"),
        (OSError(2, "gone"), "failed: FileNotFoundError: [Errno 2] gone"),
        (SystemExit(3), "failed: SystemExit: 3"),
    ],
)
def test_a_fault_is_a_row(file: RowFile, error: BaseException, status: str) -> None:
    calls = iter(range(100))

    def third_time_unlucky() -> float:
        if next(calls) == 3:
            raise error
        return 1.0

    outcome, rows, _ = run(third_time_unlucky, file)
    assert outcome["status"] == status
    assert outcome["latencies_s"] == [1.0, 1.0]
    assert [(r["status"], r["latency_s"], r["replicate"]) for r in rows] == [
        ("ok", "1.0", "4"), ("ok", "1.0", "5"), (status, "", "6"),
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.0, -0.033, float("nan"), float("inf")])
def test_impossible_latency_is_a_failure(file: RowFile, seconds: float) -> None:
    outcome, rows, _ = run(lambda: seconds, file)
    assert outcome["status"] == f"failed: gave {seconds} as its latency in seconds"
    assert [r["latency_s"] for r in rows] == [""]


def test_bad_levels_are_the_users_to_mend(file: RowFile) -> None:
    with pytest.raises(InputError, match="x: is bad"):
        run(steady, file, levels={"x": "bad"})
    assert file.recover() == []


def test_full_disk_is_no_fault_of_the_target(file: RowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RowFile, row: dict) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RowFile, "append", full)
    with pytest.raises(OSError, match="No space left"):
        run(steady, file)


def test_signs_of_life_are_rare(file: RowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict] = []
    clock = iter(np.arange(0.0, 1000.0, 0.01))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    measure(Fake(scattered()), order(precision=0.0, most=100), file, events.append)
    alive = [event for event in events if event["event"] == "alive"]
    assert 5 <= len(alive) <= 40
    assert visit.LONGEST_GAP == 10
