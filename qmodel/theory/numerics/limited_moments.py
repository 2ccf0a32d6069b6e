"""E[min(S, x)] and E[min(S, x)^2] together, at many x: what a service takes up to an age.

The same as `qmodel.workload.partial.limited_moment` for k = 1 and 2; what both need is worked out once.
"""

from __future__ import annotations

from functools import lru_cache, singledispatch
from typing import TYPE_CHECKING

import numpy as np

from qmodel.workload import Discrete, Distribution, Exponential, Hyperexponential, Lognormal, Mixture, Scaled
from qmodel.workload.partial import partial_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_MEANS = 745.0
"""Multiples of its mean that an exponential never exceeds, in double precision."""


@singledispatch
def first_two_limited(law: Distribution, x: Floats) -> tuple[Floats, Floats]:
    """E[min(S, x)] and E[min(S, x)^2], elementwise; x may be infinite.

    >>> [float(m) for m in first_two_limited(Discrete((1.0, 3.0), (0.5, 0.5)), np.array(2.0))]
    [1.5, 2.5]
    """
    beyond = np.asarray(law.sf(x))
    first, second = (np.asarray(partial_moment(law, k, x)) for k in (1, 2))
    return _with_rest(first, second, beyond, x)


def _with_rest(first: Floats, second: Floats, beyond: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Partial moments with what lies beyond x counted as x."""
    finite = np.where(beyond > 0, x, 0.0)
    return first + finite * beyond, second + finite**2 * beyond


@first_two_limited.register(Exponential)
def _(law: Exponential, x: Floats) -> tuple[Floats, Floats]:
    return _exponential(law.mean, x)


def _exponential(mean: float, x: Floats) -> tuple[Floats, Floats]:
    past = np.minimum(x / mean, MOST_MEANS)
    ended = -np.expm1(-past)
    return mean * ended, 2.0 * mean**2 * (ended - past * np.exp(-past))


@first_two_limited.register(Hyperexponential)
def _(law: Hyperexponential, x: Floats) -> tuple[Floats, Floats]:
    return _blended([(p, _exponential(mean, x)) for p, mean in law.phases])


@first_two_limited.register(Lognormal)
def _(law: Lognormal, x: Floats) -> tuple[Floats, Floats]:
    from scipy.special import ndtr

    with np.errstate(divide="ignore"):
        z = (np.log(x) - law.mu) / law.sigma
    first, second = (law.moment(k) * ndtr(z - k * law.sigma) for k in (1, 2))
    return _with_rest(first, second, ndtr(-z), x)


@first_two_limited.register(Discrete)
def _(law: Discrete, x: Floats) -> tuple[Floats, Floats]:
    values, sums = _discrete(law)
    beyond, first, second = (column[np.searchsorted(values, x, side="right")] for column in sums)
    return _with_rest(first, second, beyond, x)


@lru_cache(maxsize=64)
def _discrete(law: Discrete) -> tuple[Floats, Floats]:
    """Values, and for each number of them P(S > the last), E[S; S <= it] and E[S^2; S <= it]."""
    values, masses = (np.array(column) for column in zip(*law.atoms(), strict=True))
    beyond = np.append(np.cumsum(masses[::-1])[::-1], 0.0)
    upto = [np.append(0.0, np.cumsum(masses * values**k)) for k in (1, 2)]
    return values, np.stack((beyond, *upto))


@first_two_limited.register(Scaled)
def _(law: Scaled, x: Floats) -> tuple[Floats, Floats]:
    first, second = first_two_limited(law.law, x / law.factor)
    return law.factor * first, law.factor**2 * second


@first_two_limited.register(Mixture)
def _(law: Mixture, x: Floats) -> tuple[Floats, Floats]:
    return _blended([(p, first_two_limited(part, x)) for p, part in zip(law.probabilities, law.laws, strict=True)])


def _blended(parts: list[tuple[float, tuple[Floats, Floats]]]) -> tuple[Floats, Floats]:
    first, second = (np.sum([p * moments[k] for p, moments in parts if p > 0], axis=0) for k in (0, 1))
    return first, second
