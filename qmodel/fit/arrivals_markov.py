"""Markovian arrival processes fitted to gaps by expectation maximisation.

For a MAP (D0, D1) and gaps x_n, the expected jumps with an arrival, jumps without and time in each state follow
from forward and backward recursions; the new rates are jumps over time (Rydén, *Comput. Stat. Data Anal.* 21 (1996)
431-447 for the MMPP; Buchholz, *TOOLS* 2003 for the MAP). Rates that are 0 stay 0, so an MMPP stays one. Gaps are
put on a logarithmic grid of 0.5 % (each level stands for the mean of its gaps), so that exponentials are needed for
a few thousand lengths only, whatever the number of gaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload.markov_arrivals import Map, MarkovArrivals, Mmpp, balanced, rows_of, stationary_phases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH = 0.005
"""Relative width of a level of the grid of gaps."""
SHORTEST = 1e-6
"""Gaps below this share of the mean are one level."""
STARTS = (3, 10, 40, 160, 640)
"""Arrivals over which the local rate is averaged for a starting point."""
START_ROUNDS, ROUNDS = 12, 60
ENOUGH = 1e-6
"""Rounds end when the log-likelihood of a gap grows by less than this."""
TURNS = (0.1, 0.5, 0.9)
"""Probabilities of a turn at an arrival, for starting points of a MAP."""
START_GAPS = 20_000
LEAST_RATE = 1e-12
"""Rates below this share of the largest are taken as it, so that every state can be left."""


@dataclass(frozen=True)
class Levels:
    """Gaps on a grid: the length of each level, the level of each gap, and where blocks end."""

    lengths: Floats
    index: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of gaps."""
        return int(self.index.size)


def levels_of(blocks: Sequence[Floats], width: float = WIDTH) -> Levels:
    """Gaps of each block on a logarithmic grid.

    >>> levels = levels_of([np.array([1.0, 2.0]), np.array([1.001])])
    >>> levels.lengths.size, levels.ends.tolist()
    (2, [2, 3])
    """
    gaps = np.concatenate(blocks)
    least = SHORTEST * float(gaps.mean())
    raw = np.floor(np.log(np.maximum(gaps, least) / least) / width).astype(np.int64)
    used, index = np.unique(raw, return_inverse=True)
    sums = np.bincount(index, weights=gaps, minlength=used.size)
    lengths = sums / np.bincount(index, minlength=used.size)
    return Levels(lengths, index.astype(np.int64), np.cumsum([block.size for block in blocks]).astype(np.int64))


@dataclass(frozen=True)
class _Spectrum:
    """D0 = V diag(values) V^-1; exponentials of it, scaled by exp(-top x) so that none vanishes."""

    values: NDArray[np.complex128]
    right: NDArray[np.complex128]
    left: NDArray[np.complex128]
    top: float

    @classmethod
    def of(cls, d0: Floats) -> _Spectrum:
        values, right = np.linalg.eig(d0)
        if np.linalg.cond(right) > 1e9:  # equal eigenvalues: a nearby matrix has none
            nudge = 1e-7 * np.arange(len(d0)) * np.abs(np.diag(d0))
            values, right = np.linalg.eig(d0 + np.diag(nudge))
        values = values.astype(complex)
        return cls(values, right.astype(complex), np.linalg.inv(right).astype(complex), float(values.real.max()))

    def steps(self, lengths: Floats) -> Floats:
        """exp((D0 - top) x) of each length, shape (levels, states, states)."""
        powers = np.exp(np.outer(lengths, self.values - self.top))
        found = np.einsum("ik,gk,kj->gij", self.right, powers, self.left, optimize=True)
        return np.maximum(np.ascontiguousarray(found.real), 0.0)

    def integral(self, lengths: Floats, inner: Floats) -> Floats:
        """Sum over levels of the integral over s in (0, x) of exp(D0 (x - s)) M exp(D0 s), scaled as the steps."""
        turned = np.einsum("ik,gkl,lj->gij", self.left, inner.astype(complex), self.right, optimize=True)
        shifted = self.values - self.top
        low = np.where(shifted.real[:, None] < shifted.real[None, :], shifted[:, None], shifted[None, :])
        high = np.where(shifted.real[:, None] < shifted.real[None, :], shifted[None, :], shifted[:, None])
        z = np.multiply.outer(lengths, low - high)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(np.abs(z) < 1e-9, 1.0 + 0.5 * z, np.expm1(z) / np.where(z == 0, 1.0, z))
        weights = lengths[:, None, None] * np.exp(np.multiply.outer(lengths, high)) * ratio
        total = (turned * weights).sum(axis=0)
        return np.asarray((self.right @ total @ self.left).real)


def log_likelihood(process: MarkovArrivals, levels: Levels) -> float:
    """Log density of the gaps, each block seen from an arrival; on the grid."""
    d0, d1 = (np.ascontiguousarray(matrix) for matrix in process.matrices)
    return _forward(d0, d1, levels)[0]


def _start(d0: Floats, d1: Floats) -> Floats:
    pi = stationary_phases(d0 + d1)
    return np.asarray(pi @ d1 / (pi @ d1.sum(axis=1)))


def _forward(d0: Floats, d1: Floats, levels: Levels) -> tuple[float, Floats, Floats, _Spectrum]:
    from qmodel.fit.arrivals_recursion import forward

    spectrum = _Spectrum.of(d0)
    steps = spectrum.steps(levels.lengths)
    states = np.empty((levels.size, len(d0)))
    found = forward(levels.index, levels.ends, steps, d1, _start(d0, d1), states)
    return found + spectrum.top * float(levels.lengths[levels.index].sum()), steps, states, spectrum


def _round(d0: Floats, d1: Floats, levels: Levels) -> tuple[float, Floats, Floats]:
    """Log-likelihood of (D0, D1), and the next pair."""
    from qmodel.fit.arrivals_recursion import backward

    value, steps, states, spectrum = _forward(d0, d1, levels)
    if not math.isfinite(value):
        return value, d0, d1
    moves = np.zeros_like(d1)
    inner = np.zeros((levels.lengths.size, *d1.shape))
    backward(levels.index, levels.ends, steps, d1, states, moves, inner)
    spent = spectrum.integral(levels.lengths, inner)
    time = np.maximum(np.diag(spent), 1e-300)
    silent = np.maximum(spent.T, 0.0) * (d0 - np.diag(np.diag(d0)))
    new0, new1 = silent / time[:, None], moves / time[:, None]
    least = LEAST_RATE * max(float(new0.max()), float(new1.max()))
    new0 = np.where((d0 > 0) & ~np.eye(len(d0), dtype=bool), np.maximum(new0, least), 0.0)
    return value, balanced(new0, new1), np.where(d1 > 0, new1, 0.0)


def maximise(d0: Floats, d1: Floats, levels: Levels, rounds: int = ROUNDS) -> tuple[float, Floats, Floats]:
    """(log-likelihood, D0, D1) after so many rounds of expectation maximisation, or when they hardly gain."""
    best = (-math.inf, d0, d1)
    for _ in range(rounds):
        value, new0, new1 = _round(d0, d1, levels)
        if not (math.isfinite(value) and np.isfinite(new0).all() and np.isfinite(new1).all()):
            break
        gained = value - best[0]
        best = (value, d0, d1) if value > best[0] else best
        if gained < ENOUGH * levels.size:
            break
        d0, d1 = new0, new1
    return best


def fit_mmpp(blocks: Sequence[Floats], states: int, rounds: int = ROUNDS) -> Mmpp | None:
    """The likeliest MMPP of so many states: from starting points at several time scales, the best one followed.

    None where no start leads anywhere (all gaps equal).
    """
    few, levels = levels_of(_some(blocks, START_GAPS), 4 * WIDTH), levels_of(blocks)
    starts = [start for scale in STARTS if (start := starting_point(blocks, states, scale)) is not None]
    tried = [maximise(*start, few, START_ROUNDS) for start in starts]
    tried = [one for one in tried if math.isfinite(one[0])]
    if not tried:
        return None
    _, d0, d1 = max(tried, key=lambda one: one[0])
    _, d0, d1 = maximise(d0, d1, levels, rounds)
    return Mmpp(tuple(np.diag(d1).tolist()), rows_of(_no_arrival(d0, d1)))


def of_matrices(d0: Floats, d1: Floats, like: MarkovArrivals) -> MarkovArrivals:
    """The process of (D0, D1), of the kind of `like`."""
    if isinstance(like, Mmpp):
        return Mmpp(tuple(np.diag(d1).tolist()), rows_of(_no_arrival(d0, d1)))
    return Map(rows_of(balanced(d0, d1)), rows_of(d1))


def _no_arrival(d0: Floats, d1: Floats) -> Floats:
    """The generator of the chain: D0 off the diagonal, rows summing to 0."""
    off = d0 - np.diag(np.diag(d0))
    return np.asarray(off - np.diag(off.sum(axis=1)))


def fit_map2(blocks: Sequence[Floats], near: Mmpp, rounds: int = ROUNDS) -> Map:
    """The likeliest MAP of two states, from the MMPP and from a renewal process nearby."""
    few, levels = levels_of(_some(blocks, START_GAPS), 4 * WIDTH), levels_of(blocks)
    d0, d1 = near.matrices
    rates = d1.sum(axis=1)
    mixed = [(1.0 - share) * d1 + share * np.outer(rates, near.phases_after_arrival) for share in (0.05, 0.5, 0.95)]
    starts = [(balanced(d0, one), one) for one in mixed] + [_turning(blocks, share) for share in TURNS]
    tried = [maximise(*start, few, START_ROUNDS) for start in starts]
    _, d0, d1 = max(tried, key=lambda one: one[0])
    _, d0, d1 = maximise(d0, d1, levels, rounds)
    return Map(rows_of(balanced(d0, d1)), rows_of(d1))


def _turning(blocks: Sequence[Floats], share: float) -> tuple[Floats, Floats]:
    """Short gaps and long ones, the kind changing at an arrival with this probability."""
    gaps = np.concatenate(blocks)
    short = gaps[gaps <= np.median(gaps)]
    long = gaps[gaps > np.median(gaps)]
    rates = np.array([1.0 / max(float(part.mean()), 1e-9 * float(gaps.mean())) for part in (short, long)])
    d1 = rates[:, None] * np.array([[1.0 - share, share], [share, 1.0 - share]])
    d0 = 0.02 * rates[:, None] * np.array([[0.0, 1.0], [1.0, 0.0]])
    return balanced(d0, d1), d1


def _some(blocks: Sequence[Floats], most: int) -> list[Floats]:
    """The first part of each block, `most` gaps in all at most."""
    each = max(1, most // len(blocks))
    return [block[:each] for block in blocks]


def starting_point(blocks: Sequence[Floats], states: int, scale: int) -> tuple[Floats, Floats] | None:
    """States by the local rate over `scale` arrivals, cut at quantiles of time; None where it hardly varies."""
    local, time = [], []
    for block in blocks:
        whole = block.size // scale
        sums = block[: whole * scale].reshape(whole, scale).sum(axis=1)
        sums = np.maximum(sums, 1e-12 * float(block.mean()) * scale)
        local.append(np.log(scale / sums))
        time.append(sums)
    rate, spent = np.concatenate(local), np.concatenate(time)
    if rate.size < 4 * states or np.ptp(rate) < 1e-6:
        return None
    cuts = np.quantile(rate, np.linspace(0.0, 1.0, states + 1)[1:-1])
    state = np.searchsorted(cuts, rate, side="right")
    rates, generator = np.zeros(states), np.zeros((states, states))
    for i in range(states):
        mine = state == i
        total = float(spent[mine].sum())
        if not mine.any() or total <= 0:
            return None
        rates[i] = scale * mine.sum() / total
        onward = state[1:][mine[:-1]]
        generator[i] = (np.bincount(onward, minlength=states) + 0.5) / total
    generator = _no_arrival(generator, generator)
    return balanced(generator, np.diag(rates)), np.diag(rates)
