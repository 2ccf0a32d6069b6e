"""E[S exp(-sS)] = -d/ds E[exp(-sS)], and both transforms kept: they do not depend on the rates of a question."""

from __future__ import annotations

from functools import lru_cache, singledispatch
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.exponentials import exponential
from qmodel.workload import Distribution, Lognormal, Mixture, Scaled
from qmodel.workload.discrete import Discrete
from qmodel.workload.distribution import Shifted
from qmodel.workload.exponential_sum import exponential_sum
from qmodel.workload.remembered import remembered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

STEP = 2e-3
"""Step of a difference quotient relative to |s|, or to 1/E[S] where that is less: with five points its error is
about STEP^4 / 30 = 5e-13, and rounding adds 1e-13 / STEP."""
MANY_ATOMS = 32
"""A law of more values is nearly smooth."""
AT_ONCE = 1 << 15
"""Exponentials at a time, which stay in the cache."""


@lru_cache(maxsize=64)
def arrays_of(law: Distribution) -> tuple[Floats, Floats]:
    """Values and masses of the point masses of a law."""
    table = np.array(law.atoms(), dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@remembered
def transform(s: Complex, law: Distribution) -> Complex:
    """E[exp(-sS)], kept.

    >>> from qmodel.workload import Exponential
    >>> complex(transform(np.array([1.0 + 0j]), Exponential(mean=1.0))[0])
    (0.5+0j)
    """
    return law.lst(s)


@remembered
def slope(s: Complex, law: Distribution) -> Complex:
    """E[S exp(-sS)], kept.

    >>> from qmodel.workload import Exponential
    >>> round(float(slope(np.array([1.0 + 0j]), Exponential(mean=1.0))[0].real), 10)
    0.25
    """
    return _slope(law, s)


def scattered(s: Complex, law: Distribution) -> Complex:
    """E[exp(-sS)] at points in no order."""
    values, masses = arrays_of(law)
    if len(values) <= MANY_ATOMS or masses.sum() < 1.0 - 1e-12:
        return law.lst(s)
    return sum_of_atoms(s, values, masses)


def sum_of_atoms(s: Complex, values: Floats, masses: Floats) -> Complex:
    """sum_j masses_j exp(-s values_j), at points in no order.

    >>> round(float(sum_of_atoms(np.array([1.0 + 0j]), np.array([2.0]), np.array([0.5]))[0].real), 9)
    0.067667642
    """
    out = np.empty_like(s)
    rows = max(1, AT_ONCE // len(values))
    for i in range(0, len(s), rows):
        out[i : i + rows] = exponential(-np.multiply.outer(s[i : i + rows], values)) @ masses
    return out


@singledispatch
def _slope(law: Distribution, s: Complex) -> Complex:
    """By a difference quotient of four points along the imaginary axis."""
    step = STEP * np.abs(s) / (1.0 + np.abs(s) * law.mean)
    near, far = (law.lst(s + 1j * k * step) - law.lst(s - 1j * k * step) for k in (1, 2))
    return np.asarray((8.0 * near - far) / (-12j * step))


@_slope.register(Mixture)
def _(law: Mixture, s: Complex) -> Complex:
    pairs = zip(law.probabilities, law.laws, strict=True)
    return np.asarray(sum(p * _slope(part, s) for p, part in pairs if p > 0))


@_slope.register(Scaled)
def _(law: Scaled, s: Complex) -> Complex:
    return law.factor * _slope(law.law, law.factor * s)


@_slope.register(Shifted)
def _(law: Shifted, s: Complex) -> Complex:
    turned = np.exp(-s * law.offset)
    return np.asarray(turned * (_slope(law.law, s) + law.offset * law.law.lst(s)))


@_slope.register(Lognormal)
def _(law: Lognormal, s: Complex) -> Complex:
    """The law weighted by size is lognormal too, (1 + scv) times as long."""
    return law.mean * law.lst(s * (1.0 + law.scv))


@_slope.register(Discrete)
def _(law: Discrete, s: Complex) -> Complex:
    values, masses = arrays_of(law)
    return exponential_sum(s, values, values * masses)
