"""The transform of the response of a request of size x under SRPT (Schrage & Miller 1966), by size.

With theta_y(s) the root of s = theta - lambda E[1 - exp(-theta S); S < y], and theta = theta_x(s),

    T~(s | x) = ((1 - rho(x) - lambda x P(S > x)) theta + lambda P(S > x) (1 - exp(-theta x)))
                / (theta - lambda E[1 - exp(-theta S); S <= x]) * exp(-int_0^x theta_y(s) dy).

A larger request brings x when its remaining time comes down to x; what interrupts at a remaining time y is
smaller than y. The roots are found size after size, by Newton's method from the root of the size before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.theory.size_order.sizes_upto import SizesUpto

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

ALL = slice(None)
TOGETHER = 10
"""Bare point masses whose roots are found in one step."""
NEARLY, ITERATIONS = 1e-5, 40
"""Newton's steps end with one below NEARLY, whose square is below rounding."""
ORDER, FAR = 9, 0.7
"""The series for exp(-delta y) ends with the power ORDER, and is used while delta y stays below FAR."""


@dataclass(frozen=True)
class RemainingTime:
    """The transform at all `sizes` (rows) and all `s` (columns)."""

    sizes: SizesUpto
    rate: float
    s: Complex

    def transform(self, t: float = 0.0, rows: slice = ALL) -> Complex:
        """T~(s | x) exp(s t)."""
        theta, x = self.theta[rows], self.sizes.x[rows, None]
        gone = 1.0 - np.exp(-theta * x)
        mine = np.zeros(len(self.sizes.x))
        mine[len(self.sizes.nodes) :] = np.where(self.sizes.spread, 0.0, self.sizes.masses)
        delay = (self.idle[rows, None] * theta + self.rate * self.sizes.larger[rows, None] * gone) / (
            self.s - self.rate * mine[rows, None] * gone
        )
        return np.asarray(delay * np.exp(self.s * t - self.sizes.along(self.theta)[rows]))

    @cached_property
    def idle(self) -> Floats:
        """1 - rho(x) - lambda x P(S > x)."""
        x = self.sizes.x
        _, load = self.sizes.cumulative(x[:, None])
        return np.asarray(1.0 - self.rate * (load[:, 0] + x * self.sizes.larger))

    @cached_property
    def theta(self) -> Complex:
        """The roots theta_x(s)."""
        sizes = self.sizes
        order = np.argsort(sizes.x, kind="stable")
        y, weights = sizes.x[order], self.rate * sizes.weights(sizes.law)[order]
        found = np.empty((len(y), len(self.s)), dtype=complex)
        latest = self.s
        for start, end in _groups(order, len(sizes.nodes), 1 if sizes.panels is None else sizes.panels.order):
            among = weights[start:end] * self._order_among(order[start:end])
            roots = _next_roots(self.s, latest, y[:end], weights[:start], among)
            found[order[start:end]] = roots
            latest = roots[-1]
        return found

    def _order_among(self, group: NDArray[np.int_]) -> Floats:
        """Shares of the weights of a group that are below each of its sizes."""
        nodes, panels = len(self.sizes.nodes), self.sizes.panels
        if panels is not None and group[0] < nodes:
            return panels.inner
        return np.tri(len(group), k=-1) + np.diag(0.5 * self.sizes.spread[group - nodes])


def _groups(order: NDArray[np.int_], nodes: int, width: int) -> list[tuple[int, int]]:
    """Sizes in increasing order, group by group: the nodes of a panel, an atom at its end, TOGETHER bare atoms."""
    if not nodes:
        return [(i, min(i + TOGETHER, len(order))) for i in range(0, len(order), TOGETHER)]
    starts = np.flatnonzero((order >= nodes) | (order % width == 0))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True))


def _next_roots(s: Complex, latest: Complex, y: Floats, before: Floats, among: Floats) -> Complex:
    """theta with s = theta - sum_j w_j (1 - exp(-theta y_j)), one row a size of the group that ends `y`.

    The weights are `before` for the sizes before the group, and rows of `among` in it. With delta the distance from
    `latest`, exp(-delta y) is a short series.
    """
    n, rows = len(before), len(among)
    powers = _signed_powers(y)
    kept = np.exp(-np.multiply.outer(latest, y))
    inner = kept[:, n:].T[:, :, None] * powers[n:, None, :]
    series = (among @ inner.reshape(rows, -1)).reshape(rows, len(s), -1)
    series += (kept[:, :n] * before) @ powers[:n]
    total = before.sum() + among.sum(axis=1)[:, None]
    offset = latest - s - total
    slopes = series[:, :, 1:] * np.arange(1, ORDER + 1)
    delta = -(offset + series[:, :, 0]) / (1.0 + slopes[:, :, 0])
    for _ in range(ITERATIONS):
        step = (offset + delta + _horner(series, delta)) / (1.0 + _horner(slopes, delta))
        delta = delta - step
        if (np.abs(step) <= NEARLY * np.abs(latest)).all():
            break
    if float(np.abs(delta).max()) * y[-1] > FAR:
        shares = np.hstack((np.broadcast_to(before, (rows, n)), among))
        return _roots(s, latest, shares, y)
    return np.asarray(latest + delta)


def _signed_powers(y: Floats) -> Floats:
    """(-y)^p / p!, one row a size, p up to ORDER."""
    ratios = np.hstack((np.ones((len(y), 1)), -y[:, None] / np.arange(1, ORDER + 1)))
    return np.asarray(np.cumprod(ratios, axis=1), dtype=float)


def _horner(coefficients: NDArray[Any], z: Complex) -> Complex:
    """sum_p coefficients_p z^p over the last axis."""
    out = coefficients[:, :, -1]
    for p in range(coefficients.shape[2] - 2, -1, -1):
        out = out * z + coefficients[:, :, p]
    return out


def _roots(s: Complex, guess: Complex, shares: Floats, y: Floats) -> Complex:
    """As `_next_roots`, without the series: Newton's method with all weights in a row."""
    theta = np.broadcast_to(guess, (len(shares), len(s))).copy()
    total = shares.sum(axis=1)[:, None]
    pair = np.stack((shares, shares * y), axis=2)
    for _ in range(ITERATIONS):
        sums = np.exp(-theta[:, :, None] * y) @ pair
        step = (theta - total + sums[:, :, 0] - s) / (1.0 - sums[:, :, 1])
        theta -= step
        if (np.abs(step) <= NEARLY * np.abs(theta)).all():
            break
    return theta
