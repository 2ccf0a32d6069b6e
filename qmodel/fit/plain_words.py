"""One paragraph in plain words: what drives the response, how well it is known, where not to use it."""

from __future__ import annotations

import numpy as np

from qmodel.fit.result import FitResult
from qmodel.fit.wording import listed, percent
from qmodel.service.units import stem


def paragraph(result: FitResult) -> str:
    """Four thoughts: drivers, a typical value, accuracy, limits."""
    return " ".join([_drivers(result), _typical(result), _accuracy(result), _limits(result)])


def _drivers(result: FitResult) -> str:
    if result.anova is None:
        return "No analysis of variance was asked for."
    effects = result.anova.effects()
    moving = effects[(effects["PR(>F)"] < 0.05) & (effects["share"] >= 0.005)]
    if moving.empty:
        return "No factor explains the variation beyond chance."
    parts = [
        f"{str(name).replace(':', ' with ')} ({percent(share)})" for name, share in moving["share"].head(4).items()
    ]
    scale = " of its logarithm" if result.anova.transform == "log" else ""
    what = stem(result.measurements.response).replace("_", " ")
    overlap = ", which overlap since the design is not balanced" if float(moving["share"].sum()) > 1.0 else ""
    return f"The {what} is driven by {listed(parts)}, as shares of the variation{scale}{overlap}."


def _typical(result: FitResult) -> str:
    """The prediction in the middle of the design, and the term that makes most of it."""
    levels, text = {}, []
    for name in result.model.factors:
        values = result.measurements.frame[name]
        numeric = name in result.measurements.numeric
        level = float(np.quantile(values, 0.5, method="lower")) if numeric else str(values.mode()[0])
        levels[name] = level
        text.append(f"{name} = {level:g}" if numeric else f"{name} = {level}")
    value = float(np.asarray(result.model.predict(levels)))
    low, high = (float(np.asarray(x)) for x in result.model.interval(levels))
    unit = result.model.unit
    where = f"At {listed(text)}" if text else "Everywhere"
    interval = f"95 % interval of the mean {unit.words(low)} to {unit.words(high)}"
    sentence = f"{where} the model gives {unit.words(value)} ({interval})"
    shares = result.diagnostics["term_shares"]
    if len(shares) > 1:
        most = max(shares, key=lambda k: shares[k])
        name = "the constant" if most == "1" else f"the term {most}"
        sentence += f"; over the design {name} makes {percent(shares[most])} of the time"
    return sentence + "."


def _accuracy(result: FitResult) -> str:
    statistics = result.model.statistics
    inside = statistics["cross_validated"]
    if not _known(inside):
        inside, words = statistics["in_sample"], "In sample"
    else:
        words = "At levels that were left out of the fit"
    median, p95 = percent(inside["median"]), percent(inside["p95"])
    sentence = f"{words} it is off by {median} in the median and {p95} in 95 of 100 cells"
    if result.cells.noise.known:
        sentence += (
            f"; one and the same work varies by {percent(float(np.sqrt(result.cells.noise.scv)))} when repeated"
        )
    return sentence + "."


def _limits(result: FitResult) -> str:
    m = result.measurements
    ranges = [f"{name} {m.frame[name].min():g} to {m.frame[name].max():g}" for name in m.numeric]
    ranges += [f"{name} {listed(sorted(m.frame[name].astype(str).unique()))}" for name in m.categorical]
    sentence = f"It was measured for {'; '.join(ranges)}: do not use it beyond"
    edges = result.model.statistics["cross_validated_at_edges"]
    if _known(edges):
        sentence += f", since at left-out lowest and highest levels it was off by up to {percent(edges['max'])}"
    if m.fixed:
        sentence += f"; nothing is known about {listed(sorted(m.fixed))}, which did not vary"
    return sentence + "."


def _known(errors: dict[str, float | None]) -> bool:
    median = errors.get("median")
    return median is not None and bool(np.isfinite(median))
