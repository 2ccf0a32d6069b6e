"""A law as a sample of cells, each with its mean: for ranks that know sizes, which are looked at one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from qmodel.theory.numerics.sizes import weighted_components
from qmodel.workload import Distribution
from qmodel.workload.partial import partial_moment


@dataclass(frozen=True)
class Sample:
    """Cells between `edges`, each with its mean size, and then the atoms."""

    edges: np.ndarray
    sizes: list[float]
    spread: list[bool]

    def masses(self, law: Distribution) -> list[float]:
        """Probability of each cell, without its atoms, and of each atom."""
        mass = dict(law.atoms())
        atoms = [size for size, spread in zip(self.sizes, self.spread, strict=True) if not spread]
        inside = np.diff(partial_moment(law, 0, self.edges))
        for atom in atoms:
            inside[np.searchsorted(self.edges, atom) - 1] -= mass.get(atom, 0.0)
        return [max(float(p), 0.0) for p in inside] + [mass.get(atom, 0.0) for atom in atoms]


def sample_of(
    law: Distribution, count: int, tail: tuple[float, float], rate: float = 0.0, steps: int = 0
) -> Sample:
    """Cells of about equal probability in each component, smaller ones in the tail; none reaches over an atom.

    With `rate`, arrivals per second, ends are added so that the capacity that smaller sizes leave free falls by one
    factor from each to the next, in so many `steps`: next to saturation everything depends on it.
    """
    ratio, last = tail
    mass = {value: p for value, p in law.atoms() if p > 0 and value > 0}
    atoms, ends = sorted(mass), {0.0, *mass}
    for _, part in weighted_components(law):
        if not part.atoms():
            far = ratio ** np.arange(1, int(math.log(last * count) / math.log(ratio))) / count
            tails = np.concatenate((np.linspace(1.0, 1.0 / count, count)[1:], far))
            ends |= set(np.asarray(part.upper_quantile(tails)).tolist())
    if steps > 2:
        ends |= set(_by_free_capacity(law, rate, steps, last))
    edges = np.array([*sorted(ends), 1e300])
    cells = len(edges) - 1
    sample = Sample(edges, [*edges[1:].tolist(), *atoms], [True] * cells + [False] * len(atoms))
    masses = np.array(sample.masses(law)[:cells])
    firsts = np.diff(partial_moment(law, 1, edges))
    for atom in atoms:
        firsts[np.searchsorted(edges, atom) - 1] -= mass[atom] * atom
    middle = 0.5 * (edges[:-1] + np.minimum(edges[1:], edges[-2]))
    means = np.divide(firsts, masses, out=middle, where=masses > 1e-14)
    return replace(sample, sizes=[*means.tolist(), *atoms])


def _by_free_capacity(law: Distribution, rate: float, steps: int, last: float) -> list[float]:
    """Sizes at which 1 - rate E[S; S <= x] has fallen in `steps` equal ratios."""
    tails = np.concatenate((np.linspace(1.0, 0.01, 200)[1:], np.geomspace(0.01, last, 400)))
    parts = [part for _, part in weighted_components(law) if not part.atoms()]
    sizes = np.unique(np.concatenate([np.asarray(part.upper_quantile(tails)) for part in parts] or [np.empty(0)]))
    if not sizes.size:
        return []
    taken = -np.log1p(-rate * partial_moment(law, 1, sizes))
    found: list[float] = np.interp(np.linspace(0.0, taken[-1], steps)[1:-1], taken, sizes).tolist()
    return found
