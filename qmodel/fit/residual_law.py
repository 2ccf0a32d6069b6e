"""Which law repetitions of the same work follow: lognormal, gamma, or none of these (their quantiles are kept)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from qmodel.fit.cells import Array, Cells

LILLIEFORS = 1.035
"""sqrt(n) D above which a fitted two-parameter law is refused at 1 % (Lilliefors 1967, large samples)."""

ENOUGH = 50
"""Fewer values have no quantiles worth keeping."""

NOISELESS = 1e-6
"""Relative deviation below which there is no shape to tell."""

SHAPE = 4
"""Cells with fewer repetitions hide the shape: of two, the deviations are mirror images."""


@dataclass(frozen=True)
class ChosenLaw:
    """`distribution` with the Kolmogorov distance of the better parametric law, and whether that was refused."""

    distribution: str
    distance: float
    refused: bool
    values: int


def shape_rows(cells: Cells) -> Array:
    """Rows whose cell shows the shape of the noise; all repeated rows where no cell has enough repetitions."""
    count = cells.count[cells.row_cell]
    return np.asarray(count >= SHAPE if np.any(count >= SHAPE) else count > 1)


def residual_law(ratios: Array) -> ChosenLaw:
    """The more likely of lognormal and gamma for `ratios` (mean 1), or "empirical" where both are refused.

    >>> rng = np.random.default_rng(0)
    >>> residual_law(rng.gamma(2.0, 0.5, 4000)).distribution
    'gamma'
    """
    values = np.sort(ratios[ratios > 0])
    size = len(values)
    if size < 8 or np.std(values) < NOISELESS:
        return ChosenLaw("lognormal", float("nan"), False, size)
    laws = {"lognormal": _lognormal(values), "gamma": _gamma(values)}
    best = max(laws, key=lambda name: float(np.sum(laws[name].logpdf(values))))
    distance = float(stats.kstest(values, laws[best].cdf).statistic)
    refused = distance * np.sqrt(size) > LILLIEFORS
    return ChosenLaw("empirical" if refused and size >= ENOUGH else best, distance, bool(refused), size)


def _lognormal(values: Array) -> Any:
    logs = np.log(values)
    return stats.lognorm(s=float(logs.std()), scale=float(np.exp(logs.mean())))


def _gamma(values: Array) -> Any:
    """By maximum likelihood: ln k - digamma(k) = ln(mean) - mean of logs (scipy, location 0)."""
    shape, _, scale = stats.gamma.fit(values, floc=0)
    return stats.gamma(shape, scale=scale)
