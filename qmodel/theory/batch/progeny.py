"""Total progeny of a branching process: how many requests come in one cluster, each bringing others.

Each has a Poisson number of children with a gamma-distributed mean, and

    P(K = k) = P(k parents have k - 1 children) / k.

Source: Dwass, *J. Appl. Prob.* 6 (1969) 682-686.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-15


def progeny(mean: float, scv: float) -> Floats:
    """Law of the total progeny of one; each has a Poisson number of children, its mean gamma-distributed.

    P(K = k) = P(k parents have k - 1 children) / k (Dwass).

    >>> progeny(0.0, 1.0).tolist()
    [0.0, 1.0]
    >>> law = progeny(0.5, 0.0)
    >>> round(float(law @ np.arange(law.size)), 6)
    2.0
    """
    if mean <= 0:
        return np.array([0.0, 1.0])
    for most in (200.0, 2_000.0, 20_000.0):
        law = np.exp(_log_progeny(np.arange(1.0, most), mean, scv))
        if law[-1] < NEGLIGIBLE:
            break
    law = law[: int(np.nonzero(law > NEGLIGIBLE)[0].max()) + 1]
    return np.concatenate(([0.0], law / law.sum()))


def _log_progeny(k: Floats, mean: float, scv: float) -> Floats:
    """log P(K = k), not normalised."""
    if scv < 1e-9:
        return np.asarray((k - 1) * np.log(k * mean) - k * mean - gammaln(k + 1.0))
    shape, odds = k / scv, mean * scv / (1.0 + mean * scv)
    ways = gammaln(shape + k - 1) - gammaln(shape) - gammaln(k)
    return np.asarray(ways + (k - 1) * math.log(odds) + shape * math.log1p(-odds) - np.log(k))
