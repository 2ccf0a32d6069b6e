"""Point masses of a time that interruptions prolong: where a response-time law jumps.

Work w meets Poisson interruptions, each served at once. The whole ends at w + x when the interrupting work
that arrived by then is x and never before: by the ballot theorem (Takacs 1962; Kendall 1957), for m_i
interruptions of length d_i arriving at rate lambda_i (all interruptions: lambda), t = w + sum m_i d_i,

    P(ends at t with these m_i) = w/t * exp(-lambda t) * prod (lambda_i t)^m_i / m_i!.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from qmodel.scenario import ServedClass

NEGLIGIBLE = 1e-7
MOST = 256
"""Lighter point masses, and all but the MOST heaviest, are left to the inversion."""

Atoms = list[tuple[float, float]]


def interrupted_atoms(atoms: Sequence[tuple[float, float]], weight: float, higher: Sequence[ServedClass]) -> Atoms:
    """(time, mass) of `weight` times the law of a work with these atoms, prolonged by the higher classes.

    >>> interrupted_atoms([(1.0, 1.0)], 0.5, [])
    [(1.0, 0.5)]
    """
    total = math.fsum(served.rate for served in higher)
    streams = [(d, served.rate * p) for served in higher for d, p in served.size.atoms() if d > 0][:MOST]
    found: Atoms = []
    for work, mass in sorted(atoms, key=lambda atom: -atom[1])[:MOST]:
        if work > 0:
            found += _one_work(work, weight * mass, total, streams)
    heaviest = sorted(found, key=lambda atom: -atom[1])[:MOST]
    return sorted(atom for atom in heaviest if atom[1] > NEGLIGIBLE)


def _one_work(work: float, mass: float, total: float, streams: Sequence[tuple[float, float]]) -> Atoms:
    """Level by level in the number of interruptions, until a level holds next to nothing."""
    found: Atoms = []
    level = [(0,) * len(streams)]
    while level and len(found) < MOST * MOST:
        here = [_ending(work, counts, total, streams) for counts in level]
        found += [(time, mass * p) for time, p in here]
        if mass * math.fsum(p for _, p in here) < NEGLIGIBLE:
            break
        level = [more for counts in level for more in _one_more(counts)]
    return found


def _ending(
    work: float, counts: tuple[int, ...], total: float, streams: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Time and probability of an end after these many interruptions of each length."""
    time = work + math.fsum(m * d for m, (d, _) in zip(counts, streams, strict=True))
    log_p = math.log(work / time) - total * time
    for m, (_, rate) in zip(counts, streams, strict=True):
        if m:
            log_p += m * math.log(rate * time) - math.lgamma(m + 1)
    return time, math.exp(log_p)


def _one_more(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Each way of one interruption more, never before the last kind there is, so that none comes twice."""
    last = max((i for i, m in enumerate(counts) if m), default=0)
    return [(*counts[:i], counts[i] + 1, *counts[i + 1 :]) for i in range(last, len(counts))]


def cdf_of(atoms: Atoms) -> Callable[[float], float]:
    """Mass of the atoms up to t."""
    places = np.array([time for time, _ in atoms])
    below = np.concatenate(([0.0], np.cumsum([mass for _, mass in atoms])))
    return lambda t: float(below[np.searchsorted(places, t * (1 + 1e-12), side="right")])
