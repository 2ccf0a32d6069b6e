"""What the worker answers to its supervisor, and that it never outlives it."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from qmodel.measure import worker
from qmodel.measure.rows import RowFile, columns
from qmodel.measure.targets.callable import CallableTarget


def setup(folder: Path, **changed: Any) -> dict[str, Any]:
    file = RowFile(folder / "p.csv", columns(["x"]))
    file.begin()
    fields = {"kind": "callable", "threads": 1, "options": {"callable": "math:sqrt", "factors": ["x"]}}
    return {**fields, "csv": str(file.path), "header": list(file.header), **changed}


def order(**changed: Any) -> dict[str, Any]:
    who = {"phase": "call", "levels": {"x": 1}, "row": {"phase": "call", "x": 1}, "seed": "s"}
    numbers = {"least": 1, "most": 2, "precision": 0.02, "replicate": 1, "run_order": 1}
    fields = who | numbers | dict.fromkeys(("warmup_s", "idle_gap_s", "share_s", "deadline_s"), 0.0)
    return fields | changed


def talk(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Events that answer these messages; the supervisor hangs up after them."""
    inbox: Iterator[dict[str, Any] | None] = iter([*messages, None])
    events: list[dict[str, Any]] = []
    worker.serve(lambda: next(inbox), events.append)
    return [event for event in events if event["event"] != "alive"]  # told on slow machines only


def fake_fma(x: float) -> float:
    return x * x


FAKE = {"callable": f"{__name__}:fake_fma"}


def test_introduces_the_target_and_makes_visits(tmp_path: Path) -> None:
    ready, prepared, end = talk(setup(tmp_path, options=FAKE), order())
    assert (ready["event"], ready["name"], ready["phases"]) == ("ready", f"{__name__}:fake_fma", ["call"])
    assert ready["factors"] == {"call": ["x"]}
    assert (ready["prefix_cache"], ready["kv_capacity_tokens"]) == ("none", None)
    assert prepared == {"event": "prepared"}
    assert (end["event"], end["status"], end["rows"]) == ("end", "ok", 1)


@pytest.mark.parametrize(
    ("changed", "place", "fault"),
    [
        ({"kind": "calable"}, "target kind", "'calable' is unknown"),
        ({"options": {"calable": "a:b"}}, "target, calable", "is an unknown key"),
        ({"options": {}}, "target", "callable is missing"),
        ({"options": {"callable": "nowhere:f"}}, "callable 'nowhere:f'", "module nowhere is not found"),
        ({"options": {"callable": "math:sqrt", "factors": 5}}, "target 'callable'", "'int' object is not iterable"),
    ],
)
def test_refuses_what_cannot_be_built(tmp_path: Path, changed: dict, place: str, fault: str) -> None:
    (event,) = talk(setup(tmp_path, **changed))
    assert (event["event"], event["place"], event["fault"]) == ("refused", place, fault)
    assert event["unwritable"] is False


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (MemoryError(), "needs more memory than there is"),
        (RuntimeError("no driver"), "cannot be set up: RuntimeError: no driver"),
        (SystemExit(2), "cannot be set up: SystemExit: 2"),
    ],
)
def test_refuses_a_target_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, fault: str
) -> None:
    def fail(kind: str, **options: Any) -> None:
        raise error

    monkeypatch.setattr(worker, "make_target", fail)
    (event,) = talk(setup(tmp_path))
    assert event["fault"] == fault


def test_levels_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    *_, event = talk(setup(tmp_path, options=FAKE), order(levels={"y": 1}))
    assert (event["event"], event["unwritable"]) == ("refused", False)
    assert "missing a required argument: 'x'" in event["fault"]


def test_a_full_disk_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RowFile, row: dict) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RowFile, "append", full)
    *_, event = talk(setup(tmp_path, options=FAKE), order())
    assert event["unwritable"] is True
    assert event["fault"] == "cannot be written: No space left on device"


def test_the_target_is_closed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(CallableTarget, "close", lambda target: closed.append(target))
    kept: list[Any] = []
    inbox = iter([setup(tmp_path), None])
    worker.serve(lambda: next(inbox), lambda event: None, kept.append)
    assert closed == kept
    assert len(kept) == 1


def test_the_end_of_input_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(signal, "alarm", lambda seconds: done.append(("alarm", seconds)))
    monkeypatch.setattr(os, "getpgrp", os.getpid)
    monkeypatch.setattr(os, "killpg", lambda group, number: done.append((group, number)))
    monkeypatch.setattr(os, "_exit", lambda code: done.append(("exit", code)))

    class Target:
        def close(self) -> None:
            done.append("closed")

    inbox: SimpleQueue = SimpleQueue()
    worker._listen(io.StringIO('{"a": 1}\n{"b": 2}\n'), inbox, [Target()])
    assert [inbox.get_nowait(), inbox.get_nowait()] == [{"a": 1}, {"b": 2}]
    assert done == [("alarm", 2), "closed", (0, signal.SIGKILL), ("exit", 1)]


def test_channels_are_kept_from_the_target(capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    saved = [os.dup(number) for number in (0, 1)]
    (tmp_path / "in").write_text('{"order": 1}\n')
    (tmp_path / "out").touch()
    try:
        os.dup2(os.open(tmp_path / "in", os.O_RDONLY), 0)
        os.dup2(os.open(tmp_path / "out", os.O_WRONLY), 1)
        orders, events = worker._take_channels()
        os.write(1, b"printed by the target")
        events.write("event")
        events.flush()
        assert os.read(0, 10) == b""
        assert orders.read() == '{"order": 1}\n'
    finally:
        for number, copy in enumerate(saved):
            os.dup2(copy, number)
    assert (tmp_path / "out").read_text() == "event"
    assert capfd.readouterr().err == "printed by the target"


def test_main_wires_it_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = io.StringIO()
    monkeypatch.setattr(worker, "_take_channels", lambda: (io.StringIO(), events))
    monkeypatch.setattr(worker, "_listen", lambda orders, inbox, targets: inbox.put({}) or inbox.put(None))
    monkeypatch.setattr(worker, "_build", lambda given, tell: tell({"event": "refused", "setup": given}))
    worker.main()
    assert events.getvalue() == '{"event": "refused", "setup": {}}\n'
