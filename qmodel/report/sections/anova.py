"""Section 4: which factors move the service time, by analysis of variance, and whether its assumptions hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qmodel.report.document import Block, Column, Table, bullets, finding, paragraph, prose, section
from qmodel.report.figures import main_effects
from qmodel.report.names import counted, listed, sentence_start, words
from qmodel.report.quantity import Quantity
from qmodel.report.sections.design import equals
from qmodel.report.sections.evidence import Evidence

if TYPE_CHECKING:
    from qmodel.fit.anova import Anova
    from qmodel.fit.result import FitResult

LEVEL = 0.05
SMALL_SHARE = 0.01
"""Effects that explain less than this share are real at best, and small in any case."""


def blocks(study: Evidence) -> Iterator[Block]:
    """A table, a verdict, a figure and the residual checks of each phase."""
    yield section("Analysis of variance", "anova")
    if study.iterations is not None:
        yield paragraph(
            "The time of an iteration has one form, given by how such a server works; its coefficients and every "
            "cell are in @sec:service. No analysis of variance was made."
        )
        return
    if not study.fits:
        yield paragraph("Nothing was fitted in this study, so there is no variation to analyse.")
        return
    yield paragraph(
        "Every factor is taken by its levels, with all interactions that the design allows, and the block as a "
        "nuisance. The response is the logarithm of latency, on which effects that multiply add up; the share "
        "is the part of the total variation that an effect explains."
    )
    for phase, fit in study.fits.items():
        if len(study.fits) > 1:
            yield section(f"Phase {phase}", level=2)
        yield from phase_blocks(study, phase, fit)


def phase_blocks(study: Evidence, phase: str, fit: FitResult) -> Iterator[Block]:
    """Evidence on one phase."""
    anova = fit.anova
    if anova is None:
        yield paragraph("No analysis of variance was made.")
        return
    yield anova_table(study, phase, fit, anova)
    yield finding("{drivers}", drivers=drivers(fit, anova))
    yield effects_figure(study, phase, fit, anova)
    yield paragraph("The analysis rests on assumptions about its residuals, which were tested at the 1 % level:")
    yield bullets(
        prose(
            "*{name}* ({test}): {verdict}",
            name=sentence_start(check.name),
            test=check.test,
            verdict=tidy_p(check.verdict),
        )
        for check in anova.checks
    )
    yield paragraph("{remedy}", remedy=remedy_words(anova))


def anova_table(study: Evidence, phase: str, fit: FitResult, anova: Anova) -> Table:
    """Sums of squares, degrees of freedom, F, p and share of each effect."""
    order = [*anova.effects().index, *(n for n in ("block", "Residual") if n in anova.table.index)]
    rows = [
        (effect_name(str(name)), row["sum_sq"], int(row["df"]), row["F"], row["PR(>F)"], row["share"])
        for name, row in anova.table.loc[order].iterrows()
    ]
    scale = "logarithm of latency" if anova.transform == "log" else "latency"
    return Table(
        f"tab:anova-{slug(phase)}",
        prose(
            "Analysis of variance of the {scale} ({phase}, measured on {device}; type {kind} sums of squares, "
            "{rows}), effects by the share of variation they explain.",
            scale=scale,
            phase=phase,
            device=study.device,
            kind=("I", "II", "III")[anova.type - 1],
            rows=counted(len(fit.measurements.frame), "row"),
        ),
        (
            Column("Effect"),
            Column("Sum of squares", kind="significant"),
            Column("df", kind="integer"),
            Column(prose("$F$"), kind="significant"),
            Column(prose("$p$"), kind="p-value", align="right"),
            Column("Share of variation", "ratio", decimals=2),
        ),
        tuple(rows),
    )


def effect_name(name: str) -> str:
    """An effect in words.

    >>> effect_name("batch_size:steps"), effect_name("Residual")
    ('batch size × steps', 'residual')
    """
    return {"Residual": "residual"}.get(name) or " × ".join(words(part) for part in name.split(":"))


def slug(name: str) -> str:
    """A name as part of a label.

    >>> slug("My phase_1")
    'my-phase-1'
    """
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "x"


def drivers(fit: FitResult, anova: Anova) -> str:
    """What explains the variation, what is real but small, and what cannot be told from chance."""
    effects = anova.effects()
    real = effects[effects["PR(>F)"] < LEVEL]
    large = real[real["share"] >= SMALL_SHARE]
    if large.empty:
        return "No factor explains more than 1 % of the variation beyond chance."
    parts = listed(f"{effect_name(str(n))} ({Quantity(s, 'ratio')})" for n, s in large["share"].items())
    what = "the logarithm of latency" if anova.transform == "log" else "latency"
    residual = float(anova.table["share"].get("Residual", 0.0))
    verb = "explains" if len(large) == 1 else "explain"
    text = (
        f"{sentence_start(parts)} {verb} the variation of {what}; {Quantity(residual, 'ratio')} is left to chance."
    )
    small = [effect_name(str(n)) for n in real.index if n not in large.index]
    if small:
        text += f" Significant but below 1 %: {few(small)}."
    lost = [effect_name(str(n)) for n in effects.index if n not in real.index]
    if lost:
        text += f" Not told from chance at the 5 % level: {few(lost)}."
    return text


def few(effects: list[str], most: int = 4) -> str:
    """Effects by name where they are few, else their number.

    >>> few(["a", "b"]), few(list("abcdef"))
    ('a and b', '6 effects')
    """
    return listed(effects) if len(effects) <= most else counted(len(effects), "effect")


def remedy_words(anova: Anova) -> str:
    """What follows from a failed check."""
    notes = "".join(f" {sentence_start(note)}." for note in anova.notes)
    if anova.sound:
        return "All assumptions that can be checked hold, so the p values can be read as they stand." + notes
    told = re.sub(r"^Failed: (.*?)\. Done again ", again, anova.conclusion())
    told = told.replace("robust (HC3)", "robust standard errors (HC3)")
    return f"{told} What several analyses agree on does not hang on the failed assumption.{notes}"


def again(found: re.Match[str]) -> str:
    """Which assumptions fail, and that the analysis was made again."""
    names = found[1].split(", ")
    verb = "fails" if len(names) == 1 else "fail"
    return f"{sentence_start(listed(names))} {verb}, so the analysis was made again: "


def tidy_p(text: str) -> str:
    """Numbers after `p =` as this report prints them.

    >>> tidy_p("not normal (p = 6.6e-05)").replace("\u00a0", " "), tidy_p("alike (p = 0.86).")
    ('not normal (p < 0.001)', 'alike (p = 0.860).')
    """
    return re.sub(r"p = (\d+(?:\.\d+)?(?:e-\d+)?)", lambda m: f"p {equals(float(m[1]))}", text)


def effects_figure(study: Evidence, phase: str, fit: FitResult, anova: Anova) -> Block:
    """Main effects, and the residuals of the analysis."""
    import pandas as pd

    factors = [name for name in fit.measurements.factors if len(set(fit.cells.levels[name])) > 1]
    cells = pd.DataFrame({**{name: fit.cells.levels[name] for name in factors}, "latency_s": fit.cells.mean})
    strongest = effect_name(next(str(n) for n in anova.effects().index if str(n) in factors))
    return study.picture(
        f"effects-{slug(phase)}",
        main_effects(cells, factors, anova.data["residual"]),
        prose(
            "Main effects ({phase}, measured on {device}) and residuals. Points: geometric mean of the cells "
            "at each level; bars: their middle half. See how the mean moves with {strongest}, and where the "
            "residuals at the right leave the grey band, which holds 95 % of those of a normal sample point "
            "by point.",
            phase=phase,
            device=study.device,
            strongest=strongest,
        ),
        f"One panel a factor with the mean latency at each level, the steepest for {strongest}, and a QQ plot",
    )
