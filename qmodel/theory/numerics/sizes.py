"""Expectations over sizes on panels that resolve every part of a law, from its narrowest component to its far tail.

Panels end at quantiles of each component of the law, a decade of probability apart, and at its atoms. So
expectations E[g(S)], and integrals of functions of the load below x, converge to rounding whether S is
exponential, a power law or a mixture of nearly constant times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.panels import NODES, Panels
from qmodel.workload import Distribution, Mixture, Scaled
from qmodel.workload.distribution import Shifted
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST = 17
"""Sizes below the quantile 10^-SMALLEST are in the first panel."""
FORGOTTEN = 1e-14
"""Share of the mean work that the largest sizes, past the last panel, may bring."""
MOST_DECADES = 300
WIDEST = 3.0
"""Ratio of the ends of a panel, at most."""


@dataclass(frozen=True)
class SizeGrid:
    """Sizes at which functions of size are known: Gauss nodes of all panels, then the atoms of the laws.

    `law` is that of a request of any class, `rate` their arrivals per second; `others` are laws whose expectations
    will be asked for too; `turns` are sizes where those functions bend.
    """

    rate: float
    law: Distribution
    others: tuple[Distribution, ...] = ()
    widest: float = WIDEST
    turns: tuple[float, ...] = ()
    order: int = NODES

    @cached_property
    def panels(self) -> Panels:
        """The panels."""
        laws = (self.law, *self.others)
        ends = {end for law in laws for part in components(law) for end in landmarks(part)}
        return Panels.through(ends | set(self.turns), self.widest, self.order)

    @property
    def nodes(self) -> Floats:
        """Gauss nodes."""
        return self.panels.nodes

    @cached_property
    def atoms(self) -> Floats:
        """Values of the point masses."""
        values = {value for law in (self.law, *self.others) for value, _ in law.atoms()}
        return np.array(sorted(value for value in values if value > 0))

    @cached_property
    def sizes(self) -> Floats:
        """Nodes and atoms."""
        return np.concatenate((self.nodes, self.atoms))

    @cached_property
    def load_upto(self) -> Floats:
        """Load of requests of at most each size, lambda E[S; S <= x]."""
        return self.rate * partial_moment(self.law, 1, self.sizes)

    @cached_property
    def load_below(self) -> Floats:
        """Load of smaller requests, lambda E[S; S < x]."""
        mass = dict(self.law.atoms())
        out = self.load_upto.copy()
        out[len(self.nodes) :] -= [self.rate * mass.get(float(value), 0.0) * value for value in self.atoms]
        return out

    def weights(self, law: Distribution) -> Floats:
        """Weights w with E[g(S)] = sum w g(sizes) for S of this law: a part of `law`, or one of `others`."""
        mass = dict(law.atoms())
        smooth = law.pdf(self.nodes) * self.panels.weights
        return np.concatenate((smooth, [mass.get(float(value), 0.0) for value in self.atoms]))

    def integral(self, values: Floats) -> Floats:
        """Integral from 0 to each size of a function given at the nodes, smooth inside panels."""
        at_nodes, at_edges = self.panels.integrals(values)
        places = np.searchsorted(self.panels.edges, self.atoms * (1 - 1e-13))
        return np.concatenate((at_nodes, at_edges[places]))


def components(law: Distribution) -> Iterator[Distribution]:
    """The laws that a mixture is made of, however deep, each scaled and shifted as in the whole."""
    for _, part in weighted_components(law):
        yield part


def weighted_components(law: Distribution) -> Iterator[tuple[float, Distribution]]:
    """As `components`, with their probabilities."""
    if isinstance(law, Mixture):
        for p, part in zip(law.probabilities, law.laws, strict=True):
            yield from ((p * q, inner) for q, inner in weighted_components(part) if p > 0)
    elif isinstance(law, Scaled):
        yield from ((q, part.scaled(law.factor)) for q, part in weighted_components(law.law))
    elif isinstance(law, Shifted):
        yield from ((q, part.shifted(law.offset)) for q, part in weighted_components(law.law))
    else:
        yield 1.0, law


def landmarks(law: Distribution, smallest: int = SMALLEST) -> tuple[float, ...]:
    """Where panels for a component end: its atoms, or its support and quantiles."""
    atoms = law.atoms()
    return tuple(value for value, _ in atoms) if atoms else _quantiles(law, smallest)


@lru_cache(maxsize=1024)
def _quantiles(law: Distribution, smallest: int) -> tuple[float, ...]:
    """The support and quantiles of a law without atoms: they belong to the law, whatever the rates."""
    low, high = law.support()
    ends = [low, high, *law.quantile(np.array([0.25, 0.5, 0.75])).tolist()]
    ends += law.quantile(10.0 ** -np.arange(smallest, 0.0, -1.0)).tolist()
    for decade in range(1, MOST_DECADES):
        end = float(law.upper_quantile(10.0**-decade))
        ends.append(end)
        left = 1.0 - float(partial_moment(law, 1, end)) / law.mean
        if end >= high or (left < FORGOTTEN and decade > 16):
            break
    return tuple(ends)
