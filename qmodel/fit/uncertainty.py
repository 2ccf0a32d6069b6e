"""Coefficients refined jointly with the ratios; their covariance from the scatter of cells around the function."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import f as f_law

from qmodel.fit.cells import Array, Cells
from qmodel.fit.least_squares import NEAR, Fitting, conditioning, inverse_gram
from qmodel.service.model import ServiceModel

FEW = 5
"""With fewer degrees of freedom between cells than this, the replicates' scatter is pooled in."""

SLIGHT = 1e-10


@dataclass(frozen=True)
class LackOfFit:
    """F test of the scatter of cell means around the function against the scatter of replicates."""

    statistic: float
    degrees_of_freedom: tuple[int, int]
    p: float
    spread: float
    """Relative standard deviation of cell means around the function beyond replicate noise."""


@dataclass(frozen=True)
class Uncertainty:
    """`covariance` of all parameters with `degrees_of_freedom`; `condition` number of the weighted design."""

    covariance: Array
    degrees_of_freedom: float
    condition: float
    lack_of_fit: LackOfFit | None
    block_variance: float = 0.0


def cell_weights(cells: Cells, relative_variance: float) -> Array:
    """1 / (variance of a cell's mean): replicate noise over its count, and what the function itself misses.

    `relative_variance` is that of cell means around the function. Cells with very many repetitions so count no
    more than the function can be trusted to.
    """
    if not cells.repeated:
        return np.ones(len(cells))
    missed = max(0.0, relative_variance - float(np.mean(cells.mean_variance)))
    weights = 1.0 / (missed + cells.mean_variance)
    return np.asarray(weights / weights.mean())


def refine(model: ServiceModel, cells: Cells, weights: Array, how: Fitting) -> ServiceModel:
    """Gauss-Newton on all parameters at once; the start is returned where it leaves the feasible set."""
    current, size = model, len(model.form.coefficients)
    for _ in range(30):
        f = np.asarray(current.predict(cells.levels)) * np.ones(len(cells))
        root = np.sqrt(weights) * _root(f, cells, how)
        jacobian = current.gradient(cells.levels) * root[:, None]
        norms = np.linalg.norm(jacobian, axis=0)
        if np.any(norms == 0):
            return model
        step = np.linalg.lstsq(jacobian / norms, (cells.mean - f) * root, rcond=None)[0] / norms
        moved = with_parameters(current, parameters(current) + step)
        if np.any(parameters(moved)[size:] <= 0) or (how.nonnegative and np.any(moved.form.coefficients < 0)):
            return model
        current = moved
        if np.all(np.abs(step) <= SLIGHT * np.abs(parameters(current))):
            return current
    return current


def parameters(model: ServiceModel) -> Array:
    """Coefficients, then free ratios: the order of the covariance."""
    return np.array([*model.form.coefficients, *(model.ratios[name][level] for name, level in model.free_ratios())])


def with_parameters(model: ServiceModel, values: Array) -> ServiceModel:
    """The same model with other coefficients and ratios."""
    size = len(model.form.coefficients)
    ratios = {name: dict(by_level) for name, by_level in model.ratios.items()}
    for (name, level), value in zip(model.free_ratios(), values[size:], strict=True):
        ratios[name][level] = float(value)
    return replace(model, form=model.form.with_coefficients(values[:size]), ratios=ratios)


def uncertainty(
    model: ServiceModel, cells: Cells, weights: Array, frame: pd.DataFrame, y: Array, how: Fitting
) -> Uncertainty:
    """Covariance of the parameters from the cells' scatter, plus what blocks have in common.

    sigma^2 (J' W J)^-1 with sigma^2 = sum w r^2 / (cells - parameters), r the relative residual of a cell's mean.
    Blocks that differ scale everything together, so the variance of their mean is added along the parameters,
    widened so that Student's t with the model's degrees of freedom covers what so few blocks leave open.
    """
    f = np.asarray(model.predict(cells.levels)) * np.ones(len(cells))
    root = np.sqrt(weights) * _root(f, cells, how)
    jacobian = model.gradient(cells.levels)
    size = jacobian.shape[1]
    squares, freedom = float(np.sum(((cells.mean - f) * root) ** 2)), len(cells) - size
    test = lack_of_fit(f, cells, size)
    if how.loss != "absolute" and freedom < FEW and cells.repeated and not (test and test.p < 0.05 and freedom > 0):
        within = cells.mean_freedom * float(np.mean(weights * cells.mean_variance))
        squares, freedom = squares + within, max(freedom, 0) + cells.mean_freedom
    variance = squares / freedom if freedom > 0 else 0.0
    covariance = variance * inverse_gram(jacobian, root)
    block = block_variance(frame, cells, y)
    widened = block * _widening(frame, max(freedom, 1)) if block else 0.0
    theta = np.where(np.arange(size) < len(model.form.coefficients), parameters(model), 0.0)
    covariance = covariance + widened * np.outer(theta, theta)
    return Uncertainty(covariance, float(max(freedom, 1)), conditioning(jacobian, root), test, block)


def _widening(frame: pd.DataFrame, freedom: float) -> float:
    """Squared ratio of the 97.5 % points of t with blocks - 1 and with `freedom` degrees of freedom."""
    return float((stdtrit(frame["block"].nunique() - 1, 0.975) / stdtrit(freedom, 0.975)) ** 2)


def lack_of_fit(f: Array, cells: Cells, size: int) -> LackOfFit | None:
    """Test that cell means lie around the function no wider than replicates explain; None without replicates."""
    between, within = len(cells) - size, cells.mean_freedom
    if between < 1 or not cells.repeated:
        return None
    relative = cells.mean / f - 1.0
    statistic = float(np.sum(relative**2 / cells.mean_variance)) / between
    missed = float(np.sum(relative**2)) / between - float(np.mean(cells.mean_variance))
    return LackOfFit(
        statistic, (between, within), float(f_law.sf(statistic, between, within)), max(missed, 0.0) ** 0.5
    )


def block_variance(frame: pd.DataFrame, cells: Cells, y: Array) -> float:
    """Variance of the mean of the blocks' common factors, 0 where there is one block or no difference.

    One-way analysis of y over its cell's mean by block: (mean square between - within) / rows a block / blocks.
    """
    if "block" not in frame or frame["block"].nunique() < 2 or not cells.noise.known:
        return 0.0
    relative = pd.Series(y / cells.mean[cells.row_cell])
    groups = relative.groupby(frame["block"].to_numpy())
    sizes, means = groups.size().to_numpy(float), groups.mean().to_numpy()
    blocks, rows = len(sizes), float(sizes.sum())
    between = float(np.sum(sizes * (means - 1.0) ** 2)) / (blocks - 1)
    freedom = rows - blocks - len(cells) + 1
    if freedom < 1:
        return 0.0
    within = float(((relative - groups.transform("mean")) ** 2).sum()) / freedom
    typical = (rows - float(np.sum(sizes**2)) / rows) / (blocks - 1)
    return max(0.0, (between - within) / typical) / blocks


def _root(f: Array, cells: Cells, how: Fitting) -> Array:
    """Square root of the loss's weights."""
    if how.loss == "absolute":
        return np.ones(len(f))
    near = np.mean((f / cells.mean - 1.0) ** 2) <= NEAR**2
    return 1.0 / f if near else 1.0 / cells.mean
