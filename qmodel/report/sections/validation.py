"""Section 9: predictions held against live runs, with a verdict that the intervals give."""

from __future__ import annotations

from collections.abc import Iterator

from qmodel.report.document import Block, Column, Table, paragraph, prose, section, warning
from qmodel.report.names import counted, sentence_start, setting_name
from qmodel.report.sections.agreement import agreement_figure, distribution_figure, load_figure
from qmodel.report.sections.comparison import validation_table
from qmodel.report.sections.evidence import Evidence
from qmodel.report.sections.host import host_speed
from qmodel.report.sections.overload import overload
from qmodel.report.sections.verdict import score_table, verdict


def blocks(study: Evidence) -> Iterator[Block]:
    """Table, counts, verdict, figures; one sentence and a figure where nothing was run live."""
    yield section("Validation: predictions against live runs", "validation")
    if not study.live:
        yield paragraph(
            "Nothing was run live in this study: the predictions below are not held against any measurement "
            "of latency."
        )
        yield load_figure(study)
        return
    yield paragraph(
        "Each live run sends its requests at scheduled times to a server in a process of its own; latency "
        "counts from the scheduled time. Intervals are 95 %, by batch means for means and by batches of order "
        "statistics for percentiles. All live numbers were measured on {device}. @tab:validation gives the "
        "means of all requests; @tab:score counts for all classes and metrics how many predictions lie inside "
        "the interval of their measurement.{appendix}",
        device=study.live_device,
        appendix=prose(" Classes one by one are in @tab:by-class.") if len(study.groups) > 1 else "",
    )
    yield from host_speed(study)
    yield validation_table(study)
    yield from rejected_runs(study)
    yield from overload(study)
    yield score_table(study)
    yield verdict(study)
    yield load_figure(study)
    yield agreement_figure(study)
    yield from distribution_figure(study)


def rejected_runs(study: Evidence) -> Iterator[Block]:
    """Runs that must not be used."""
    if not study.rejected:
        return
    count = len(study.rejected)
    yield warning(
        "{count} rejected because the client sent its requests too late; {they} not counted below.",
        count=counted(count, "live run was", "live runs were"),
        they="it is" if count == 1 else "they are",
    )
    rows = [(sentence_start(setting_name(setting)), why) for setting, why in study.rejected.items()]
    yield Table("tab:rejected", "Rejected live runs.", (Column("Run"), Column("Why")), tuple(rows))
