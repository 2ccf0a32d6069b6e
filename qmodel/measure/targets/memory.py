"""Every engine's way of saying that memory ran out, turned into one exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qmodel.measure.targets.base import OutOfMemory

PHRASES = ("allocate memory", "out of memory", "bad_alloc", "bad allocation")
"""ONNX Runtime and torch's CPU allocator; CUDA; the C++ library."""


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Raise OutOfMemory in place of a MemoryError or of a RuntimeError that tells of one, or came of one.

    (A CUDA graph whose capture ran out of memory ends with an error of its own on top.)

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
        told = next((text for text in _told(error) if any(phrase in text.lower() for phrase in PHRASES)), None)
        if told is None:
            raise
        raise OutOfMemory(told) from error


def _told(error: BaseException) -> Iterator[str]:
    """What an error says, and those that it came of."""
    found: BaseException | None = error
    while found is not None:
        yield str(found)
        found = found.__cause__ or found.__context__
