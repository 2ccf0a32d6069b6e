"""What an expert would frown at: found in a fit, and said in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qmodel.fit.cells import Array
from qmodel.fit.least_squares import residual_summary
from qmodel.fit.result import FitResult
from qmodel.fit.wording import listed, number, p_equals, percent
from qmodel.service.forms import Affine, Form, design

POOR = 0.5
"""A standard error above this share of its coefficient."""

UNSTABLE = 0.25
"""A coefficient that one left-out level moves by more than this share, and by three standard errors."""

ILL_CONDITIONED = 100.0
OUTLYING = 5.0


def diagnose(result: FitResult) -> FitResult:
    """The result with its diagnostics and warnings filled in."""
    diagnostics: dict[str, Any] = {
        "term_shares": term_shares(result),
        "replicate_deviation": replicate_deviation(result),
        "coefficient_moves": coefficient_moves(result),
        "block_standard_deviation": block_standard_deviation(result),
    }
    filled = replace(result, diagnostics=diagnostics)
    return replace(filled, warnings=(*result.measurements.warnings, *findings(filled)))


def findings(result: FitResult) -> list[str]:
    """All warnings that the fit itself gives rise to."""
    found = (_design, _noise, _coefficients, _stability, _ratios, _cells, _fit)
    return [sentence for finder in found for sentence in finder(result)]


def term_shares(result: FitResult) -> dict[str, float]:
    """Mean share of the predicted time that each term brings, over the cells."""
    form = result.model.form
    if not isinstance(form, Affine):
        return {}
    parts = design(form.terms, result.cells.levels) * form.coefficients
    shares = np.mean(parts / parts.sum(axis=1, keepdims=True), axis=0)
    return {label: float(share) for label, share in zip(form.labels, shares, strict=True)}


def replicate_deviation(result: FitResult) -> dict[str, float] | None:
    """Median, P95 and maximum of |y / mean of its cell - 1| where cells have replicates."""
    cells = result.cells
    repeated = cells.count[cells.row_cell] > 1
    if not repeated.any():
        return None
    return residual_summary((result.measurements.y / cells.mean[cells.row_cell] - 1.0)[repeated])


def coefficient_moves(result: FitResult) -> dict[str, tuple[float, str]]:
    """For each coefficient the largest relative change when one fold is left out, and that fold's label."""
    whole = result.search.form
    if not isinstance(whole, Affine):
        return {}
    moves: dict[str, tuple[float, str]] = {}
    for form, fold in zip(result.search.chosen.forms, result.search.folds, strict=True):
        if not isinstance(form, Affine) or form.terms != whole.terms:
            continue
        for label, value, without in zip(whole.labels, whole.weights, form.weights, strict=True):
            move = abs(without / value - 1.0) if value else 0.0
            if move > moves.get(label, (0.0, ""))[0]:
                moves[label] = (float(move), fold.label)
    return moves


def block_standard_deviation(result: FitResult) -> float:
    """Standard deviation of the blocks' common factors, relative; 0 without blocks."""
    frame = result.measurements.frame
    blocks = frame["block"].nunique() if "block" in frame else 1
    return float(np.sqrt(result.uncertainty.block_variance * blocks))


def _design(result: FitResult) -> Iterator[str]:
    m = result.measurements
    two = [name for name in m.numeric if m.frame[name].nunique() == 2]
    if two:
        yield f"{listed(two)}: with two levels a bend between them cannot be seen, nor a left-out level predicted."
    numeric = [name for name in m.numeric if m.frame[name].nunique() > 1]
    for k, a in enumerate(numeric):
        for b in numeric[k + 1 :]:
            together = abs(
                float(np.corrcoef(np.log1p(result.cells.levels[a]), np.log1p(result.cells.levels[b]))[0, 1])
            )
            if together > 0.98:
                yield f"{a} and {b} move together in these measurements: their effects cannot be told apart."
    validated = zip(result.search.folds, result.search.chosen.forms, strict=True)
    if result.search.sampled is not None:
        part = f"{result.search.sampled} of {len(result.cells)} cells"
        yield f"The function was chosen on a random {part}, and then fitted to all."
    lost = [fold.label for fold, form in validated if form is None]
    if lost:
        yield f"The terms are not determined without {listed(lost)}: there they cannot be judged."
    if not result.search.folds:
        yield "Too few cells to leave one out: the function is a straight line because nothing else can be judged."
    elif result.search.folds[0].factor == "cell":
        yield "No factor has three levels: single cells were left out instead of levels, which says less."


def _noise(result: FitResult) -> Iterator[str]:
    noise = result.cells.noise
    if not noise.known:
        yield "Nothing was repeated: noise cannot be told from lack of fit."
        return
    once = int(np.sum(result.cells.count == 1))
    if once:
        yield f"{once} of {len(result.cells)} cells were measured only once."
    cells = result.cells
    deviation = (result.measurements.y / cells.mean[cells.row_cell] - 1.0) ** 2
    deviation = deviation[cells.count[cells.row_cell] > 1]
    largest = np.sort(deviation)[::-1][: max(1, len(deviation) // 50)]
    if noise.degrees_of_freedom >= 20 and noise.scv > 1e-4 and largest.sum() > 0.5 * deviation.sum():
        yield f"{len(largest)} of {len(deviation)} repetitions make over half of the noise: look for disturbances."
    if result.visits is not None and result.visits.matter:
        differ = f"Visits of one cell differ by {percent(result.visits.deviation)} (standard deviation)"
        yield f"{differ}, more than their repetitions explain: visits, not repetitions, count as replicates."
    block = result.diagnostics["block_standard_deviation"]
    if block > 0.01:
        yield f"Blocks differ by {percent(block)} (standard deviation): the machine changed between them."


def _coefficients(result: FitResult) -> Iterator[str]:
    condition = result.uncertainty.condition
    if condition > ILL_CONDITIONED:
        nearly = "the terms are nearly dependent, single coefficients mean little"
        yield f"Condition number {number(condition, 3)}: {nearly}."
    poor = [
        name for name, (value, error) in result.model.labelled_coefficients().items() if error > POOR * abs(value)
    ]
    if poor:
        yield f"Poorly determined (standard error above half the value): {listed(poor)}."
    terms = zip(getattr(result.search.form, "terms", ()), getattr(result.search.form, "weights", ()), strict=True)
    zero = [str(term) for term, weight in terms if weight == 0 and term.atoms]
    if zero:
        yield f"Held at zero because a negative time makes no sense: {listed(zero)}."


def _stability(result: FitResult) -> Iterator[str]:
    errors = result.model.labelled_coefficients()
    for label, (move, fold) in result.diagnostics["coefficient_moves"].items():
        value, error = errors.get(label, (0.0, np.inf))
        if move > UNSTABLE and move * abs(value) > 3 * error:
            moved = f"The coefficient of {label} moves by {percent(move)} when {fold} is left out"
            yield f"{moved}: it is not identified."
    for factor, place, other, fold in break_moves(result):
        moved = f"The break of {factor} at {place:g} moves to {other:g} when {fold} is left out"
        yield f"{moved}: it is not identified."


def break_moves(result: FitResult) -> list[tuple[str, float, float, str]]:
    """Breaks that one fold moves by more than a quarter: factor, break, where it moves to, the fold's label."""
    whole, moves = _breaks(result.search.form), []
    for form, fold in zip(result.search.chosen.forms, result.search.folds, strict=True):
        for factor, places in (_breaks(form) if form is not None else {}).items():
            pairs = zip(whole.get(factor, ()), places, strict=False)
            moves += [(factor, a, b, fold.label) for a, b in pairs if abs(np.log(b / a)) > np.log1p(UNSTABLE)]
    largest = {(f, a): (f, a, b, label) for f, a, b, label in sorted(moves, key=lambda m: abs(np.log(m[2] / m[1])))}
    return list(largest.values())


def _breaks(form: Form) -> dict[str, tuple[float, ...]]:
    """Breaks of each factor, in order."""
    found: dict[str, set[float]] = {}
    for term in getattr(form, "terms", ()):
        for atom in term.atoms:
            if atom.kind in ("min", "over", "between"):
                places = atom.argument if isinstance(atom.argument, tuple) else (float(str(atom.argument)),)
                found.setdefault(atom.factor, set()).update(places)
    return {factor: tuple(sorted(places)) for factor, places in found.items()}


def _ratios(result: FitResult) -> Iterator[str]:
    for scaling in result.search.scalings:
        if scaling.p_constant is not None and scaling.p_constant < 0.01:
            low, high = (percent(x - 1) for x in scaling.span)
            constant = f"The ratio of {scaling.factor} is not the same everywhere ({p_equals(scaling.p_constant)})"
            yield f"{constant}: single cells lie {low} to {high} off it."


def _cells(result: FitResult) -> Iterator[str]:
    """Cells that the function misses by far more than the others."""
    error = relative_errors(result)
    spread = float(np.median(np.abs(error))) / 0.6745
    limit = max(OUTLYING * spread, 0.02)
    for k in np.argsort(-np.abs(error))[:3]:
        if abs(error[k]) > limit:
            where = ", ".join(f"{name} = {_level(values[k])}" for name, values in result.cells.levels.items())
            yield f"The function misses the cell {where} by {percent(float(error[k]))}."


def _fit(result: FitResult) -> Iterator[str]:
    inside = result.model.statistics["cross_validated"]
    if inside["median"] is not None and inside["p95"] > 0.1:
        reached = f"At left-out levels the error reaches {percent(inside['p95'])} (P95)"
        yield f"{reached}: the form misses something, look at the residuals."
    if result.anova is not None and not result.anova.significant():
        yield "No factor has a significant effect at the 5 % level: there may be nothing to model."


def relative_errors(result: FitResult) -> Array:
    """Predicted over measured mean, less 1, cell by cell."""
    return np.asarray(result.model.predict(result.cells.levels) / result.cells.mean - 1.0) * np.ones(
        len(result.cells)
    )


def _level(level: Any) -> str:
    return str(level) if isinstance(level, str) else f"{level:g}"
