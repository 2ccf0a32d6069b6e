"""The result of a fit: the model with its evidence, printed so that it can go into a thesis as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from qmodel.fit.anova import Anova
from qmodel.fit.cells import Cells
from qmodel.fit.factorial import TwoLevel
from qmodel.fit.random_blocks import RandomBlocks
from qmodel.fit.search import Search
from qmodel.fit.table import Measurements
from qmodel.fit.uncertainty import Uncertainty
from qmodel.fit.visits import Visits
from qmodel.fit.wording import (
    estimated,
    formula_line,
    latex_table,
    latex_text,
    markdown_table,
    number,
    p_equals,
    p_value,
    percent,
    plain_table,
    sentence,
    wrapped,
)
from qmodel.service.model import ServiceModel
from qmodel.service.units import Unit

if TYPE_CHECKING:
    from qmodel.fit.hardware import HardwareReading


@dataclass(frozen=True)
class FitResult:
    """`model` and what speaks for and against it.

    `anova`: the analysis of variance. `search`: what was tried. `uncertainty`: covariance, lack of fit.
    `visits`: whether repetitions of one visit are alike. `two_level`: effects and confounding of a 2^k or 2^(k-p)
    design. `blocks`: the analysis with blocks as a random effect.
    `diagnostics`: figures by name. `warnings`: one sentence each, what an expert would frown at.
    """

    model: ServiceModel
    measurements: Measurements
    cells: Cells
    anova: Anova | None
    search: Search
    uncertainty: Uncertainty
    visits: Visits | None = None
    two_level: TwoLevel | None = None
    blocks: RandomBlocks | None = None
    hardware: HardwareReading | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def candidates(self) -> pd.DataFrame:
        """What was tried, best first: form, terms, parameters and errors at left-out levels."""
        return self.search.table

    def paragraph(self) -> str:
        """In plain words: what drives the response, how well it is known, where not to use it."""
        from qmodel.fit.plain_words import paragraph

        return paragraph(self)

    def summary(self) -> str:
        """Everything on one page of plain text, 80 columns wide."""
        parts = [wrapped(self.title()), wrapped(self.origin()), "", *map(formula_line, self.formula()), ""]
        for heading, frame in self.tables().items():
            parts += [heading, "-" * len(heading), plain_table(frame), ""]
        parts += [wrapped(self.quality()), "", "Assumptions", "-----------"]
        parts += [wrapped(one, "- ") for one in self.assumptions()]
        if self.hardware is not None:
            parts += ["", "Hardware", "--------", *(wrapped(text, "- ") for text in self.physics())]
        if self.warnings:
            parts += ["", "Warnings", "--------", *(wrapped(sentence(text), "- ") for text in self.warnings)]
        return "\n".join([*parts, "", "In words", "--------", wrapped(self.paragraph())])

    def to_markdown(self) -> str:
        """The summary in Markdown."""
        parts = [f"## {self.title()}", self.origin(), "`" + "; ".join(self.formula()) + "`"]
        for heading, frame in self.tables().items():
            parts += [f"### {heading}", markdown_table(frame)]
        parts += [self.quality(), "### Assumptions", "\n".join(f"- {text}" for text in self.assumptions())]
        if self.hardware is not None:
            parts += ["### Hardware", "\n".join(f"- {text}" for text in self.physics())]
        if self.warnings:
            parts += ["### Warnings", "\n".join(f"- {sentence(text)}" for text in self.warnings)]
        return "\n\n".join([*parts, "### In words", self.paragraph()]) + "\n"

    def to_latex(self) -> str:
        """The summary in LaTeX, for a document that uses booktabs."""
        parts = [rf"\subsection*{{{latex_text(self.title())}}}", latex_text(self.origin())]
        parts.append("\\begin{equation*}\n" + self.model.latex() + "\n\\end{equation*}")
        for heading, frame in self.tables().items():
            parts += [rf"\paragraph{{{latex_text(heading)}}}", latex_table(frame)]
        parts += [latex_text(self.quality()), _items(self.assumptions())]
        if self.hardware is not None:
            parts += [r"\paragraph{Hardware}", _items(self.physics())]
        if self.warnings:
            parts += [r"\paragraph{Warnings}", _items(map(sentence, self.warnings))]
        return "\n\n".join([*parts, latex_text(self.paragraph())]) + "\n"

    def title(self) -> str:
        """`Service time of digits-diffusion (denoise) on cpu`."""
        m = self.measurements
        what = {"latency_s": "Service time", "energy_j": "Energy", "power_w": "Mean power"}.get(
            m.response, m.response
        )
        text = what + (f" of {m.target}" if m.target else "") + (f" ({m.phase})" if m.phase else "")
        return text + (f" on {m.device}" if m.device else "")

    def origin(self) -> str:
        """Rows, cells and files."""
        m = self.measurements
        files = m.sources[0] if len(m.sources) == 1 else f"{len(m.sources)} files"
        levels = ", ".join(f"{name} ({m.frame[name].nunique()})" for name in m.factors)
        return f"{len(m.frame)} rows in {len(self.cells)} cells from {files}; factors (levels): {levels}."

    def formula(self) -> list[str]:
        """The function, then one line for each estimated ratio."""
        return self.model.describe().split("; ")

    def tables(self) -> dict[str, pd.DataFrame]:
        """Coefficients, errors and the analysis of variance, formatted, by heading."""
        tables = {"Coefficients": self.coefficient_table(), "Relative error of the function": self.error_table()}
        if self.anova is not None:
            response = "log response" if self.anova.transform == "log" else "response"
            tables[f"Analysis of variance (type {self.anova.type}, {response})"] = anova_table(self.anova)
            tables["Effect sizes with 95 % intervals"] = effect_table(self.anova)
            if self.anova.remedies:
                tables["PR(>F) as analysed and by each remedy"] = remedy_table(self.anova)
        if self.two_level is not None:
            tables["Two-level effects (q) and allocation of variation"] = two_level_table(self.two_level)
        if self.hardware is not None:
            name = self.hardware.device.name
            tables[f"What each coefficient has time for on {name}"] = self.hardware.formatted()
        return tables

    def coefficient_table(self) -> pd.DataFrame:
        """Each coefficient with its 95 % interval and its share of the predicted time."""
        from scipy.special import stdtrit

        unit, t = self.model.unit, float(stdtrit(self.model.degrees_of_freedom, 0.975))
        shares = self.diagnostics.get("term_shares", {})
        whole = "of the time" if unit.symbol == "s" else "share"
        rows = []
        for label, (value, error) in self.model.labelled_coefficients().items():
            of = Unit("") if label.startswith(PLAIN) else unit
            shown, interval = estimated(of, value, value - t * error, value + t * error)
            share = percent(shares[label]) if label in shares else "-"
            rows.append({"term": label, "value": shown, "95 % interval": interval, whole: share})
        return pd.DataFrame(rows)

    def error_table(self) -> pd.DataFrame:
        """In sample, at left-out levels, at edges, in the largest fifth, and replicate noise beside them."""
        statistics = self.model.statistics
        entries = {
            "in sample": statistics["in_sample"],
            "left-out levels between others": statistics["cross_validated"],
            "left-out lowest and highest levels": statistics["cross_validated_at_edges"],
        }
        entries |= {f"extrapolated to {label}": e for label, e in statistics["largest_fifth"].items()}
        rows = [
            {"cells": name, **{head: percent(e.get(key)) for head, key in ERROR_COLUMNS.items()}}
            for name, e in entries.items()
            if e.get("median") is not None
        ]
        noise = self.diagnostics.get("replicate_deviation")
        if noise:
            rows.append(
                {"cells": "one repetition against its cell's mean"}
                | {h: percent(noise[k]) for h, k in ERROR_COLUMNS.items()}
            )
        return pd.DataFrame(rows)

    def quality(self) -> str:
        """R squared, condition number and lack of fit, in that order of unimportance."""
        statistics, test = self.model.statistics, self.uncertainty.lack_of_fit
        condition = number(statistics["condition_number"], 3)
        text = f"R2 {statistics['r_squared']:.5f} (never to be read alone); condition number {condition}."
        if test is None:
            return text + " Lack of fit cannot be tested without replicates."
        freedom = f"F({test.degrees_of_freedom[0]}, {test.degrees_of_freedom[1]})"
        text += f" Lack of fit against replicates: {freedom} = {number(test.statistic, 3)}, {p_equals(test.p)}, "
        if test.p >= 0.05:
            return text + "not significant."
        return text + f"significant: cell means lie {percent(test.spread)} off the function beyond noise."

    def assumptions(self) -> list[str]:
        """Verdicts on the assumptions of the analysis of variance, what its remedies change, and its notes."""
        if self.anova is None:
            return ["No analysis of variance was asked for."]
        notes = [f"ANOVA: {note}." for note in self.anova.notes]
        blocks = [self.blocks.sentence()] if self.blocks is not None else []
        coded = self.two_level.sentences() if self.two_level is not None else []
        return [*(check.verdict for check in self.anova.checks), self.anova.conclusion(), *notes, *blocks, *coded]

    def physics(self) -> list[str]:
        """The time read against a data sheet, sentence by sentence; empty where no device was named."""
        return self.hardware.sentences() if self.hardware is not None else []


def anova_table(anova: Anova) -> pd.DataFrame:
    """The analysis of variance, effects by share."""
    table = anova.table
    order = [*anova.effects().index, *(n for n in ("block", "Residual") if n in table.index)]
    rows = table.loc[order]
    return pd.DataFrame(
        {
            "effect": rows.index,
            "sum_sq": [number(x) for x in rows["sum_sq"]],
            "df": [number(x) for x in rows["df"]],
            "F": [number(x) for x in rows["F"]],
            "PR(>F)": [p_value(x) for x in rows["PR(>F)"]],
            "share": [percent(x) if x >= 0.0005 or x == 0 else "< 0.1 %" for x in rows["share"]],
        }
    )


def effect_table(anova: Anova) -> pd.DataFrame:
    """Partial eta squared and omega squared."""
    sizes = anova.effect_sizes()
    return pd.DataFrame(
        {
            "effect": sizes.index,
            "partial eta2": [f"{x:.3f}" for x in sizes["partial_eta_sq"]],
            "95 % interval": [f"{a:.3f} to {b:.3f}" for a, b in zip(sizes["low"], sizes["high"], strict=True)],
            "partial omega2": [f"{x:.3f}" for x in sizes["omega_sq"]],
        }
    )


def remedy_table(anova: Anova) -> pd.DataFrame:
    """p of every effect, one column a method."""
    p = anova.p_values()
    short = {"robust (HC3)": "HC3", "robust (Huber)": "Huber", "aligned ranks": "ranks", "log": "logs"}
    columns = {f"as analysed ({anova.transform})": "as analysed"} | short
    shown = {columns.get(str(name), str(name)): [p_value(x) for x in p[name]] for name in p}
    return pd.DataFrame({"effect": p.index} | shown)


def two_level_table(design: TwoLevel) -> pd.DataFrame:
    """Effects by share with their intervals, and their aliases."""
    t = design.table.head(15)
    out = {
        "effect": t.index,
        "q": [number(x) for x in t["effect"]],
        "95 % interval": [f"{number(a, 3)} to {number(b, 3)}" for a, b in zip(t["low"], t["high"], strict=True)],
        "variation": [percent(x) if x >= 0.0005 or x == 0 else "< 0.1 %" for x in t["share"]],
    }
    return pd.DataFrame(out | ({"aliases": t["aliases"]} if design.generators else {})).reset_index(drop=True)


RESPONSES = {"latency_s": "Service time", "energy_j": "Energy", "power_w": "Mean power"}
"""Titles of the usual responses."""

PLAIN = ("ratio ", "exponent of ")
"""Beginnings of the labels of coefficients that are plain numbers, without the response's unit."""

ERROR_COLUMNS = {"median": "median", "P95": "p95", "max": "max"}


def _items(sentences: Any) -> str:
    body = "\n".join(rf"\item {latex_text(text)}" for text in sentences)
    return f"\\begin{{itemize}}\n{body}\n\\end{{itemize}}"
