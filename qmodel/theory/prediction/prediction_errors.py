"""One component of the sizes with its prediction Y = M S: expectations of S on sets cut by Y.

M is independent of S: exponential of mean 1, or lognormal of mean 1.

Either S or M is summed over nodes and the other is integrated in closed form; the narrower one is summed, and S
where its density has a step, so that neither integrand has a step between nodes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.sizes import SizeGrid, components
from qmodel.workload import Distribution
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


NEGLIGIBLE = 1e-13
ORDER = 8
WIDEST_SIZES, WIDEST_ERRORS = 1.5, 2.5
"""Ratio of the ends of a panel of sizes, at which TRAIL's kernels bend, and of errors."""
NARROWEST = 0.05
"""Logarithm of the ratio of the ends of a panel of sizes, at least, however small the errors."""
AROUND_ONE = tuple(1.0 + sign * 4.0**-k for k in range(1, 15) for sign in (-1.0, 1.0))
"""Panels shrink towards an error factor of 1, where over- and underestimates part."""


class Predicted(ABC):
    """Expectations at predictions y (arrays). `limit` is TRAIL's C; infinite for SPRPT."""

    @abstractmethod
    def ends(self) -> frozenset[float]:
        """Where panels of predictions end, above 0."""

    @abstractmethod
    def upto(self, k: int, y: Floats) -> Floats:
        """E[S^k; Y <= y]."""

    @abstractmethod
    def density(self, k: int, y: Floats) -> Floats:
        """E[S^k; Y in dy] / dy."""

    @abstractmethod
    def kept(self, y: Floats, limit: float) -> Floats:
        """E[((S - min(Y - y, limit Y))^+)^2; Y > y]: what of larger predictions still comes before y."""

    @abstractmethod
    def passing(self, y: Floats, limit: float) -> Floats:
        """P(Y - min(S, limit Y) <= y < Y): that a request's rank passes y while it can be interrupted."""

    @abstractmethod
    def beyond(self, limit: float) -> float:
        """E[(S - min(limit, 1) Y)^+]: service that nothing interrupts."""


def predicted(size: Distribution, error: Distribution, ends: frozenset[float] = frozenset()) -> Predicted:
    """The component with this law of size and of the error factor M; panels of predictions end at `ends`."""
    low, high = size.support()
    narrow = low > 0 or high < math.inf or min(part.scv for part in components(size)) <= error.scv
    return SummedSizes(size, error, ends) if narrow else SummedErrors(size, error, ends)


@dataclass(frozen=True)
class SummedSizes(Predicted):
    """Nodes over S; M in closed form."""

    size: Distribution
    error: Distribution
    marks: frozenset[float] = frozenset()

    def ends(self) -> frozenset[float]:
        return self.marks

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        spread = math.sqrt(math.log1p(self.error.scv))
        return _nodes_of(self.size, min(WIDEST_SIZES, math.exp(max(2.0 * spread, NARROWEST))))

    def _sum(self, power: int, values: Floats) -> Floats:
        """sum_x w x^power values(y, x)."""
        x, weights = self._nodes
        return values @ (weights * x**power)

    def _ratio(self, y: Floats) -> Floats:
        return y[:, None] / self._nodes[0]

    def upto(self, k: int, y: Floats) -> Floats:
        return self._sum(k, self.error.cdf(self._ratio(y)))

    def density(self, k: int, y: Floats) -> Floats:
        return self._sum(k - 1, self.error.pdf(self._ratio(y)))

    def kept(self, y: Floats, limit: float) -> Floats:
        v = self._ratio(y)
        turn = v / (1.0 - limit) if limit < 1 else np.full_like(v, math.inf)
        end = np.minimum(1.0 + v, turn)
        early = _square(self.error, 1.0 + v, -1.0, v, end)
        if limit >= 1:
            return self._sum(2, early)
        late = _square(
            self.error, np.ones_like(v), -limit, np.minimum(turn, 1.0 / limit), np.full_like(v, 1 / limit)
        )
        return self._sum(2, early + late)

    def passing(self, y: Floats, limit: float) -> Floats:
        v = self._ratio(y)
        end = 1.0 + v if limit >= 1 else np.minimum(1.0 + v, v / (1.0 - limit))
        return self._sum(0, self.error.sf(v) - self.error.sf(end))

    def beyond(self, limit: float) -> float:
        c = min(limit, 1.0)
        end = 1.0 / c
        short = float(self.error.cdf(end)) - c * float(partial_moment(self.error, 1, end))
        return self.size.mean * short


@dataclass(frozen=True)
class SummedErrors(Predicted):
    """Nodes over M; S, a law without atoms, in closed form."""

    size: Distribution
    error: Distribution
    marks: frozenset[float] = frozenset()

    def ends(self) -> frozenset[float]:
        return self.marks

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        return _nodes_of(self.error, WIDEST_ERRORS, AROUND_ONE)

    def _sum(self, values: Floats) -> Floats:
        return values @ self._nodes[1]

    def _over(self, y: Floats, factors: Floats) -> Floats:
        """y / factor, infinite where the factor is not positive."""
        positive = np.where(factors > 0, factors, 1.0)
        return np.where(factors > 0, y[:, None] / positive, math.inf)

    def upto(self, k: int, y: Floats) -> Floats:
        return self._sum(partial_moment(self.size, k, self._over(y, self._nodes[0])))

    def density(self, k: int, y: Floats) -> Floats:
        s = self._over(y, self._nodes[0])
        return self._sum(s**k * self.size.pdf(s) / self._nodes[0])

    def kept(self, y: Floats, limit: float) -> Floats:
        m, _ = self._nodes
        start = self._over(y, m)
        turn = self._over(y, m * (1.0 - limit)) if limit < 1 else np.full_like(start, math.inf)
        end = np.minimum(turn, self._over(y, m - 1.0))
        early = _square(self.size, np.broadcast_to(y[:, None], start.shape), 1.0 - m, start, end)
        if limit >= 1:
            return self._sum(early)
        tail = self.size.moment(2) - partial_moment(self.size, 2, turn)
        return self._sum(early + np.maximum(1.0 - limit * m, 0.0) ** 2 * tail)

    def passing(self, y: Floats, limit: float) -> Floats:
        m, _ = self._nodes
        end = self._over(y, m - 1.0)
        if limit < 1:
            end = np.minimum(end, self._over(y, m * (1.0 - limit)))
        return self._sum(self.size.sf(self._over(y, m)) - self.size.sf(end))

    def beyond(self, limit: float) -> float:
        return SummedSizes(self.size, self.error).beyond(limit)


def _nodes_of(law: Distribution, widest: float, turns: tuple[float, ...] = ()) -> tuple[Floats, Floats]:
    """Values and weights that matter for the first two moments, close enough for the other law's kernels."""
    grid = SizeGrid(1.0, law, widest=widest, turns=turns, order=ORDER)
    weights = grid.weights(law)
    held = weights * (1.0 + (grid.sizes / law.mean) ** 2) > NEGLIGIBLE
    return grid.sizes[held], weights[held]


def _square(law: Distribution, constant: Floats, slope: Floats | float, start: Floats, end: Floats) -> Floats:
    """E[(constant + slope Z)^2; start < Z <= end] for Z of this law, where start <= end."""
    parts = [partial_moment(law, k, end) - partial_moment(law, k, start) for k in (0, 1, 2)]
    whole = constant**2 * parts[0] + 2 * constant * slope * parts[1] + np.square(slope) * parts[2]
    return np.asarray(np.maximum(whole, 0.0))
