"""Section 13: commands, versions, seeds and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import qmodel
from qmodel.report.document import Block, CodeBlock, Column, Table, author, paragraph, section
from qmodel.report.inline import Code
from qmodel.report.names import counted, listed
from qmodel.report.sections.evidence import Evidence


def blocks(study: Evidence) -> Iterator[Block]:
    """What to type, and by what to know that it is the same."""
    yield section("How to reproduce", "reproduce")
    yield paragraph(
        "The first command does everything that is told here anew and writes this report; stopped at any "
        "moment, it goes on where it was when started without `--fresh`. The second writes the report again "
        "from the results, without measuring:"
    )
    study_file = study_path(study)
    yield CodeBlock(f"qmodel study {study_file} --fresh\nqmodel report {study_file}", "sh")
    yield paragraph(
        "With another machine the numbers change and the commands stay. @tab:hashes lists what must agree for "
        "the same question, and what was measured here."
    )
    yield Table(
        "tab:hashes",
        "Versions, seeds, and SHA-256 of what decides about the results (the plan is study, profile and "
        "scenario file together); files are in the results folder.",
        (Column("Item"), Column("Value")),
        tuple(items(study)),
    )
    yield paragraph(
        "The results folder also holds every table of this report in full as CSV, with units in the column "
        "names: {tables}.",
        tables=listed(table_names(study)),
    )
    yield author("Who did what: name the authors and the part of each.")


def study_path(study: Evidence) -> str:
    """The study file, from the folder of experiments down where it lies in one."""
    name = "study" + study.results.folder.name.removeprefix("results") + ".toml"
    parts = (study.plan.folder.resolve() / name).parts
    return "/".join(parts[parts.index("experiments") :]) if "experiments" in parts else name


def items(study: Evidence) -> Iterator[tuple[str, Code | str]]:
    """Versions, seeds, hashes."""
    yield "qmodel", str(study.machine.get("qmodel", qmodel.__version__))
    yield "Python", str(study.machine.get("python", "unknown"))
    for name, value in versions(study).items():
        yield ((name.removesuffix("_sha256"), Code(value)) if name.endswith("sha256") else (name, value))
    if study.profiled:
        yield "Seed, run order", str(study.meta["plan"]["seed"])
    live = study.plan.tables.live
    if live is not None:
        yield f"{'Seed' if len(live.seeds) == 1 else 'Seeds'}, arrivals", listed(map(str, live.seeds))
    if study.plan.tables.quality is not None:
        yield "Seed, images", str(study.plan.tables.quality.seed)
    yield "Plan", Code(study.plan.fingerprint)
    if study.profiled:
        yield "profile.csv", Code(sha256(study.results.profile))
    for phase in study.plan.phases:
        path = study.results.model(phase)
        yield path.name, Code(sha256(path))
    yield "predictions.json", Code(study.results.predictions_hash())


def versions(study: Evidence) -> dict[str, str]:
    """What the engine is made of."""
    return dict(study.meta["target"].get("versions", {})) if study.profiled else {}


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table_names(study: Evidence) -> list[str]:
    """The CSV files that are there, and the logs."""
    names = sorted(path.name for path in study.results.folder.glob("*.csv"))
    logs = len(list((study.results.folder / "live").glob("*.csv"))) if study.live else 0
    return [*names, f"live/ ({counted(logs, 'request log')})"] if logs else names
