"""How well a median is known: its distribution-free confidence interval, and the stopping rule built on it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from statistics import median

_TAIL = 0.025
_ranks: list[int] = [0]  # _ranks[n] = rank of the lower end for n values; grown on demand
_state = [0, 0.5, 0.5]  # for n = len(_ranks): rank k, P(X <= k), P(X = k) with X ~ Binomial(n, 1/2)


def median_rank(n: int) -> int:
    """Rank k such that [x_(k), x_(n+1-k)] covers the median with at least 95 % confidence; 0 when n is too small.

    k is the largest integer with P(Binomial(n, 1/2) <= k - 1) <= 0.025, whatever the (continuous)
    distribution. Source: David & Nagaraja, Order Statistics, 3rd ed., section 7.1.

    >>> [median_rank(n) for n in (5, 6, 10, 20, 100)]
    [0, 1, 2, 6, 40]
    """
    while len(_ranks) <= n:
        _grow()
    return _ranks[n]


def _grow() -> None:
    """Add the next n; the distribution function moves by F(n+1, k) = F(n, k) - p(n, k) / 2."""
    n = len(_ranks)
    k, below, point = int(_state[0]), _state[1], _state[2]
    if below <= _TAIL:  # P(X <= k) is small enough for rank k + 1
        k += 1
        point *= (n - k + 1) / k
        below += point
    _ranks.append(k)
    # From n to n + 1 trials: P(X <= k) loses half of P(X = k); P(X = k) follows the binomial ratio.
    _state[:] = [k, below - point / 2, point * (n + 1) / (2 * (n + 1 - k))]


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % confidence interval of the median from order statistics; None below 6 values.

    >>> median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    (1.0, 6.0)
    """
    k = median_rank(len(values))
    if not k:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def relative_half_width(values: Sequence[float]) -> float:
    """Half-width of the 95 % interval of the median over the median; infinite below 6 values."""
    interval = median_interval(values)
    return (interval[1] - interval[0]) / 2 / median(values) if interval else float("inf")


class RunningMedian:
    """Values kept in order, so that the stopping rule costs microseconds between two repetitions.

    >>> seen = RunningMedian([1.0, 1.01, 1.02, 0.99, 0.98])
    >>> seen.precision
    inf
    >>> seen.add(1.0)
    >>> round(seen.precision, 3)
    0.02
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._ordered = sorted(values)

    def __len__(self) -> int:
        return len(self._ordered)

    def add(self, value: float) -> None:
        """Take one more value."""
        insort(self._ordered, value)

    @property
    def precision(self) -> float:
        """Half-width of the 95 % confidence interval of the median, relative to the median."""
        n = len(self._ordered)
        k = median_rank(n)
        if not k:
            return float("inf")
        middle = (self._ordered[(n - 1) // 2] + self._ordered[n // 2]) / 2
        return (self._ordered[-k] - self._ordered[k - 1]) / 2 / middle
