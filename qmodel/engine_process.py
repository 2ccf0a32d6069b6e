"""The process that an engine lives in: so many threads from the first import on, and a heap that is kept.

glibc gives freed memory back to the system when enough of it lies at the end of the heap, and maps large blocks
anew each time. Whether that happens within every iteration of a model depends on what happens to lie at that end:
the same cell of a profile took 3.8 ms in one process and 4.9 ms in the next, with a thousand page faults in each
iteration of the second (a decoder of 256 units in torch, 8 requests of 128 tokens, one core of an AMD EPYC).
Servers that care use an allocator that keeps its memory; so do the processes that this project times and serves in.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
MIB = 1 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT, _LARGEST = 1024 * MIB, 32 * MIB  # glibc takes no larger threshold for maps


def environment(threads: int, *search: Path) -> dict[str, str]:
    """Ours, with the thread count that every numerical library heeds, and our search path, `search` at its end."""
    folders = [os.path.abspath(entry) for entry in [*sys.path, *map(str, search)]]  # noqa: PTH100 - "" is the current folder
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": os.pathsep.join(folders)}


def keep_memory() -> bool:
    """Have this process keep up to 1 GiB of freed memory; False where the C library has no such setting.

    Blocks above 32 MiB are still mapped and given back one by one. Raises nothing.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
    return False
