"""Predictions with the size's own law, joined to the size by a Gaussian copula of correlation r.

With normal scores z of sizes and zeta of predictions, zeta = r z + q n, q = sqrt(1 - r^2), n a standard normal
independent of z. Sizes are summed over nodes in z; what lies between two predictions is integrated over the part
of zeta within REACH standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.prediction.prediction_errors import Predicted
from qmodel.workload import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOWEST, HIGHEST = -9.0, 36.0
"""Normal scores of the sizes: a power law's second moment comes from far out."""
PANEL = 0.3
"""Width of a panel of scores, at most; and at most twice q."""
REACH = 9.0
NEGLIGIBLE = 1e-16
TABLED = 40_000
ROWS = 32


@dataclass(frozen=True)
class Correlated(Predicted):
    """Size and prediction of one law without point masses, of this correlation of their normal scores."""

    size: Distribution
    correlation: float
    marks: frozenset[float]

    def ends(self) -> frozenset[float]:
        return self.marks

    @property
    def _q(self) -> float:
        return math.sqrt(1.0 - self.correlation**2)

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats, Floats]:
        """Scores, sizes and weights."""
        panels = math.ceil((HIGHEST - LOWEST) / min(PANEL, 2.0 * self._q))
        edges = np.linspace(LOWEST, HIGHEST, panels + 1)
        z = (edges[:-1, None] + np.diff(edges)[:, None] * _EIGHT[0]).reshape(-1)
        weights = (np.diff(edges)[:, None] * _EIGHT[1]).reshape(-1) * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        sizes = self._at_scores(z)
        held = weights * (1.0 + (sizes / self.size.mean) ** 2) > NEGLIGIBLE
        return z[held], sizes[held], weights[held]

    def _at_scores(self, z: Floats) -> Floats:
        """Sizes of these normal scores."""
        from scipy.special import ndtr

        lower = np.asarray(self.size.quantile(ndtr(np.minimum(z, 0.0))))
        return np.where(z < 0, lower, np.asarray(self.size.upper_quantile(ndtr(-np.maximum(z, 0.0)))))

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """Scores and logarithms of sizes, close enough for straight lines in between."""
        z = np.concatenate((np.linspace(LOWEST, 9.0, TABLED), np.linspace(9.0, HIGHEST, TABLED // 4)[1:]))
        return z, np.log(np.maximum(self._at_scores(z), 1e-300))

    def _sizes(self, z: Floats) -> Floats:
        return np.exp(np.interp(z, *self._table))

    def scores(self, y: Floats) -> Floats:
        """Normal scores of predictions; infinite beyond the support."""
        from scipy.special import ndtri

        below, beyond = np.asarray(self.size.cdf(y)), np.asarray(self.size.sf(y))
        return np.asarray(np.where(below < 0.5, ndtri(below), -ndtri(beyond)))

    def _given(self, y: Floats) -> Floats:
        """P(Y <= y | S) at predictions (rows) and the sizes of the nodes (columns)."""
        from scipy.special import ndtr

        z, _, _ = self._nodes
        return np.asarray(ndtr((self.scores(y) - self.correlation * z) / self._q))

    def upto(self, k: int, y: Floats) -> Floats:
        _, s, weights = self._nodes
        return self._given(y[:, None]) @ (weights * s**k)

    def density(self, k: int, y: Floats) -> Floats:
        z, s, weights = self._nodes
        own = self.scores(y)[:, None]
        n = (own - self.correlation * z) / self._q
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.exp(0.5 * (own**2 - n**2)) / self._q
        return np.asarray(self.size.pdf(y) * (np.nan_to_num(ratio) @ (weights * s**k)))

    def kept(self, y: Floats, limit: float) -> Floats:
        out = np.empty_like(y)
        for i in range(0, len(y), ROWS):
            out[i : i + ROWS] = self._kept(y[i : i + ROWS, None], limit)
        return out

    def _kept(self, y: Floats, limit: float) -> Floats:
        _, s, weights = self._nodes
        if limit >= 1:
            return self._square(s + y, 1.0, y, s + y) @ weights
        turn = y / (1.0 - limit)
        early = self._square(s + y, 1.0, y, np.minimum(s + y, turn))
        late = self._square(s + 0.0 * y, limit, np.minimum(turn, s / limit), s / limit + 0.0 * y)
        return (early + late) @ weights

    def _square(self, constant: Floats, slope: float, start: Floats, end: Floats) -> Floats:
        """E[(constant - slope Y)^2; start < Y <= end | S], rows by columns."""
        return self._integral(lambda guess: (constant[..., None] - slope * guess) ** 2, start, end)

    def _integral(self, of: Callable[[Floats], Floats], start: Floats, end: Floats) -> Floats:
        z, _, _ = self._nodes
        low = np.clip((self.scores(start) - self.correlation * z) / self._q, -REACH, REACH)
        high = np.clip((self.scores(np.maximum(end, start)) - self.correlation * z) / self._q, -REACH, REACH)
        width = (high - low)[..., None]
        n = low[..., None] + width * _MANY[0]
        guess = self._sizes(self.correlation * z[:, None] + self._q * n)
        density = np.exp(-0.5 * n**2) / math.sqrt(2.0 * math.pi)
        return np.asarray((of(guess) * density * width) @ _MANY[1])

    def passing(self, y: Floats, limit: float) -> Floats:
        _, s, weights = self._nodes
        end = s + y[:, None]
        if limit < 1:
            end = np.minimum(end, y[:, None] / (1.0 - limit))
        return (self._given(end) - self._given(y[:, None])) @ weights

    def beyond(self, limit: float) -> float:
        _, s, weights = self._nodes
        c = min(limit, 1.0)
        left = self._integral(lambda guess: s[:, None] - c * guess, np.zeros_like(s), s / c)
        return float(left @ weights)


def _gauss(count: int) -> tuple[Floats, Floats]:
    x, w = np.polynomial.legendre.leggauss(count)
    return 0.5 * (x + 1.0), 0.5 * w


_EIGHT, _MANY = _gauss(8), _gauss(40)
