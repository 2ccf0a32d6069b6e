"""Appendices: tables too long for the body, and the glossary of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.metrics import METRICS, Metric
from qmodel.report.document import Block, Column, Table, section
from qmodel.report.inline import Math
from qmodel.report.sections.comparison import class_table
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.improvement import all_loads, high_loads, improvement_table

TOKENS = ("ttft", "tpot")


def blocks(study: Evidence) -> Iterator[Block]:
    """Means by class, improvement of the tail, glossary."""
    tail = "p95_response_s"
    by_class = study.live and len(study.groups) > 1
    tails = tail in set(study.improvement.metric) if not study.improvement.empty else False
    more = len(all_loads(study)) > len(high_loads(study))
    if by_class or tails or more:
        yield section("Appendix: tables in full", "tables")
    if by_class:
        yield class_table(study)
    if more:
        yield improvement_table(study, label="tab:improvement-all")
    if tails:
        yield improvement_table(study, tail, "tab:improvement-tail")
    yield section("Appendix: glossary of metrics", "glossary")
    yield glossary(study)


def glossary(study: Evidence) -> Table:
    """Name, symbol, unit, formula."""
    shown = [metric for metric in METRICS.values() if wanted(metric, study)]
    return Table(
        "tab:glossary",
        "Metrics of this report: symbol, unit, definition, and what other tools call the same thing.",
        (Column("Metric"), Column("Symbol"), Column("Unit"), Column("Definition"), Column("Elsewhere")),
        tuple(
            (m.title, Math(m.symbol, m.typst), "—" if m.unit == "1" else m.unit, m.formula, m.elsewhere or "—")
            for m in shown
        ),
    )


def wanted(metric: Metric, study: Evidence) -> bool:
    """Metrics of tokens only where requests have tokens."""
    if not any(word in metric.name for word in TOKENS):
        return True
    return any("output_tokens" in c.factors for c in study.base.classes)
