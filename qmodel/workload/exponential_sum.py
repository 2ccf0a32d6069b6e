"""Transforms of many point masses: sum_j p_j exp(-s x_j) at many complex points s, in little memory.

Points in steps, s_k = s_0 + k h, as an inversion by Fourier series asks for them, are taken in rows of B:
exp(-s_(mB+i) x) = exp(-(s_0 + mBh) x) exp(-ihx), so that the whole is one product of two matrices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

BLOCK = 1 << 18
"""Exponentials at a time."""
EVEN = 1e-15
"""Largest departure from equal steps, relative to the farthest point."""


def exponential_sum(s: Complex, values: Floats, masses: Floats) -> Complex:
    """sum_j masses_j exp(-s values_j), for each s of a vector.

    >>> found = exponential_sum(np.arange(64) * (1 + 1j), np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    >>> bool(np.isclose(found[63], 0.5 + 0.5 * np.exp(-63 * (1 + 1j))))
    True
    """
    if len(s) > 2 and _is_even(s):
        return _stepwise(s, values, masses)
    out = np.empty_like(s)
    rows = max(1, BLOCK // len(values))
    for i in range(0, len(s), rows):
        out[i : i + rows] = np.exp(-np.multiply.outer(s[i : i + rows], values)) @ masses
    return out


def _is_even(s: Complex) -> bool:
    steps = s[0] + (s[-1] - s[0]) / (len(s) - 1) * np.arange(len(s))
    return bool(np.abs(s - steps).max() <= EVEN * np.abs(s).max())


def _stepwise(s: Complex, values: Floats, masses: Floats) -> Complex:
    step, width = (s[-1] - s[0]) / (len(s) - 1), math.isqrt(len(s) - 1) + 1
    firsts = s[0] + step * width * np.arange(math.ceil(len(s) / width))
    starts = np.exp(-np.multiply.outer(firsts, values)) * masses
    turns = np.exp(-np.multiply.outer(values, step * np.arange(width)))
    return np.asarray((starts @ turns).reshape(-1)[: len(s)])
