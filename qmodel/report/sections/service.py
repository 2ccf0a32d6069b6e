"""Section 5: the service-time function, how well it holds, and what idle gaps do to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from scipy.special import stdtrit

from qmodel.report.document import Block, Column, Formula, Table, bullets, finding, paragraph, prose, section
from qmodel.report.figures import service_times
from qmodel.report.inline import Content
from qmodel.report.names import listed, words
from qmodel.report.quantity import Estimate, Interval, Quantity
from qmodel.report.sections import iterations
from qmodel.report.sections.anova import slug
from qmodel.report.sections.design import equals
from qmodel.report.sections.evidence import Evidence
from qmodel.service.forms import Affine
from qmodel.service.model import ServiceModel
from qmodel.service.terms import latex_name
from qmodel.service.token_service import TokenService
from qmodel.service.units import stem
from qmodel.theory.typst import from_latex

if TYPE_CHECKING:
    from qmodel.fit.result import FitResult

PACING = "pacing"
ONE_LINE = 110
"""Length of a formula in Typst up to which it fits on one line."""


def blocks(study: Evidence) -> Iterator[Block]:
    """Formula, coefficients, errors and a figure of each phase; then the pacing."""
    yield section("Service-time function", "service")
    if study.iterations is not None:
        yield from iterations.blocks(study, study.iterations)
        return
    if not study.fits:
        yield paragraph("The scenario brings its service times (@tab:classes); none was fitted in this study.")
        return
    yield paragraph(
        "The queueing model needs the time of work that was not itself in the grid. A function with "
        "non-negative coefficients was fitted to the cell means with relative loss; its form was chosen by "
        "the error at whole levels left out of the fit, the simpler of equals first."
    )
    for phase, fit in study.fits.items():
        if len(study.fits) > 1:
            yield section(f"Phase {phase}", level=2)
        yield from phase_blocks(study, phase, fit)
    yield from request_formula(study)
    yield pacing_paragraph(study)


def phase_blocks(study: Evidence, phase: str, fit: FitResult) -> Iterator[Block]:
    """Evidence on one phase."""
    label = slug(phase)
    yield formula(fit.model, phase)
    yield coefficient_table(study, phase, fit)
    yield error_table(study, phase, fit)
    yield accuracy(fit)
    if (drawn := service_figure(study, phase, fit)) is not None:
        yield drawn
    if fit.warnings:
        yield paragraph(f"What an expert would frown at (see also @tab:errors-{label}):")
        yield bullets(plain_warning(text, fit) for text in fit.warnings)


def formula(model: ServiceModel, phase: str) -> Formula:
    """The function with its numbers."""
    latex = spaced(model.latex())
    typst = typst_of(latex)
    if isinstance(model.form, Affine) and len(typst) > ONE_LINE:
        latex, typst = in_lines(model)
    source = prose("fitted here{where}", where=ratios(model))
    return Formula(f"eq:service-{slug(phase)}", latex, typst, source)


def in_lines(model: ServiceModel) -> tuple[str, str]:
    """The function over several lines, in LaTeX and Typst; its ratios divide the left-hand side."""
    left = " / ".join([latex_name(stem(model.response)), *(rf"r_{{{latex_name(name)}}}" for name in model.ratios)])
    terms = re.split(r" (?=[+-] )", spaced(model.form.latex(model.unit)))
    lines = [""]
    for term in terms:
        if lines[-1] and len(typst_of(lines[-1] + term)) > ONE_LINE:
            lines.append("")
        lines[-1] += f" {term}"
    latex = r" \\ & ".join(line.strip() for line in lines)
    typst = " \\ & ".join(typst_of(line.strip()) for line in lines)
    head = spaced(left)
    return rf"\begin{{aligned}} {head} = {{}} & {latex} \end{{aligned}}", f"{typst_of(head)} = & {typst}"


def ratios(model: ServiceModel) -> str:
    """What the ratios are at each level."""
    parts = [
        f"r({words(name)}) is " + listed(f"{value:.4g} for {words(level)}" for level, value in levels.items())
        for name, levels in model.ratios.items()
    ]
    return "; " + "; ".join(parts) if parts else ""


def typst_of(latex: str) -> str:
    r"""The formula for Typst, with the blanks and the micro sign in its upright names kept.

    >>> typst_of(r"2\,\mathrm{\mu s} \cdot \mathrm{batch\ size}")
    '2 thin "µs" dot "batch size"'
    """
    kept = latex.replace(r"\mathrm{\mu ", r"\mathrm{µ").replace("\\ ", "␣")
    return from_latex(kept).replace("␣", " ")


def spaced(latex: str) -> str:
    r"""LaTeX whose upright names have blanks in place of underscores.

    >>> print(spaced(r"2 \\cdot \\mathrm{batch\\_size}"))
    2 \\cdot \\mathrm{batch\\ size}
    """
    return re.sub(
        r"\\mathrm\{([^{}]*)\}", lambda m: rf"\mathrm{{{m[1].replace(chr(92) + '_', chr(92) + ' ')}}}", latex
    )


def coefficient_table(study: Evidence, phase: str, fit: FitResult) -> Table:
    """Each coefficient with its 95 % interval and its share of the time."""
    t = float(stdtrit(min(fit.model.degrees_of_freedom, 1e9), 0.975))
    shares = fit.diagnostics.get("term_shares", {})
    unit = fit.model.unit.symbol
    rows: list[tuple[Any, ...]] = []
    for label, (value, error) in fit.model.labelled_coefficients().items():
        ratio = label.startswith("ratio ")
        of = "" if ratio else unit
        rows.append(
            (
                term_name(label),
                Quantity(value, of, digits=4) if of else Quantity(value, digits=4),
                Interval(value - t * error, value + t * error, of),
                shares.get(label),
            )
        )
    return Table(
        f"tab:coefficients-{slug(phase)}",
        prose(
            "Coefficients of @eq:service-{label} ({phase}, measured on {device}) with 95 % intervals, and the "
            "mean share "
            "of the predicted time that each term brings.".replace("{label}", slug(phase)),
            phase=phase,
            device=study.device,
        ),
        (
            Column("Term"),
            Column("Coefficient", align="right"),
            Column("95 % interval", align="right"),
            Column("Share of the time", "ratio"),
        ),
        tuple(rows),
    )


def plain_warning(text: str, fit: FitResult) -> str:
    """A warning with terms and factors in words."""
    labels = [label for label in fit.model.labelled_coefficients() if label != "1"]
    for label in sorted(labels, key=len, reverse=True):
        text = text.replace(label, term_name(label))
    for name in fit.measurements.factors:
        text = text.replace(name, words(name))
    return re.sub(r"(?<=: )1(?=[.,]| and)|(?<=, )1(?=[.,]| and)|(?<=coefficient of )1(?= )", "the constant", text)


def term_name(label: str) -> str:
    """A term in words.

    >>> term_name("batch_size:steps"), term_name("1"), term_name("ratio pacing[back-to-back]")
    ('batch size × steps', 'constant', 'ratio: pacing back to back')
    """
    if label == "1":
        return "constant"
    if match := re.fullmatch(r"ratio (\w+)\[(.*)\]", label):
        return f"ratio: {words(match[1])} {words(match[2])}"
    product = " × ".join(words(part) for part in label.split(":"))
    return re.sub(r"\^([23])", lambda m: {"2": "²", "3": "³"}[m[1]], product)


def error_table(study: Evidence, phase: str, fit: FitResult) -> Table:
    """In sample, at left-out levels, extrapolated, and the replicates' own noise beside them."""
    return Table(
        f"tab:errors-{slug(phase)}",
        prose(
            "Relative error of the function ({phase}, measured on {device}): what it misses of cell means, "
            "against what one and the same work varies by when repeated.",
            phase=phase,
            device=study.device,
        ),
        (
            Column("Where"),
            Column("Median", "ratio"),
            Column("95 of 100 cells", "ratio"),
            Column("Largest", "ratio"),
        ),
        tuple((name, e["median"], e["p95"], e["max"]) for name, e in error_rows(fit).items()),
    )


def error_rows(fit: FitResult) -> dict[str, dict[str, float | None]]:
    """Errors by where they were found, those that could be had."""
    statistics = fit.model.statistics
    entries = {
        "in sample: cells it was fitted to": statistics["in_sample"],
        "left-out levels between others": statistics["cross_validated"],
        "left-out lowest and highest levels": statistics["cross_validated_at_edges"],
    }
    for where, errors in statistics["largest_fifth"].items():
        entries[f"extrapolated to {words(where).replace('>=', '≥')}"] = errors
    if noise := fit.diagnostics.get("replicate_deviation"):
        entries["noise: one repetition against its cell's mean"] = noise
    return {name: e for name, e in entries.items() if e.get("median") is not None}


def accuracy(fit: FitResult) -> Block:
    """One finding: error at left-out levels against noise, and lack of fit."""
    rows = error_rows(fit)
    left_out = rows.get("left-out levels between others")
    text = (
        f"At levels that were left out of the fit the function is off by "
        f"{Quantity(left_out['median'], 'ratio')} in the median and by at most "
        f"{Quantity(left_out['max'], 'ratio')}."
        if left_out
        else "The design has too few levels to leave one out, so only the error in sample is known."
    )
    test = fit.uncertainty.lack_of_fit
    if test is None:
        text += " Lack of fit cannot be tested without replicates."
    elif test.p >= 0.05:
        text += (
            f" The cell means scatter around it no wider than replicates explain (lack-of-fit F test, p "
            f"{equals(test.p)})."
        )
    else:
        text += (
            f" The cell means lie {Quantity(test.spread, 'ratio')} off it beyond noise (lack-of-fit F test, p "
            f"{equals(test.p)}): the form is simpler than the machine."
        )
    return finding("{text}", text=text)


def service_figure(study: Evidence, phase: str, fit: FitResult) -> Block | None:
    """Measured medians, the fitted lines, and what is left over, over the two factors that matter most."""
    axes = figure_factors(fit)
    if axes is None:
        return None
    x, by = axes
    held = held_levels(fit, (x, by))
    rows = rows_at(fit.measurements.frame, held)

    def predict(levels: pd.DataFrame) -> Any:
        return fit.model.predict({**held, x: levels[x].to_numpy(float), by: levels[by].to_numpy(float)})

    others = listed(f"{words(name)} {level_words(level)}" for name, level in held.items())
    return study.picture(
        f"service-{slug(phase)}",
        service_times(rows, predict, x=x, by=by),
        prose(
            "Service time against {x} ({phase}, measured on {device}{others}). Points: medians with the 5th "
            "to 95th percentile of the repetitions; lines: the fitted function. See at the right whether the "
            "points scatter around zero or lean to one side.",
            x=words(x),
            phase=phase,
            device=study.device,
            others=f"; {others}" if others else "",
        ),
        f"Service time rising with {words(x)}, one line for each {words(by)}, and residuals in per cent",
    )


def level_words(level: Any) -> str:
    """A level of a factor.

    >>> level_words(8.0), level_words("idle-gaps")
    ('8', 'idle gaps')
    """
    return words(level) if isinstance(level, str) else f"{level:g}"


def figure_factors(fit: FitResult) -> tuple[str, str] | None:
    """The two numeric factors with the largest effects, the one with more levels on the axis; None if fewer."""
    shares: dict[Any, float] = fit.anova.effects()["share"].to_dict() if fit.anova is not None else {}
    numeric = [name for name in fit.measurements.numeric if fit.measurements.frame[name].nunique() > 1]
    numeric.sort(key=lambda name: -float(shares.get(name, 0.0)))
    if len(numeric) < 2:
        return None
    first, second = numeric[:2]
    more = fit.measurements.frame[second].nunique() > fit.measurements.frame[first].nunique()
    return (second, first) if more else (first, second)


def held_levels(fit: FitResult, drawn: tuple[str, str]) -> dict[str, Any]:
    """The level of every other factor: its reference, or the highest."""
    frame, reference = fit.measurements.frame, fit.model.reference
    others = [name for name in fit.measurements.factors if name not in drawn]
    return {name: reference.get(name, frame[name].max()) for name in others}


def rows_at(frame: pd.DataFrame, held: dict[str, Any]) -> pd.DataFrame:
    """The rows at these levels."""
    for name, level in held.items():
        frame = frame[frame[name] == level]
    return frame


def request_formula(study: Evidence) -> Iterator[Block]:
    """How the phases of a language model make up one request."""
    if not isinstance(study.base.system.model, TokenService):
        return
    latex = (
        r"S(\mathrm{input}, \mathrm{output}) = \mathrm{prefill}(\mathrm{input}) + "
        r"\sum_{i = 1}^{\mathrm{output} - 1} \mathrm{decode}(\mathrm{input} + i)"
    )
    typst = 'S("input", "output") = "prefill"("input") + sum_(i = 1)^("output" - 1) "decode"("input" + i)'
    yield paragraph(
        "One request is a prefill, which makes the first token, and a decode step for every other token:"
    )
    yield Formula("eq:request", latex, typst, "composition of the two fitted functions, at batch size 1")


def pacing_paragraph(study: Evidence) -> Block:
    """What idle gaps do to service times, and which service time the predictions use."""
    ratio = study.profile.pacing
    used = next((fit.model.reference.get(PACING) for fit in study.fits.values()), None)
    uses = f"The predictions use the service times {pacing_phrase(str(used))}." if used else ""
    if ratio is None:
        return paragraph("Service times were measured with one pacing only. {uses}", uses=uses)
    return paragraph(
        "A server that waits between requests may find caches and clocks cold. With idle gaps the latency is "
        "{ratio} times that back to back (geometric mean over {pairs} pairs of cells); {verdict}. {uses}",
        ratio=ratio_words(ratio.ratio, ratio.low, ratio.high),
        pairs=ratio.pairs,
        verdict=pacing_verdict(ratio.low, ratio.high),
        uses=uses,
    )


def ratio_words(value: float, low: float | None, high: float | None) -> Content:
    """A ratio with its interval."""
    return prose("{ratio}", ratio=Estimate(value, low, high, digits=4))


def pacing_verdict(low: float | None, high: float | None) -> str:
    """Whether gaps matter.

    >>> pacing_verdict(1.01, 1.04), pacing_verdict(0.98, 1.03)
    ('gaps make the same work longer', 'no difference is told from chance')
    """
    if low is not None and low > 1:
        return "gaps make the same work longer"
    if high is not None and high < 1:
        return "gaps make the same work shorter"
    return "no difference is told from chance"


def pacing_phrase(pacing: str) -> str:
    """Which pacing, as part of a sentence.

    >>> pacing_phrase("idle-gaps"), pacing_phrase("back-to-back")
    ('with idle gaps, as in a live run', 'back to back')
    """
    return "with idle gaps, as in a live run" if pacing == "idle-gaps" else words(pacing)
