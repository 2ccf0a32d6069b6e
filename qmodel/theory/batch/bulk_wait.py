"""Law of the response in M/G^[1,K]/1 with first come, first served, when a batch's time depends on its size alone.

A request that comes at age u of a batch of size b finds w requests left behind at that batch's start and i come
since, i Poisson(lambda u). With v = tau_b - u, m = floor((w + i) / K) full batches go before its own, which starts
v + m tau_K after it came with b' = min(K, 1 + (w + i mod K) + Poisson(lambda (v + m tau_K))) requests:

    T = v + m tau_K + tau_{b'}.

b, w and u are those of an arbitrary moment (PASTA): b and w as the embedded chain has them, weighted by tau_b, u
uniform; at an idle server T = tau_1. The age is cut into cells, in each of which T is taken as uniform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from qmodel.theory.batch.bulk_service import BulkService

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CELLS = 48
ERROR = 2e-5
"""Of a probability, as measured by doubling the cells."""
THIN = 1e-10
"""Pieces of the law of smaller weight are left out."""


@dataclass
class Pieces:
    """A law made of point masses (width 0) and uniform pieces, each centred at `at`, with its weight."""

    at: list[Floats] = field(default_factory=list)
    width: list[Floats] = field(default_factory=list)
    weight: list[Floats] = field(default_factory=list)

    def add(self, at: Floats, width: float, weight: Floats) -> None:
        """Pieces of one width; those too thin to matter are dropped."""
        kept = weight > THIN
        self.at.append(at[kept])
        self.width.append(np.full(int(kept.sum()), width))
        self.weight.append(weight[kept])

    def knots(self) -> tuple[Floats, Floats]:
        """Times and the distribution function there; it is linear between them, and steps where two are equal."""
        at, width, weight = (np.concatenate(part) for part in (self.at, self.width, self.weight))
        points = width == 0
        slope = weight[~points] / width[~points]
        low, high = at[~points] - width[~points] / 2, at[~points] + width[~points] / 2
        times = np.concatenate((low, high, at[points], at[points]))
        bends = np.concatenate((slope, -slope, np.zeros(2 * int(points.sum()))))
        steps = np.concatenate((np.zeros(2 * low.size + int(points.sum())), weight[points]))
        order = np.argsort(times, kind="stable")
        times, bends, steps = times[order], bends[order], steps[order]
        slopes = np.cumsum(bends)
        risen = np.concatenate(([0.0], np.cumsum(slopes[:-1] * np.diff(times)))) + np.cumsum(steps)
        return times, np.maximum.accumulate(risen / risen[-1])


@dataclass(frozen=True)
class PiecewiseLaw:
    """A law of a time given by its pieces, in the shape that answers use."""

    pieces: Pieces
    error: float

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        times, probabilities = self.knots
        if t < times[0]:
            return 0.0
        i = int(np.searchsorted(times, t, side="right")) - 1
        if i == times.size - 1:
            return float(probabilities[i])
        share = (t - times[i]) / (times[i + 1] - times[i])
        return float(probabilities[i] + share * (probabilities[i + 1] - probabilities[i]))

    def percentile(self, percent: float) -> float:
        """The least t with P(T <= t) >= percent / 100."""
        times, probabilities = self.knots
        p = percent / 100
        i = int(np.searchsorted(probabilities, p, side="left"))  # the first knot has probability 0
        share = (p - probabilities[i - 1]) / (probabilities[i] - probabilities[i - 1])
        return float(times[i - 1] + share * (times[i] - times[i - 1]))

    @cached_property
    def knots(self) -> tuple[Floats, Floats]:
        """See `Pieces.knots`."""
        return self.pieces.knots()

    @property
    def mean(self) -> float:
        """Mean of the law, seconds."""
        times, levels = self.knots
        return float(levels[0] * times[0] + np.sum(np.diff(levels) * (times[1:] + times[:-1])) / 2)


@dataclass(frozen=True)
class BulkLaw:
    """Law of the response of `queue`, put together when it is asked for."""

    queue: BulkService
    cells: int = CELLS
    error: float = ERROR

    def cdf(self, t: float) -> float:
        """P(T <= t)."""
        return self._law.cdf(t)

    def percentile(self, percent: float) -> float:
        """The least t with P(T <= t) >= percent / 100."""
        return self._law.percentile(percent)

    @property
    def mean(self) -> float:
        """Mean of the law, seconds."""
        return self._law.mean

    @cached_property
    def _law(self) -> PiecewiseLaw:
        return PiecewiseLaw(_pieces(self.queue, self.cells), self.error)


def _pieces(queue: BulkService, cells: int) -> Pieces:
    stationary, counts = queue.chain
    pieces = Pieces()
    idle = sum(
        p * during[0] for i, (p, during) in enumerate(zip(stationary, counts, strict=True)) if _empties(queue, i)
    )
    pieces.add(np.array([queue.taken.mean(1)]), 0.0, np.array([idle / queue.rate]))
    for size, left_behind in _batches(queue, stationary):
        if queue.largest is None:
            _take_all(queue, size, left_behind.sum(), pieces)
        else:
            _capped(queue, size, left_behind, cells, pieces)
    return pieces


def _empties(queue: BulkService, state: int) -> bool:
    """Whether a batch that starts in this state of the chain leaves nobody behind at its start."""
    return queue.size(1 + state) == 1 + state


def _batches(queue: BulkService, stationary: Floats) -> list[tuple[int, Floats]]:
    """Sizes of batches, each with the weights of 0, 1, ... left behind at its start."""
    if queue.largest is None or queue.largest > stationary.size:
        return [(1 + i, np.array([p])) for i, p in enumerate(stationary) if p > THIN]
    below = [(1 + i, np.array([p])) for i, p in enumerate(stationary[: queue.largest - 1]) if p > THIN]
    return [*below, (queue.largest, stationary[queue.largest - 1 :])]


def _take_all(queue: BulkService, size: int, weight: float, pieces: Pieces) -> None:
    """The own batch is everyone who comes during this one: T is uniform on tau_b' + [0, tau_b], exactly."""
    time = queue.taken.mean(size)
    own = _poisson(queue.rate * time)
    times = np.array([queue.taken.mean(1 + k) for k in range(own.size)])
    pieces.add(times + time / 2, time, weight * time * own)


def _capped(queue: BulkService, size: int, left_behind: Floats, cells: int, pieces: Pieces) -> None:
    largest, time = queue.largest or 1, queue.taken.mean(size)
    width, full = time / cells, queue.taken.mean(largest)
    times = np.array([queue.taken.mean(1 + k) for k in range(largest)])
    for cell in range(cells):
        age = (cell + 0.5) * width
        ahead = np.convolve(left_behind, _poisson(queue.rate * age))
        for batches, position in enumerate(_rows(ahead, largest)):
            if position.sum() * width > THIN:
                wait = time - age + batches * full
                own = np.convolve(position, _poisson(queue.rate * wait))
                pieces.add(wait + times, width, width * _capped_at(own, largest))


def _rows(ahead: Floats, largest: int) -> Floats:
    """Law of the number ahead as rows of full batches, columns of places in the own one."""
    rows = -(-ahead.size // largest)
    return np.pad(ahead, (0, rows * largest - ahead.size)).reshape(rows, largest)


def _capped_at(own: Floats, largest: int) -> Floats:
    """Law of the own batch's size less 1, all above the cap put there."""
    sizes = np.zeros(largest)
    sizes[: min(largest, own.size)] = own[:largest]
    sizes[-1] += own[largest:].sum()
    return sizes


def _poisson(mean: float) -> Floats:
    counts = np.arange(int(mean + 9.0 * np.sqrt(mean) + 25.0))
    return np.asarray(np.exp(counts * np.log(mean) - mean - gammaln(counts + 1.0)))
