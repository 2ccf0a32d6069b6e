"""Several streams as one marked Markovian arrival process: who comes is marked, the chain is that of all.

The superposition of independent MAPs has the product of their states: D0 is the Kronecker sum of the D0, and
the arrivals of stream k are I x ... x D1_k x ... x I. Poisson arrivals are a MAP of one state; gamma gaps of scv
1/k are Erlang's, a MAP of k, and hyperexponential gaps one of two. Source: He & Neuts, *Stochastic Processes and
Their Applications* 74 (1998) 37-52.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.arrivals import ArrivalProcess, Renewal, RenewalGaps
from qmodel.workload.continuous import Hyperexponential
from qmodel.workload.markov_arrivals import MarkovArrivals, stationary_phases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

MOST_PHASES = 100
"""Erlang gaps of more phases than this are left to methods for any law of gaps."""


@dataclass(frozen=True)
class MarkedArrivals:
    """A marked MAP: `d0` the rates without arrivals, `marked[k]` those with an arrival of stream k (per second)."""

    d0: Matrix
    marked: tuple[Matrix, ...]

    @property
    def generator(self) -> Matrix:
        """Rates of the chain, with and without arrivals."""
        return np.asarray(self.d0 + sum(self.marked))

    @property
    def phases(self) -> Matrix:
        """Long-run share of time in each state."""
        return stationary_phases(self.generator)


def as_matrices(process: ArrivalProcess) -> tuple[Matrix, Matrix] | None:
    """(D0, D1) of a process that is a MAP, else None.

    >>> as_matrices(Renewal(rate=1.0, scv=0.5))[1].tolist()
    [[0.0, 0.0], [2.0, 0.0]]
    >>> as_matrices(Renewal(rate=1.0, scv=4.0)) is None
    True
    """
    if process.is_poisson:
        return np.array([[-process.rate]]), np.array([[process.rate]])
    if isinstance(process, MarkovArrivals):
        return process.matrices
    if isinstance(process, Renewal):
        phases = round(1.0 / process.scv)
        if phases <= MOST_PHASES and math.isclose(phases * process.scv, 1.0, rel_tol=1e-12):
            return erlang_gaps(process.rate, phases)
    if isinstance(process, RenewalGaps) and isinstance(process.gaps, Hyperexponential):
        return hyperexponential_gaps(process.gaps)
    return None


def hyperexponential_gaps(law: Hyperexponential) -> tuple[Matrix, Matrix]:
    """(D0, D1) of gaps that are exponential of one mean or another."""
    shares, means = (np.array(column) for column in zip(*law.phases, strict=True))
    return -np.diag(1.0 / means), np.outer(1.0 / means, shares)


def erlang_gaps(rate: float, phases: int) -> tuple[Matrix, Matrix]:
    """(D0, D1) of gaps that are sums of `phases` exponentials."""
    each = rate * phases
    d0, d1 = each * (np.eye(phases, k=1) - np.eye(phases)), np.zeros((phases, phases))
    d1[-1, 0] = each
    return d0, d1


def superposed(streams: Sequence[tuple[Matrix, Matrix]]) -> MarkedArrivals:
    """The streams, each as (D0, D1), as one marked process."""
    sizes = [len(d0) for d0, _ in streams]
    without = [_among(sizes, i, d0) for i, (d0, _) in enumerate(streams)]
    marked = tuple(_among(sizes, i, d1) for i, (_, d1) in enumerate(streams))
    return MarkedArrivals(sum(without[1:], start=without[0]), marked)


def _among(sizes: Sequence[int], place: int, matrix: Matrix) -> Matrix:
    """The matrix of stream `place`, the others standing still."""
    before, after = math.prod(sizes[:place]), math.prod(sizes[place + 1 :])
    return np.asarray(np.kron(np.kron(np.eye(before), matrix), np.eye(after)))
