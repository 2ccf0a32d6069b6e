"""Expectations of one component looked up: they are worked out once for its law in units of the law's mean.

A size S = m S' of mean m and its prediction Y = m Y' have E[S^k; Y <= y] = m^k E[S'^k; Y' <= y / m], and so on. The
values of the law of mean 1 at the Gauss nodes of its own panels are kept from call to call; inside a panel they are
the polynomial through them, in log y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qmodel.theory.numerics.panels import Panels
from qmodel.theory.prediction.prediction_errors import Predicted
from qmodel.workload import Distribution, Gamma, Hyperexponential, Lognormal, Pareto, Scaled, Weibull

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDEST, ORDER = 4.0, 12
"""Ratio of the ends of a panel, at most, and its nodes."""
REMEMBERED = 64
"""Components whose values are kept, and functions of them."""


def in_means(law: Distribution) -> tuple[Distribution, float]:
    """The law of mean 1 of the same shape and the mean, for families given by their mean; else the law and 1.

    >>> from qmodel.workload import Exponential
    >>> in_means(Exponential(3.0).scaled(0.5)) == in_means(Gamma(mean=1.5, scv=1.0))
    True
    """
    if isinstance(law, Scaled):
        unit, mean = in_means(law.law)
        return unit, mean * law.factor
    if isinstance(law, Gamma):
        return Gamma(1.0, law.scv), law.mean
    if isinstance(law, Hyperexponential | Lognormal | Weibull):
        return type(law)(1.0, law.scv), law.mean
    return (Pareto(1.0, law.alpha), law.mean) if isinstance(law, Pareto) else (law, 1.0)


def tabled(size: Distribution, make: Callable[[Distribution], Predicted]) -> Predicted:
    """The component that `make` makes of this law of size, looked up where its sums are long."""
    if size.atoms():
        return make(size)
    unit, mean = in_means(size)
    return Tabled(make(unit), mean)


@dataclass(frozen=True)
class Tabled(Predicted):
    """The component `unit` with sizes and predictions `mean` times as large."""

    unit: Predicted
    mean: float
    _places: dict[bytes, tuple[NDArray[np.int_], Floats]] = field(default_factory=dict, compare=False, repr=False)

    def ends(self) -> frozenset[float]:
        return frozenset(self.mean * end for end in _ends(self.unit))

    def upto(self, k: int, y: Floats) -> Floats:
        return self.mean**k * self._at(y, "upto", k)

    def density(self, k: int, y: Floats) -> Floats:
        return self.mean ** (k - 1) * self._at(y, "density", k)

    def kept(self, y: Floats, limit: float) -> Floats:
        return self.mean**2 * self._at(y, "kept", limit)

    def passing(self, y: Floats, limit: float) -> Floats:
        return self._at(y, "passing", limit)

    def beyond(self, limit: float) -> float:
        return self.mean * _beyond(self.unit, limit)

    def _at(self, y: Floats, name: str, argument: float) -> Floats:
        panel, shapes = self._place(y)
        found = np.einsum("ij,ij->i", _series(self.unit, name, argument)[panel], shapes)
        if name == "upto":
            return np.asarray(found)
        return np.where(y > self.mean * _panels(self.unit).edges[-1], 0.0, found)

    def _place(self, y: Floats) -> tuple[NDArray[np.int_], Floats]:
        """The panel of each prediction, and the polynomials of Legendre there."""
        key = y.tobytes()
        if key not in self._places:
            edges, scaled = _panels(self.unit).edges, y / self.mean
            panel = np.minimum(np.searchsorted(edges, scaled), len(edges) - 1)
            with np.errstate(divide="ignore"):
                part = np.log(scaled / edges[panel - 1]) / np.log(edges[panel] / edges[panel - 1])
            part = np.clip(np.where(panel == 0, scaled / edges[0], part), 0.0, 1.0)
            self._places[key] = panel, np.polynomial.legendre.legvander(2.0 * part - 1.0, ORDER - 1)
        return self._places[key]


@lru_cache(maxsize=REMEMBERED)
def _ends(unit: Predicted) -> frozenset[float]:
    return unit.ends()


@lru_cache(maxsize=REMEMBERED)
def _panels(unit: Predicted) -> Panels:
    return Panels.through(set(_ends(unit)), WIDEST, ORDER)


@lru_cache(maxsize=4 * REMEMBERED)
def _series(unit: Predicted, name: str, argument: float) -> Floats:
    """Coefficients of Legendre's polynomials, one row a panel."""
    y = _panels(unit).nodes
    method = getattr(unit, name)
    values = method(argument, y) if name in ("upto", "density") else method(y, argument)
    x, w = np.polynomial.legendre.leggauss(ORDER)
    shapes = np.polynomial.legendre.legvander(x, ORDER - 1) * w[:, None] * (np.arange(ORDER) + 0.5)
    return np.asarray(values.reshape(-1, ORDER) @ shapes)


@lru_cache(maxsize=REMEMBERED)
def _beyond(unit: Predicted, limit: float) -> float:
    return unit.beyond(limit)
