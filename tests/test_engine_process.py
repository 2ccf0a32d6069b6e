"""The process that an engine lives in: its threads, its search path, and whether its heap is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmodel.engine_process import THREAD_VARIABLES, environment, keep_memory, leaving, own_cores, stay_awake

TURNS, MIB_A_TURN = 50, 24
COUNT_FAULTS = f"""
import resource, sys
from qmodel.engine_process import keep_memory
if sys.argv[1] == "kept" and not keep_memory():
    sys.exit("nothing to set")
import numpy as np
def turn():
    np.empty({MIB_A_TURN} << 17).fill(1.0)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TURNS}):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, timeout=60)
    if "nothing to set" in done.stderr:
        pytest.skip("this C library has no mallopt")
    return int(done.stdout)


def test_a_heap_that_is_kept_is_touched_once() -> None:
    """A block of 24 MiB, taken and freed again and again: its pages are new each time, or they stay."""
    assert faults("kept") < TURNS
    assert faults("as it is") > 10 * TURNS


def test_a_library_without_the_setting_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_memory() is False


def test_every_library_gets_the_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert {environment(3)[name] for name in THREAD_VARIABLES} == {"3"}


def test_modules_are_found_where_we_find_them_and_then_beside_the_spec(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["", "/opt/models"])
    assert environment(1, tmp_path)["PYTHONPATH"].split(os.pathsep) == [
        str(Path.cwd()),
        "/opt/models",
        str(tmp_path),
    ]


def allow(monkeypatch: pytest.MonkeyPatch, cores: set[int]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: cores, raising=False)


@pytest.mark.parametrize(
    ("allowed", "threads", "own"),
    [({0, 1}, 1, {1}), ({2, 3, 6, 7}, 2, {6, 7}), ({0}, 1, set()), ({0, 1}, 2, set()), ({0, 1}, 4, set())],
)
def test_an_engine_gets_the_last_cores_where_some_are_left(
    allowed: set[int], threads: int, own: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, allowed)
    assert own_cores(threads) == own


def test_a_system_that_binds_no_process_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert own_cores(1) == frozenset()


SETTLED = """
import os
from qmodel.engine_process import settle
print(settle(), sorted(os.sched_getaffinity(0)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
@pytest.mark.parametrize("bound", [True, False])
def test_a_settled_process_is_on_its_cores_alone(bound: bool) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    env = environment(1, cores=allowed[:1] if bound else ())
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout.strip() == f"{bound} {allowed[:1] if bound else allowed}"


def test_staying_awake_lasts_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("qmodel.engine_process.time.monotonic", lambda: next(clock))
    stay_awake(5.0)
    assert next(clock) == 6  # begun at 0, looked at 1 to 5


def test_who_leaves_an_engine_its_cores_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    allow(monkeypatch, {0, 1, 2})
    monkeypatch.setattr(os, "sched_setaffinity", lambda who, cores: asked.append(set(cores)), raising=False)
    with leaving({2}):
        assert asked == [{0, 1}]
    assert asked == [{0, 1}, {0, 1, 2}]
    with leaving(()):
        pass
    assert len(asked) == 2
