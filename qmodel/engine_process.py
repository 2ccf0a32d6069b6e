"""The process that an engine lives in: its threads from the first import on, its cores, and a heap that is kept.

glibc gives freed memory back to the system when enough of it lies at the end of the heap, and maps large blocks
anew each time. Whether that happens within every iteration of a model depends on what happens to lie at that end:
the same cell of a profile took 3.8 ms in one process and 4.9 ms in the next, with a thousand page faults in each
iteration of the second (a decoder of 256 units in torch, 8 requests of 128 tokens, one core of an AMD EPYC).
Servers that care use an allocator that keeps its memory; so do the processes that this project times and serves in.

An engine with cores of its own polls for arrivals, as inference servers do, and a target that is profiled with idle
gaps spends them alike, so that waking up is in neither. It does not make services that follow a long idle time as
quick as others: after 10 to 20 ms they took 15 to 25 % longer on the same machine, asleep or awake.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
MIB = 1 << 20
CORES_VARIABLE = "QMODEL_ENGINE_CORES"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT, _LARGEST = 1024 * MIB, 32 * MIB  # glibc takes no larger threshold for maps


def own_cores(threads: int) -> frozenset[int]:
    """The last cores of those this process may run on, one for each thread of an engine.

    Empty where that would leave none for anybody else, or where the system binds no process to a core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    allowed = sorted(os.sched_getaffinity(0))
    return frozenset(allowed[-threads:] if threads < len(allowed) else [])


def environment(threads: int, *search: Path, cores: Collection[int] = ()) -> dict[str, str]:
    """Ours, with the thread count that every numerical library heeds, and our search path, `search` at its end.

    With `cores`, what `settle` is to bind the process to.
    """
    folders = [os.path.abspath(entry) for entry in [*sys.path, *map(str, search)]]  # noqa: PTH100 - "" is the current folder
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        CORES_VARIABLE: " ".join(map(str, sorted(cores))),
        "PYTHONPATH": os.pathsep.join(folders),
    }


def settle() -> bool:
    """First thing in an engine's process: keep its memory, and stay on its cores; whether it was given some."""
    keep_memory()
    if cores := {int(core) for core in os.environ.get(CORES_VARIABLE, "").split()}:
        os.sched_setaffinity(0, cores)
    return bool(cores)


def stay_awake(seconds: float) -> None:
    """Let time pass without giving up the core, as a server does that polls for arrivals."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@contextmanager
def leaving(cores: Collection[int]) -> Iterator[None]:
    """The calling thread stays off an engine's cores meanwhile."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - set(cores) or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def keep_memory() -> bool:
    """Have this process keep up to 1 GiB of freed memory; False where the C library has no such setting.

    Blocks above 32 MiB are still mapped and given back one by one. Raises nothing.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
    return False
