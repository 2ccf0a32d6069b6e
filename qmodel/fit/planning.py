"""What to measure next: the cells that would narrow the predictions wanted, and how many repetitions they need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from qmodel.errors import InputError
from qmodel.fit.cells import Array
from qmodel.fit.result import FitResult
from qmodel.fit.wording import markdown_table, percent, plain_table, wrapped
from qmodel.service.domain import Numeric
from qmodel.service.terms import level_text

Grid = dict[str, Any]

MOST_CANDIDATES = 5000
MOST_LEVELS = 24
MOST_REPLICATES = 100_000
MOST_PROPOSED = 30
"""A plan proposes no more repetitions of a cell than these."""


@dataclass(frozen=True)
class Plan:
    """Cells to measure, best first.

    `table`: the levels, `new` (never measured), `outside` (beyond the measured range), `replicates`, and `error`:
    the relative standard error of the wanted predictions (root mean square) once this and the rows above are
    measured. `before` is that error now; `outside_share` the share of the wanted levels beyond the measured range,
    where the form itself, not only its coefficients, is a guess.
    """

    table: pd.DataFrame
    before: float
    outside_share: float
    wanted: Array = field(default_factory=lambda: np.zeros(0))
    reach: str = ""

    def summary(self) -> str:
        """The plan as plain text, 80 columns wide."""
        return "\n".join([*self.sentences(), "", plain_table(self.formatted())])

    def to_markdown(self) -> str:
        """The plan in Markdown."""
        return "\n\n".join([*self.sentences(), markdown_table(self.formatted())]) + "\n"

    def sentences(self) -> list[str]:
        """The error before and after, and what lies beyond the measured range."""
        after = float(self.table["error"].iloc[-1]) if len(self.table) else self.before
        errors = f"{percent(self.before)} now, {percent(after)} with all of these"
        first = f"Standard error of the wanted predictions: {errors}."
        if not self.outside_share:
            return [first]
        beyond = f"{percent(self.outside_share)} of the wanted levels lie beyond what was measured:"
        return [first, f"{beyond} measure there first.", *([self.reach] if self.reach else [])]

    def formatted(self) -> pd.DataFrame:
        """The table as text."""
        shown = self.table.copy()
        shown["error"] = shown["error"].map(percent)
        for name in ("new", "outside"):
            shown[name] = np.where(shown[name], "yes", "no")
        return shown.map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell))


def next_measurements(
    result: FitResult,
    wanted: Mapping[str, Any] | None = None,
    *,
    weights: Sequence[float] | None = None,
    count: int = 5,
    replicates: int | None = None,
) -> Plan:
    """The `count` cells whose measurement would most reduce the error of the `wanted` predictions.

    `wanted` gives levels, one entry a prediction, with `weights` (default: every measured cell, equally): take them
    from the scenario to be predicted. A cell measured r times adds the information g g' / (v f^2), g the gradient
    and f the prediction there, v = (what the function misses)^2 + noise / r; cells are taken greedily so that the
    weighted mean of g' C g / f^2 over the wanted levels falls most (I-optimality). Cells that ran out of memory
    are not proposed. `replicates` defaults to the median of the cells measured so far.
    Raises InputError for wanted levels that the model cannot take.
    """
    if count < 1:
        raise InputError("count", f"{count} is below 1", "ask for at least one cell")
    if not _used(result):
        raise InputError("planning", "the function has no factor", "measure more levels first")
    targets = _columns(result, wanted)
    share = _weights(weights, targets)
    repeats = max(1, int(replicates or np.median(result.cells.count)))
    grid = _candidates(result, targets)
    scaled = _relative_gradient(result, grid)
    aims = _relative_gradient(result, targets)
    covariance = np.array(result.model.covariance)
    variance = _cell_variance(result, repeats)
    before = _error(aims, share, covariance)
    rows = []
    for _ in range(count):
        k = _best(scaled, aims, share, covariance, variance)
        covariance = _updated(covariance, scaled[k], variance)
        levels = {name: values[k] for name, values in grid.items()}
        rows.append(_row(result, levels) | {"replicates": repeats, "error": _error(aims, share, covariance)})
    outside = _outside_share(result, targets, share)
    return Plan(pd.DataFrame(rows), before, outside, share, _reach(result, targets) if outside else "")


def design_summary(
    result: FitResult, wanted: Mapping[str, Any] | None = None, *, count: int = 5, precision: float = 0.02
) -> str:
    """The plan and the repetitions it takes, as plain text: what `qmodel fit --design` prints."""
    repeats = replicates_needed(result.model.residual_scv, precision) if result.model.residual_scv > 0 else 1
    plan = next_measurements(result, wanted, count=count, replicates=min(repeats, MOST_PROPOSED))
    heading = "Next measurements" if wanted is None else f"Next measurements for {len(plan.wanted)} wanted levels"
    noise = percent(math.sqrt(result.model.residual_scv))
    need = (
        f"One repetition varies by {noise}: {repeats} repetitions tell a cell's mean to within {percent(precision)}"
    )
    lines = [heading, "-" * len(heading), *map(wrapped, plan.sentences()), wrapped(f"{need} (95 % interval).")]
    if repeats > MOST_PROPOSED:
        lines.append(wrapped(f"The plan takes {MOST_PROPOSED}: further ones help less than further cells."))
    return "\n".join([*lines, "", plain_table(plan.formatted())])


def replicates_needed(scv: float, precision: float, confidence: float = 0.95) -> int:
    """Fewest repetitions for which a cell's mean is known to within `precision` (relative, half of its interval).

    The least n with t(n - 1) sqrt(scv / n) <= precision. Raises InputError for a precision that is not above 0,
    or that more than 100,000 repetitions would not reach.

    >>> replicates_needed(scv=0.01, precision=0.05)
    18
    """
    if not precision > 0 or not math.isfinite(precision):
        raise InputError("precision", f"{precision} is not above 0", "give for example 0.02")
    if not 0 < confidence < 1:
        raise InputError("confidence", f"{confidence} is not between 0 and 1", "give for example 0.95")
    low, high = 1, MOST_REPLICATES
    if _half_width(scv, high, confidence) > precision:
        raise InputError("precision", f"{precision} needs more than {high} repetitions", "ask for less")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _half_width(scv, middle, confidence) <= precision else (middle, high)
    return high


def _half_width(scv: float, n: int, confidence: float) -> float:
    return float(stdtrit(n - 1, 0.5 + confidence / 2.0)) * math.sqrt(scv / n)


def _columns(result: FitResult, wanted: Mapping[str, Sequence[Any]] | None) -> Grid:
    """Levels of every factor that the formula uses, as columns of one length."""
    source: Mapping[str, Any] = result.cells.levels if wanted is None else wanted
    full = {**result.model.reference, **source}
    result.model.predict({name: full[name] for name in full if name in _used(result)})
    columns = np.broadcast_arrays(*(np.atleast_1d(full[name]) for name in _used(result)))
    return dict(zip(_used(result), columns, strict=True))


def _used(result: FitResult) -> list[str]:
    return list(dict.fromkeys((*result.model.form.factors, *result.model.ratios)))


def _weights(weights: Sequence[float] | None, targets: Grid) -> Array:
    size = len(next(iter(targets.values())))
    if weights is None:
        return np.full(size, 1.0 / size)
    share = np.asarray(weights, dtype=float)
    if share.shape != (size,) or not np.all(np.isfinite(share)) or np.any(share < 0) or share.sum() == 0:
        raise InputError("weights", f"are not {size} numbers of at least 0", "give one a wanted prediction")
    return np.asarray(share / share.sum())


def _candidates(result: FitResult, targets: Grid) -> Grid:
    """Every combination of measured and wanted levels that memory allows, a random part of very many."""
    levels = {}
    for name in _used(result):
        both = np.unique(np.concatenate([np.unique(result.cells.levels[name]), np.unique(targets[name])]))
        spread = np.unique(np.linspace(0, len(both) - 1, min(len(both), MOST_LEVELS)).round().astype(int))
        levels[name] = both[spread]
    combinations = list(itertools.product(*levels.values()))
    if len(combinations) > MOST_CANDIDATES:
        picked = np.random.default_rng(0).permutation(len(combinations))[:MOST_CANDIDATES]
        combinations = [combinations[k] for k in np.sort(picked)]
    grid = {name: np.array(column) for name, column in zip(levels, zip(*combinations, strict=True), strict=True)}
    domain = result.model.domain
    fits = [not domain.memory({n: v[k] for n, v in grid.items()}) for k in range(len(combinations))]
    return {name: values[np.array(fits, bool)] for name, values in grid.items()}


def _relative_gradient(result: FitResult, levels: Grid) -> Array:
    """Gradient over prediction, shape (points, parameters)."""
    predicted = np.ravel(np.asarray(result.model.predict(levels)))
    gradient = result.model.gradient(levels)
    return np.asarray(gradient / np.broadcast_to(predicted, len(gradient))[:, None])


def _cell_variance(result: FitResult, repeats: int) -> float:
    """Relative variance of a new cell's mean around the function."""
    test = result.uncertainty.lack_of_fit
    missed = test.spread**2 if test is not None else 0.0
    return max(missed + result.model.residual_scv / repeats, 1e-12)


def _error(aims: Array, share: Array, covariance: Array) -> float:
    variance = np.einsum("ij,jk,ik->i", aims, covariance, aims)
    return float(np.sqrt(share @ np.maximum(variance, 0.0)))


def _best(scaled: Array, aims: Array, share: Array, covariance: Array, variance: float) -> int:
    """Candidate with the largest drop of the weighted mean variance: sum w (a' C g)^2 / (v + g' C g)."""
    along = scaled @ covariance
    drop = (share @ (aims @ along.T) ** 2) / (variance + np.einsum("ij,ij->i", along, scaled))
    return int(np.argmax(drop))


def _updated(covariance: Array, gradient: Array, variance: float) -> Array:
    """Covariance with one more measurement (Sherman and Morrison)."""
    along = covariance @ gradient
    return np.asarray(covariance - np.outer(along, along) / (variance + gradient @ along))


def _row(result: FitResult, levels: Mapping[str, Any]) -> dict[str, Any]:
    here = np.ones(len(result.cells), bool)
    for name, level in levels.items():
        here &= level_text(result.cells.levels[name]) == str(level_text(level))
    plain = {name: str(level) if isinstance(level, str) else float(level) for name, level in levels.items()}
    return plain | {"new": not here.any(), "outside": bool(result.model.outside_domain(plain))}


def _reach(result: FitResult, targets: Grid) -> str:
    """Each numeric factor whose wanted levels leave the measured range."""
    parts = []
    for name, values in targets.items():
        span = result.model.domain.spans.get(name)
        if isinstance(span, Numeric) and (np.min(values) < span.low or np.max(values) > span.high):
            asked = f"{np.min(values):g} to {np.max(values):g}"
            parts.append(f"{name} is wanted at {asked}, measured at {span.low:g} to {span.high:g}")
    return f"{'; '.join(parts)}." if parts else ""


def _outside_share(result: FitResult, targets: Grid, share: Array) -> float:
    points = ({name: values[k] for name, values in targets.items()} for k in range(len(share)))
    return float(sum(w for w, point in zip(share, points, strict=True) if result.model.outside_domain(point)))
