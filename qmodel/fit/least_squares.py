"""Non-negative least squares with relative loss, and what it leaves uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import nnls

from qmodel.fit.cells import Array

Loss = Literal["relative", "huber", "absolute"]
HUBER = 1.345
"""Tuning constant of Huber's loss: 95 % efficiency for normal errors (Huber 1964)."""

SINGULAR = 1e-9
"""A design whose smallest singular value is below this share of the largest (unit columns) is not identifiable."""

SINGULAR_PRODUCTS = 1e-12
"""Smallest eigenvalue, an unknown, of a cross-product matrix with unit diagonal that determines coefficients."""

WELL = 1e-5
"""The same, for coefficients to ten digits: cross products have the square of the condition number."""

CLEAR = 1e-9
"""A coefficient (unit columns) that is positive by less than this share of the largest may be 0."""

NEAR = 0.3
"""Root mean square relative error up to which weights 1/f^2 are used."""

_PASSES = 25


@dataclass(frozen=True)
class Fitting:
    """How coefficients are found: the loss, and whether they may be negative."""

    loss: Loss = "relative"
    nonnegative: bool = True


DEFAULT = Fitting()


def fit_coefficients(x: Array, y: Array, weights: Array | None = None, how: Fitting = DEFAULT) -> Array:
    """Coefficients b of y ~ x @ b.

    Relative loss minimises sum w (f/y - 1)^2 with f = x @ b. Where that fits well, it goes on with 1/f^2 for 1/y^2
    until the mean of y/f is exactly 1 (weights 1/y^2 put f below the mean of y by twice the noise's scv); a poor
    fit stays with 1/y^2, which keeps the errors of small y small. Huber's loss cuts the weight of relative
    residuals beyond 1.345 robust standard deviations. Absolute loss is ordinary least squares.
    """
    w = np.ones(len(y)) if weights is None else weights
    if how.loss == "absolute":
        return solve(x, y, np.sqrt(w), how.nonnegative)
    scale, extra = 1.0 / y, np.ones(len(y))
    b = solve(x, y, np.sqrt(w) * scale, how.nonnegative)
    for _ in range(_PASSES):
        f = x @ b
        if np.any(f <= 0) or np.mean((f / y - 1.0) ** 2) > NEAR**2:
            return b
        if how.loss == "huber":
            extra = _huber(y / f - 1.0)
        last, b = b, solve(x, y, np.sqrt(w * extra) / f, how.nonnegative)
        if np.all(np.abs(b - last) <= 1e-9 * np.abs(last)):
            break
    return b


def solve(x: Array, y: Array, root_weights: Array, nonnegative: bool = True) -> Array:
    """Weighted least squares, non-negative unless told otherwise.

    From cross products where these determine the coefficients to ten digits, else by QR with unit columns.
    """
    a, target = x * root_weights[:, None], y * root_weights
    quick = solve_products(a.T @ a, target @ a, WELL, nonnegative)
    return _by_qr(a, target, nonnegative) if quick is None else quick


def solve_products(
    gram: Array, moment: Array, smallest: float = SINGULAR_PRODUCTS, nonnegative: bool = True
) -> Array | None:
    """Least squares from cross products, or None where an eigenvalue (unit diagonal) is too small."""
    norms = np.sqrt(np.maximum(gram.diagonal(), 1e-300))
    values, vectors = np.linalg.eigh(gram / (norms[:, None] * norms))
    if not values[0] >= smallest * len(norms):
        return None
    target = moment / norms
    free = vectors @ ((target @ vectors) / values)
    if not nonnegative or (free > CLEAR * abs(free).max()).all():  # the least of all is the least of those
        return np.asarray(free / norms)
    root = np.sqrt(values)
    return np.asarray(nnls(root[:, None] * vectors.T, (target @ vectors) / root)[0] / norms)


def _by_qr(a: Array, target: Array, nonnegative: bool) -> Array:
    norms = np.linalg.norm(a, axis=0)
    norms[norms == 0] = 1.0
    r = np.asarray(np.linalg.qr(np.column_stack([a / norms, target]), mode="r"))
    left, right = r[:, :-1], r[:, -1]
    b = nnls(left, right)[0] if nonnegative else np.linalg.lstsq(left, right, rcond=None)[0]
    return np.asarray(b / norms)


def conditioning(x: Array, root_weights: Array) -> float:
    """Condition number of the weighted design with unit columns; infinite if a column is zero."""
    a = x * root_weights[:, None]
    norms = np.linalg.norm(a, axis=0)
    if np.any(norms == 0):
        return float("inf")
    singular = np.linalg.svd(np.linalg.qr(a / norms, mode="r"), compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def identifiable(x: Array, root_weights: Array) -> bool:
    """Whether every coefficient of the weighted design is determined."""
    return x.shape[0] >= x.shape[1] and conditioning(x, root_weights) < 1.0 / SINGULAR


def inverse_gram(x: Array, root_weights: Array) -> Array:
    """(x' W x)^-1 by way of QR with unit columns."""
    a = x * root_weights[:, None]
    norms = np.linalg.norm(a, axis=0)
    norms[norms == 0] = 1.0
    r_inverse = np.linalg.pinv(np.linalg.qr(a / norms, mode="r"))
    return np.asarray(r_inverse @ r_inverse.T / np.outer(norms, norms))


def _huber(residuals: Array) -> Array:
    spread = np.median(np.abs(residuals)) / 0.6745
    size = np.maximum(np.abs(residuals), 1e-300)
    return np.minimum(1.0, HUBER * max(spread, 1e-12) / size)


def residual_summary(errors: Any) -> dict[str, float]:
    """Median, 95th percentile and maximum of absolute relative errors."""
    size = np.abs(np.asarray(errors, dtype=float))
    size = size[np.isfinite(size)]
    if not size.size:
        return {"median": float("nan"), "p95": float("nan"), "max": float("nan")}
    return {"median": float(np.median(size)), "p95": float(np.percentile(size, 95)), "max": float(size.max())}
