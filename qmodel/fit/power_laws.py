"""Candidates that are power laws with an offset: relative least squares over offset, scale and exponents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from qmodel.fit.cells import Array, Cells
from qmodel.fit.least_squares import DEFAULT, HUBER, Fitting, solve
from qmodel.service.power_law import PowerLaw

STARTS = (0.5, 1.0, 2.0)
"""Exponents from which the search begins, besides those of the log-log regression."""

STEEPEST = 8.0
"""Largest exponent that is considered."""

FLAT = 0.02
"""A factor with a smaller exponent moves the time by less than a twentieth over a tenfold range."""

LEVELS = 4
"""A factor with fewer levels is not tried; one of them may be left out."""

ROBUST_PASSES = 3
"""How often the scale of Huber's loss is taken anew from the residuals."""


@dataclass(frozen=True)
class PowerLawCandidate:
    """offset + scale * product of `inputs` to their exponents; all non-negative unless told otherwise.

    The residual is f/y - 1 (least squares, or Huber's loss at 1.345 robust deviations); absolute loss takes f - y.
    """

    inputs: tuple[str, ...]
    form: str = "power-law"

    @property
    def label(self) -> str:
        """`offset + batch_size^e*steps^e`."""
        return "offset + " + "*".join(f"{name}^e" for name in self.inputs)

    @property
    def searched(self) -> int:
        """None: the exponents are among the coefficients."""
        return 0

    @property
    def degree(self) -> float:
        """One an input, and a half for the curve."""
        return len(self.inputs) + 0.5

    def fit(self, cells: Cells, weights: Array | None = None, how: Fitting = DEFAULT) -> PowerLaw | None:
        """The best end over several starts; None where the inputs have too few levels, or one is not above zero."""
        x = np.column_stack([np.asarray(cells.levels[name], float) for name in self.inputs])
        if np.any(x <= 0) or any(len(np.unique(column)) < LEVELS - 1 for column in x.T) or len(x) < x.shape[1] + 3:
            return None
        middle = np.mean(np.log(x), axis=0)
        logs = np.log(x) - middle
        root = np.sqrt(np.ones(len(x)) if weights is None else weights)
        scale = root if how.loss == "absolute" else root / cells.mean
        best, least = None, np.inf
        for start in _starts(logs, cells.mean, scale, how):
            end = _descend(start, logs, cells.mean, scale, how)
            if end[1] < least:
                best, least = end
        if best is None:
            return None
        for _ in range(ROBUST_PASSES if how.loss == "huber" else 0):
            best, _ = _descend(best, logs, cells.mean, scale, how)
        offset, height, exponents = best[0], best[1], best[2:]
        scale_at_one = float(height / np.exp(middle @ exponents))
        return PowerLaw(self.inputs, (float(offset), scale_at_one, *exponents.tolist()))


def power_law_candidates(cells: Cells, numeric: Sequence[str]) -> list[PowerLawCandidate]:
    """One over each factor alone, one over all that have enough levels, and one over those of them that matter."""
    usable = [n for n in numeric if len(np.unique(cells.levels[n])) >= LEVELS and np.min(cells.levels[n]) > 0]
    singles = [PowerLawCandidate((name,)) for name in usable]
    if len(usable) < 2:
        return singles
    whole = PowerLawCandidate(tuple(usable))
    fitted = whole.fit(cells)
    exponents = zip(usable, fitted.parameters[2:], strict=True) if fitted is not None else ()
    mattering = tuple(name for name, exponent in exponents if exponent > FLAT)
    inner = [PowerLawCandidate(mattering)] if 1 < len(mattering) < len(usable) else []
    return [*singles, *inner, whole]


def _starts(logs: Array, y: Array, scale: Array, how: Fitting) -> list[Array]:
    """Offset, scale and exponents: by log-log regression, and by least squares at given exponents."""
    slope = np.linalg.lstsq(np.column_stack([np.ones(len(y)), logs]), np.log(y), rcond=None)[0][1:]
    starts = []
    for exponents in (np.clip(slope, 0.05, STEEPEST), *(np.full(logs.shape[1], e) for e in STARTS)):
        design = np.column_stack([np.ones(len(y)), np.exp(logs @ exponents)])
        offset, height = solve(design, y, scale, True)
        starts.append(np.array([offset, max(height, 1e-6 * float(y.mean())), *exponents]))
    return starts


def _descend(start: Array, logs: Array, y: Array, scale: Array, how: Fitting) -> tuple[Array, float]:
    """Trust-region descent; parameters in units of the mean response."""
    unit = float(y.mean())
    size = np.array([unit, unit, *np.ones(logs.shape[1])])

    def residual(p: Array) -> Array:
        return (p[0] * unit + p[1] * unit * np.exp(logs @ p[2:]) - y) * scale

    def jacobian(p: Array) -> Array:
        product = unit * np.exp(logs @ p[2:])
        return np.column_stack([np.full(len(y), unit), product, (p[1] * product)[:, None] * logs]) * scale[:, None]

    low = np.full(len(start), 0.0 if how.nonnegative else -np.inf)
    high = np.array([np.inf, np.inf, *np.full(logs.shape[1], STEEPEST)])
    low[1] = 0.0
    robust = {"loss": "huber", "f_scale": _spread(residual(start / size))} if how.loss == "huber" else {}
    inside = np.clip(start / size, np.where(np.isfinite(low), low + 1e-9, low), high - 1e-9)
    exact = {"x_scale": "jac", "xtol": 1e-12, "ftol": 1e-12}
    end = least_squares(residual, inside, jacobian, bounds=(low, high), **exact, **robust)
    found = np.where(np.abs(end.x) < 1e-8, 0.0, end.x)
    return found * size, float(end.cost)


def _spread(residuals: Array) -> float:
    return max(HUBER * float(np.median(np.abs(residuals))) / 0.6745, 1e-9)
