"""The report of a study: its sections in the order in which a grader reads, as Markdown, LaTeX and PDF.

A pure function of the results folder: nothing is measured, and the same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from qmodel.report.document import Block, Document
from qmodel.report.sections import (
    anova,
    appendix,
    arrivals,
    design,
    front,
    improvement,
    ladder,
    model,
    quality,
    question,
    references,
    reproduce,
    service,
    system,
    threats,
    validation,
)
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.findings import sentences
from qmodel.report.write import write_report
from qmodel.study.plan import StudyPlan
from qmodel.study.results import Results

SECTIONS: tuple[Callable[[Evidence], Iterator[Block]], ...] = (
    front.blocks,
    question.blocks,
    system.blocks,
    design.blocks,
    anova.blocks,
    service.blocks,
    quality.blocks,
    arrivals.blocks,
    model.blocks,
    validation.blocks,
    ladder.blocks,
    improvement.blocks,
    threats.blocks,
    reproduce.blocks,
)
"""The body, in order; references and appendices follow."""


@dataclass(frozen=True)
class StudyReport:
    """The three sentences that a reader wants first, and where the report is.

    `files` ends with a line that says why there is no PDF, where there is none.
    """

    sentences: tuple[str, str, str]
    files: tuple[Path | str, ...]


def write_study_report(plan: StudyPlan, results: Results, folder: Path) -> StudyReport:
    """Write report.md, report.tex, report.pdf and figures/ into the folder.

    Raises InputError for results that are missing or do not belong together.
    """
    study = Evidence(plan, results, folder)
    written = write_report(study_document(study), folder)
    missing = (f"no PDF: {written.missing}",) if written.pdf is None else ()
    first, second, third = (sentence.replace("\u00a0", " ") for sentence in sentences(study))
    return StudyReport((first, second, third), (*written.paths, folder / "figures", *missing))


def study_document(study: Evidence) -> Document:
    """The document, its figures drawn into the study's report folder."""
    body = tuple(block for make in SECTIONS for block in make(study))
    tail = tuple(appendix.blocks(study))
    document = Document(
        title=study.plan.tables.title,
        subtitle=subtitle(study),
        authors=("Authors: to be filled in",),
        date=study.finished,
        abstract=front.abstract(study),
        running_title=study.plan.tables.title,
        contents=False,
        blocks=(*body, *tail),
    )
    return replace(document, blocks=(*body, *references.blocks(document), *tail))


def subtitle(study: Evidence) -> str:
    """What kind of study this is."""
    done = "measured, fitted, predicted, run live and compared" if study.live else "measured, fitted and predicted"
    return f"A performance study of {study.plan.name}: {done}"
