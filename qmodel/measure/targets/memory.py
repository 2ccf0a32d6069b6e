"""Every engine's way of saying that memory ran out, turned into one exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qmodel.measure.targets.base import OutOfMemory

PHRASES = ("allocate memory", "out of memory", "bad_alloc", "bad allocation")
"""ONNX Runtime and torch's CPU allocator; CUDA; the C++ library."""


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Raise OutOfMemory in place of a MemoryError or of a RuntimeError that tells of one.

    >>> with out_of_memory():
    ...     raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    Traceback (most recent call last):
    qmodel.measure.targets.base.OutOfMemory: CUDA out of memory. Tried to allocate 20.00 GiB.
    """
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        if any(phrase in str(error).lower() for phrase in PHRASES):
            raise OutOfMemory(str(error)) from error
        raise
