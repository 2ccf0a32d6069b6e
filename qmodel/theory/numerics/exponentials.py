"""exp(z) of arrays of complex numbers, several times as fast as numpy's own.

exp(x + iy) = exp(x) exp(iy): the first factor is quick; for the second, y is a multiple of 2 pi / PARTS, whose turn
is looked up, plus a rest below 0.0062 in size, whose cosine and sine are three terms of their series.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[Any]

PARTS = 512
HIGH = math.ldexp(round(math.ldexp(2.0 * math.pi / PARTS, 38)), -38)
"""2 pi / PARTS to 32 bits, so that whole multiples below 2^21 are exact; LOW is what is left
of it, with what the number pi lacks itself, sin(pi)."""
LOW = 2.0 * math.pi / PARTS - HIGH + 2.0 * math.sin(math.pi) / PARTS
FARTHEST = 2.0**21 * HIGH
"""Imaginary parts beyond this are left to numpy."""
BLOCK = 4096
"""Numbers at a time: all that is made of them stays in the cache."""
_TURNS = np.exp(2j * np.pi * np.arange(PARTS) / PARTS)


def exponential(z: Complex) -> Complex:
    """exp(z), elementwise, to about 1e-15 of its size and the rounding of z.

    >>> z = np.array([1.0 + 1e4j, -3.0 - 0.1j])
    >>> bool((abs(exponential(z) / np.exp(z) - 1) < 2e-15).all())
    True
    """
    flat = np.ascontiguousarray(z, dtype=complex).reshape(-1)
    if flat.size and np.abs(flat.imag).max() > FARTHEST:
        return np.asarray(np.exp(z))
    out = np.empty(flat.shape, dtype=complex)
    for start in range(0, flat.size, BLOCK):
        _fill(out[start : start + BLOCK], flat[start : start + BLOCK])
    return out.reshape(np.shape(z))


def _fill(turn: Complex, z: Complex) -> None:
    """Puts exp(z) into `turn`."""
    parts = z.imag * (1.0 / (HIGH + LOW))
    np.rint(parts, out=parts)
    rest = z.imag - parts * HIGH
    rest -= parts * LOW
    squared = rest * rest
    size = np.exp(z.real)
    cosine = squared * (1.0 / 24.0)
    cosine -= 0.5
    cosine *= squared
    cosine += 1.0
    squared *= squared * (1.0 / 120.0) - (1.0 / 6.0)
    squared += 1.0
    rest *= squared
    turn.real = cosine
    turn.imag = rest
    turn *= _TURNS[parts.astype(np.int64) & (PARTS - 1)]
    turn *= size


def powers(z: Complex, count: int) -> Complex:
    """1, z, z^2, ..., z^(count - 1) of each z, one row a z.

    >>> powers(np.array([2.0 + 0j]), 4).real.tolist()
    [[1.0, 2.0, 4.0, 8.0]]
    """
    out = np.empty((len(z), count), dtype=complex)
    out[:, 0] = 1.0
    known, factor = 1, z[:, None]
    while known < count:
        more = min(known, count - known)
        np.multiply(out[:, :more], factor, out=out[:, known : known + more])
        known, factor = known + more, factor * factor
    return out
