"""Section 1: the question."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, author, bullets, paragraph, prose, section
from qmodel.report.names import counted, exit_name, listed, numbers, policy_name
from qmodel.report.sections.evidence import Evidence


def blocks(study: Evidence) -> Iterator[Block]:
    """What is asked, and where it is answered."""
    tables = study.plan.tables
    yield section("Question", "question")
    yield paragraph(
        "Requests of {classes} arrive at random at one server and wait for one another. The server chooses "
        "who goes first (the scheduling policy) and may cut the work of a request short (early exit). This "
        "report asks, at loads of {loads} of the server's capacity:",
        classes=counted(len(study.classes), "class", "classes"),
        loads=numbers(tables.loads),
    )
    yield bullets(questions(study), numbered=True)
    yield author(
        "Motivation: say in your own words why this question matters, who would act on the answer, and what "
        "you expected before you saw the results."
    )


def questions(study: Evidence) -> Iterator[tuple]:
    """The questions that this study can answer."""
    policies = listed((policy_name(p) for p in study.plan.tables.policies), "or")
    yield prose(
        "How long does the work itself take, as a function of what a request asks for (@sec:anova and "
        "@sec:service)?"
    )
    if len(study.plan.tables.policies) > 1:
        yield prose(
            "Which of {policies} gives which class the lower latency, and who pays (@sec:improvement)?",
            policies=policies,
        )
    if study.early_exits:
        exits = listed((exit_name(name) for name in study.early_exits), "or")
        cost = ", and what does it cost in quality (@sec:quality)?" if study.judged else " (@sec:improvement)?"
        yield prose("What does early exit ({exits}) bring" + cost, exits=exits)
    if study.live:
        yield prose(
            "How far can predictions from measured service times be trusted, and where the gap is large, what "
            "causes it (@sec:validation and @sec:ladder)?"
        )
