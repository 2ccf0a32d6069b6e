"""The transform of the response of a request of size x under SRPT (Schrage & Miller 1966), by size.

With theta_y(s) the root of s = theta - lambda E[1 - exp(-theta S); S < y], and theta = theta_x(s),

    T~(s | x) = ((1 - rho(x) - lambda x P(S > x)) theta + lambda P(S > x) (1 - exp(-theta x)))
                / (theta - lambda E[1 - exp(-theta S); S <= x]) * exp(-int_0^x theta_y(s) dy).

A larger request brings x when its remaining time comes down to x; what interrupts at a remaining time y is
smaller than y. The roots are found size after size, by Newton's method from the root of the size before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.exponentials import exponential
from qmodel.theory.numerics.panels import inner
from qmodel.theory.size_order.sizes_upto import SizesUpto

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]

ALL = slice(None)
TOGETHER = 10
"""Bare point masses whose roots are found in one step."""
PANELS = 2
"""Panels whose nodes' roots are found in one step."""
NEARLY, ITERATIONS = 1e-4, 40
"""Newton's steps end with one below NEARLY, whose square is below rounding."""
ORDER, FAR = 9, 1.0
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
        gone = 1.0 - exponential(-theta * x)
        mine = np.zeros(len(self.sizes.x))
        mine[len(self.sizes.nodes) :] = np.where(self.sizes.spread, 0.0, self.sizes.masses)
        delay = (self.idle[rows, None] * theta + self.rate * self.sizes.larger[rows, None] * gone) / (
            self.s - self.rate * mine[rows, None] * gone
        )
        return np.asarray(delay * exponential(self.s * t - self.sizes.along(self.theta)[rows]))

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
        known = Series.none(self.s)
        width = 1 if sizes.panels is None else sizes.panels.order
        groups = _groups(order, len(sizes.nodes), width)[::-1]
        while groups:
            start, end = groups.pop()
            shares = self._order_among(order[start:end])
            one = end - start <= width
            roots, known = _next_roots(self.s, known, y[:end], weights[:end], shares, one)
            if roots is None:
                middle = start + width * ((end - start) // width // 2)
                groups += [(middle, end), (start, middle)]
            else:
                found[order[start:end]] = roots
        return found

    def _order_among(self, group: NDArray[np.int_]) -> Floats:
        """Shares of the weights of a group that are below each of its sizes."""
        nodes, panels = len(self.sizes.nodes), self.sizes.panels
        if panels is not None and group[0] < nodes:
            return _among_panels(len(group) // panels.order, panels.order)
        return np.tri(len(group), k=-1) + np.diag(0.5 * self.sizes.spread[group - nodes])


@lru_cache
def _among_panels(several: int, order: int) -> Floats:
    """Shares of the weights of so many panels of this order that are below each of their nodes."""
    before = np.kron(np.tri(several, k=-1), np.ones((order, order)))
    return np.asarray(before + np.kron(np.eye(several), inner(order)))


def _groups(order: NDArray[np.int_], nodes: int, width: int) -> list[tuple[int, int]]:
    """Sizes in increasing order, group by group: nodes of some panels, an atom at an end, or bare atoms."""
    if not nodes:
        return [(i, min(i + TOGETHER, len(order))) for i in range(0, len(order), TOGETHER)]
    starts = np.flatnonzero((order >= nodes) | (order % width == 0)).tolist()
    kept: list[int] = []
    for start in starts:
        alone = order[start] >= nodes or not kept or order[kept[-1]] >= nodes
        if alone or start - kept[-1] >= PANELS * width:
            kept.append(start)
    return list(zip(kept, [*kept[1:], len(order)], strict=True))


@dataclass(frozen=True)
class Series:
    """sum_j w_j exp(-(centre + delta) y_j) of the sizes so far, in powers of delta (rows); `latest`: last root."""

    centre: Complex
    coefficients: Complex
    latest: Complex

    @classmethod
    def none(cls, s: Complex) -> Series:
        """Of no sizes."""
        return cls(s, np.zeros((ORDER + 1, len(s)), dtype=complex), s)

    def moved(self, y: Floats, weights: Floats) -> Series:
        """About the last root, from the sizes themselves."""
        kept = exponential(-np.multiply.outer(y, self.latest)) * weights[:, None]
        coefficients = (_signed_powers(y).T @ kept.view(float)).view(complex)
        return Series(self.latest, coefficients, self.latest)


def _next_roots(
    s: Complex, known: Series, y: Floats, weights: Floats, shares: Floats, one: bool = True
) -> tuple[Complex | None, Series]:
    """theta with s = theta - sum_j w_j (1 - exp(-theta y_j)), one row a size of the group that ends `y`.

    The weights are those of the sizes before the group, and rows of `shares` of those in it. With delta the
    distance from the centre of what is known, exp(-delta y) is a short series. None where it would have to be a
    long one and the group is more than `one` panel.
    """
    rows = len(shares)
    n = len(y) - rows
    before = float(weights[:n].sum())
    for moves in (False, True):
        known = known.moved(y[:n], weights[:n]) if moves else known
        roots, found = _by_series(s, known, y[n:], weights[n:], shares, before)
        if float(np.abs(roots - known.centre).max()) * y[-1] <= FAR:
            return roots, found
    if not one:
        return None, known
    every = np.hstack((np.broadcast_to(weights[:n], (rows, n)), shares * weights[n:]))
    roots = _roots(s, known.latest, every, y)
    return roots, Series(known.centre, known.coefficients, roots[-1]).moved(y, weights)


def _by_series(
    s: Complex, known: Series, y: Floats, weights: Floats, shares: Floats, before: float
) -> tuple[Complex, Series]:
    """As `_next_roots`, wherever the roots may lie; `before` is the sum of the weights before the group."""
    rows, terms = len(y), len(s)
    kept = exponential(-np.multiply.outer(y, known.centre)) * weights[:, None]
    parts = (_signed_powers(y)[:, :, None] * kept[:, None, :]).reshape(rows, -1)
    series = (shares @ parts.view(float)).view(complex).reshape(rows, ORDER + 1, terms) + known.coefficients
    offset = known.centre - s - before - (shares @ weights)[:, None]
    delta = np.broadcast_to(known.latest - known.centre, (rows, terms))
    for _ in range(ITERATIONS):
        value, slope = _horner(series, delta)
        step = (offset + delta + value) / (1.0 + slope)
        delta = delta - step
        if (np.abs(step) <= NEARLY * np.abs(known.latest)).all():
            break
    roots = known.centre + delta
    coefficients = known.coefficients + parts.sum(axis=0).reshape(ORDER + 1, terms)
    return roots, Series(known.centre, coefficients, roots[-1])


def _signed_powers(y: Floats) -> Floats:
    """(-y)^p / p!, one row a size, p up to ORDER."""
    ratios = np.hstack((np.ones((len(y), 1)), -y[:, None] / np.arange(1, ORDER + 1)))
    return np.asarray(np.cumprod(ratios, axis=1), dtype=float)


def _horner(coefficients: Complex, z: Complex) -> tuple[Complex, Complex]:
    """sum_p coefficients_p z^p over the middle axis, and its derivative."""
    value, slope = coefficients[:, -1].copy(), np.zeros_like(z)
    for p in range(coefficients.shape[1] - 2, -1, -1):
        slope *= z
        slope += value
        value *= z
        value += coefficients[:, p]
    return value, slope


def _roots(s: Complex, guess: Complex, shares: Floats, y: Floats) -> Complex:
    """As `_next_roots`, without the series: Newton's method with all weights in a row."""
    theta = np.broadcast_to(guess, (len(shares), len(s))).copy()
    total = shares.sum(axis=1)[:, None]
    pair = np.stack((shares, shares * y), axis=2)
    for _ in range(ITERATIONS):
        sums = exponential(-theta[:, :, None] * y) @ pair
        step = (theta - total + sums[:, :, 0] - s) / (1.0 - sums[:, :, 1])
        theta -= step
        if (np.abs(step) <= NEARLY * np.abs(theta)).all():
            break
    return theta
