"""Arrivals driven by a Markov chain: the Markov-modulated Poisson process and the Markovian arrival process.

A MAP has states 0..m-1. D0[i, j] (i != j) is the rate of moving from i to j without an arrival, D1[i, j] with
one (i = j allowed); the diagonal of D0 makes the rows of D = D0 + D1 sum to 0. In an MMPP the chain moves by its
generator and requests come at rate r_i while it is in state i: D1 = diag(r), D0 = generator - D1. With pi D = 0,
pi 1 = 1, the arrival rate is pi D1 1, and phi = pi D1 / rate the law of the state after an arrival:

    E[X^k] = k! phi (-D0)^-k 1,   corr(X_0, X_k) = (rate phi M P^k M 1 / m_1 - 1) m_1^2 / Var X,
    M = (-D0)^-1, P = M D1,   lim Var N(t) / E[N(t)] = 1 - 2 rate + (2 / rate) pi D1 (1 pi - D)^-1 D1 1.

Sources: Neuts, *J. Appl. Prob.* 16 (1979) 764-779; Fischer & Meier-Hellstern, *Performance Evaluation* 18 (1993)
149-171 (MMPP); Lucantoni, *Stochastic Models* 7 (1991) 1-46.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.errors import InputError, short
from qmodel.workload.arrivals import ArrivalProcess
from qmodel.workload.distribution import positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

Rows = tuple[tuple[float, ...], ...]
RELATIVE = 1e-9
"""A row sum may miss 0 by this share of the largest rate, as rounded decimals do."""
MOST_STATES = 200


class MarkovArrivals(ArrivalProcess):
    """Arrivals whose rate and jumps follow a Markov chain, seen from an arbitrary moment."""

    @property
    @abstractmethod
    def matrices(self) -> tuple[Matrix, Matrix]:
        """(D0, D1), per second."""

    @cached_property
    def phases(self) -> Matrix:
        """Long-run share of time in each state."""
        d0, d1 = self.matrices
        return stationary_phases(np.asarray(d0 + d1))

    @cached_property
    def phases_after_arrival(self) -> Matrix:
        """Law of the state just after an arrival."""
        return np.asarray(self.phases @ self.matrices[1] / self.rate)

    @property
    def is_poisson(self) -> bool:
        """Whether requests come at the same rate in all states, so that the chain is not felt."""
        rates = self.matrices[1].sum(axis=1)
        return bool(np.ptp(rates) <= RELATIVE * rates.max())

    def gap_moments(self, most: int) -> list[float]:
        """E[X], ..., E[X^most] of the gap X between arrivals (s, s^2, ...).

        >>> Mmpp(rates=(2.0,), generator=((0.0,),)).gap_moments(2)
        [0.5, 0.5]
        """
        row, moments = self.phases_after_arrival, []
        for k in range(1, most + 1):
            row = np.asarray(k * np.linalg.solve(-self.matrices[0].T, row))
            moments.append(float(row.sum()))
        return moments

    @property
    def scv(self) -> float:
        """Squared coefficient of variation of the gaps."""
        first, second = self.gap_moments(2)
        return second / first**2 - 1.0

    def lag_correlation(self, lag: int) -> float:
        """Correlation of two gaps that are `lag` arrivals apart; 1 at lag 0.

        >>> round(Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.1, -0.1))).lag_correlation(1), 6)
        0.254652
        """
        if lag == 0:
            return 1.0
        d0, d1 = self.matrices
        first, second = self.gap_moments(2)
        row = np.linalg.solve(-d0.T, self.phases_after_arrival)
        for _ in range(lag):
            row = np.linalg.solve(-d0.T, row) @ d1
        joint = float(np.linalg.solve(-d0.T, row).sum())
        return (joint - first**2) / (second - first**2)

    def index_of_dispersion(self, horizon_s: float = math.inf) -> float:
        """Var N(t) / E[N(t)] of the count in a horizon; its limit by default. 1 for Poisson arrivals.

        >>> round(Mmpp((3.0, 0.5), ((-0.1, 0.1), (0.1, -0.1))).index_of_dispersion(), 9)
        9.928571429
        """
        from scipy.linalg import expm

        d0, d1 = self.matrices
        generator, pi, rates = d0 + d1, self.phases, d1.sum(axis=1)
        scale = np.abs(d0).max()  # any positive number: it keeps the matrix well-conditioned
        inverse = np.linalg.inv(scale * np.outer(np.ones(len(pi)), pi) - generator)
        limit = float(1.0 - 2.0 * self.rate / scale + 2.0 / self.rate * (pi @ d1 @ inverse @ rates))
        if math.isinf(horizon_s):
            return limit
        ended = np.eye(len(pi)) - expm(generator * horizon_s)
        return limit - 2.0 / (self.rate * horizon_s) * float(pi @ d1 @ ended @ inverse @ inverse @ rates)

    def log_likelihood(self, gaps_s: Sequence[float] | Matrix) -> float:
        """Log density of successive gaps (s), seen from an arrival: log of phi prod_i exp(D0 x_i) D1 1.

        By the forward recursion, scaled at every gap. Minus infinity for gaps that cannot be.

        >>> round(Mmpp(rates=(2.0,), generator=((0.0,),)).log_likelihood([1.0, 0.5]), 9)
        -1.613705639
        """
        from scipy.linalg import expm

        d0, d1 = self.matrices
        row, log_density = self.phases_after_arrival, 0.0
        gaps = np.asarray(gaps_s, dtype=float)
        for block in np.array_split(gaps, max(1, gaps.size // 4096)):
            for step in expm(d0 * block[:, None, None]) @ d1:
                row = row @ step
                total = row.sum()
                if not total > 0:
                    return -math.inf
                log_density += math.log(total)
                row = row / total
        return log_density

    def times(self, rng: np.random.Generator, horizon_s: float) -> NDArray[np.float64]:
        from qmodel.workload.markov_path import arrival_times

        return arrival_times(*self.matrices, self.phases, rng, horizon_s)


@dataclass(frozen=True)
class Mmpp(MarkovArrivals):
    """Markov-modulated Poisson process: `rates[i]` requests/s in state i of a chain with this `generator` (per s).

    >>> Mmpp(rates=(3.0, 0.5), generator=((-0.1, 0.1), (0.1, -0.1))).rate
    1.75
    """

    rates: tuple[float, ...]
    generator: Rows
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        rates = square("mmpp, rates", [self.rates])[0]
        generator = square("mmpp, generator", self.generator, len(rates))
        if (rates < 0).any() or not rates.any():
            raise InputError("mmpp, rates", "must be >= 0 and not all 0", "give requests/s in each state")
        _check("mmpp, generator", "mmpp, generator", generator - np.diag(rates), np.diag(rates))
        object.__setattr__(self, "rates", tuple(rates.tolist()))
        object.__setattr__(self, "generator", rows_of(generator))
        object.__setattr__(self, "rate", float(self.phases @ rates))

    @cached_property
    def matrices(self) -> tuple[Matrix, Matrix]:
        arrivals = np.diag(self.rates)
        return balanced(np.array(self.generator) - arrivals, arrivals), arrivals

    def at_rate(self, rate: float) -> Mmpp:
        positive("mmpp", rate=rate)
        factor = rate / self.rate
        return Mmpp(tuple(factor * r for r in self.rates), rows_of(factor * np.array(self.generator)))


@dataclass(frozen=True)
class Map(MarkovArrivals):
    """Markovian arrival process: `d0` the rates without, `d1` those with an arrival (per second).

    >>> Map(d0=((-2.0, 2.0), (0.0, -2.0)), d1=((0.0, 0.0), (2.0, 0.0))).scv  # Erlang gaps of two phases
    0.5
    """

    d0: Rows
    d1: Rows
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        d0 = square("map, d0", self.d0, len(self.d0))
        d1 = square("map, d1", self.d1, len(self.d0))
        if (d1 < 0).any() or not d1.any():
            raise InputError("map, d1", "must be >= 0 and not all 0", "give the rates of moves with an arrival")
        _check("map, d0", "map, d0 and d1", d0, d1)
        object.__setattr__(self, "d0", rows_of(d0))
        object.__setattr__(self, "d1", rows_of(d1))
        object.__setattr__(self, "rate", float(self.phases @ d1.sum(axis=1)))

    @cached_property
    def matrices(self) -> tuple[Matrix, Matrix]:
        arrivals = np.array(self.d1)
        return balanced(np.array(self.d0), arrivals), arrivals

    def at_rate(self, rate: float) -> Map:
        positive("map", rate=rate)
        factor = rate / self.rate
        return Map(rows_of(factor * np.array(self.d0)), rows_of(factor * np.array(self.d1)))


def stationary_phases(generator: Matrix) -> Matrix:
    """pi with pi D = 0, pi 1 = 1, by the elimination of Grassmann, Taksar & Heyman: no digit is lost.

    >>> stationary_phases(np.array([[-1.0, 1.0], [3.0, -3.0]])).tolist()
    [0.75, 0.25]
    """
    p = generator.copy()
    n = len(p)
    for k in range(n - 1, 0, -1):
        p[:k, k] /= p[k, :k].sum()
        p[:k, :k] += np.outer(p[:k, k], p[k, :k])
    law = np.ones(n)
    for k in range(1, n):
        law[k] = law[:k] @ p[:k, k]
    return np.asarray(law / law.sum())


def balanced(d0: Matrix, d1: Matrix) -> Matrix:
    """D0 with the diagonal that makes the rows of D0 + D1 sum to 0 to the last digit."""
    off = d0 - np.diag(np.diag(d0))
    return np.asarray(off - np.diag(off.sum(axis=1) + d1.sum(axis=1)))


def rows_of(matrix: Matrix) -> Rows:
    """The matrix as tuples."""
    return tuple(tuple(row) for row in matrix.tolist())


def square(place: str, rows: Sequence[Sequence[float]], size: int | None = None) -> Matrix:
    """The rows as a finite matrix, `size` by `size` where given. Raises InputError at `place`."""
    try:
        matrix = np.array([[float(entry) for entry in row] for row in rows])
    except (TypeError, ValueError) as error:
        raise InputError(place, f"{short(rows)} is no table of numbers", "give rows of equal length") from error
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise InputError(place, "is empty or holds no finite numbers", "give finite rates per second")
    if size is not None and matrix.shape != (size, size):
        raise InputError(place, f"is not {size} by {size}", "give one row and one column a state")
    if max(matrix.shape) > MOST_STATES:
        raise InputError(place, f"has more than {MOST_STATES} states", "lump some of them")
    return matrix


def _check(place: str, both: str, d0: Matrix, d1: Matrix) -> None:
    """Refuse what is no irreducible chain."""
    off = d0 - np.diag(np.diag(d0))
    if (off < 0).any():
        raise InputError(place, "has a negative rate off its diagonal", "give rates >= 0 there")
    if np.abs((d0 + d1).sum(axis=1)).max() > RELATIVE * max(np.abs(d0).max(), np.abs(d1).max()):
        raise InputError(both, "has a row that does not sum to 0", "the diagonal is minus the row's other rates")
    steps = (off + d1 > 0).astype(float) + np.eye(len(d0))
    for _ in range(max(1, len(d0).bit_length())):
        steps = np.minimum(steps @ steps, 1.0)
    if not (steps > 0).all():
        raise InputError(both, "has a state that is never entered or never left", "connect all states")
