"""Point masses of a time that interruptions prolong: where a response-time law jumps.

Work w meets Poisson interruptions, each served at once. The whole ends at w + x when the interrupting work
that arrived by then is x and never before: by the ballot theorem (Takacs 1962; Kendall 1957), for m_i
interruptions of length d_i arriving at rate lambda_i (all interruptions: lambda), t = w + sum m_i d_i,

    P(ends at t with these m_i) = w/t * exp(-lambda t) * prod (lambda_i t)^m_i / m_i!.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qmodel.scenario import ServedClass

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEGLIGIBLE = 1e-7
MOST = 256
"""Lighter point masses, and all but the MOST heaviest, are left to the inversion."""

Atoms = list[tuple[float, float]]


def interrupted_atoms(atoms: Sequence[tuple[float, float]], weight: float, higher: Sequence[ServedClass]) -> Atoms:
    """(time, mass) of `weight` times the law of a work with these atoms, prolonged by the higher classes.

    >>> interrupted_atoms([(1.0, 1.0)], 0.5, [])
    [(1.0, 0.5)]
    """
    if not atoms:
        return []
    total = math.fsum(served.rate for served in higher)
    rates: dict[float, float] = {}
    for served in higher:
        for length, p in served.size.atoms():
            rates[length] = rates.get(length, 0.0) + served.rate * p
    streams = [(length, rate) for length, rate in rates.items() if length > 0][:MOST]
    return prolonged_atoms(atoms, weight, total, streams)


def prolonged_atoms(
    atoms: Sequence[tuple[float, float]], weight: float, total: float, streams: Sequence[tuple[float, float]]
) -> Atoms:
    """As `interrupted_atoms`, for interruptions at rate `total`, those of (length, rate) among them.

    >>> [(t, round(p, 6)) for t, p in prolonged_atoms([(1.0, 1.0)], 1.0, 0.1, [(2.0, 0.1)])][:2]
    [(1.0, 0.904837), (3.0, 0.074082)]
    """
    found: Atoms = []
    for work, mass in sorted(atoms, key=lambda atom: -atom[1])[:MOST]:
        if work > 0:
            found += _one_work(work, weight * mass, total, streams)
    heaviest = sorted(found, key=lambda atom: -atom[1])[:MOST]
    return sorted(atom for atom in heaviest if atom[1] > NEGLIGIBLE)


def _one_work(work: float, mass: float, total: float, streams: Sequence[tuple[float, float]]) -> Atoms:
    """Level by level in the number of interruptions, the heaviest of each, until a level holds next to nothing."""
    lengths, rates = (np.array([stream[i] for stream in streams]) for i in (0, 1))
    counts, log_weight = np.zeros((1, len(streams)), dtype=int), np.zeros(1)
    found: Atoms = []
    heaviest = 0.0
    for level in range(MOST):
        times = work + counts @ lengths
        log_mass = math.log(mass * work) + log_weight + (level - 1) * np.log(times) - total * times
        found += zip(times.tolist(), np.exp(log_mass).tolist(), strict=True)
        if not streams or math.exp(log_mass.max()) < min(NEGLIGIBLE, heaviest):
            break
        heaviest = max(heaviest, math.exp(log_mass.max()))
        kept = np.argsort(-log_mass, kind="stable")[:MOST]
        counts, log_weight = _one_more(counts[kept], log_weight[kept], rates)
    return found


def _one_more(
    counts: NDArray[np.int_], log_weight: NDArray[np.float64], rates: NDArray[np.float64]
) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Each way of one interruption more, never of a kind before the last there is, so that none comes twice;
    the weight is the product of rate^m / m! over the kinds."""
    kinds = np.arange(len(rates))
    last = np.where(counts > 0, kinds, 0).max(axis=1)
    rows, added = np.nonzero(kinds >= last[:, None])
    more = counts[rows]
    more[np.arange(len(rows)), added] += 1
    return more, log_weight[rows] + np.log(rates[added] / more[np.arange(len(rows)), added])


def cdf_of(atoms: Atoms) -> Callable[[float], float]:
    """Mass of the atoms up to t."""
    places = np.array([time for time, _ in atoms])
    below = np.concatenate(([0.0], np.cumsum([mass for _, mass in atoms])))
    return lambda t: float(below[np.searchsorted(places, t * (1 + 1e-12), side="right")])
