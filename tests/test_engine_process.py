"""The process that an engine lives in: its threads, its search path, and whether its heap is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmodel.engine_process import THREAD_VARIABLES, environment, keep_memory

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
