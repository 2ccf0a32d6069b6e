"""`qmodel report`: write the report of a study again."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    study_dir: Path = typer.Argument(help="Folder of the study, or its study file."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Report folder (default: report/NAME here)."),
    results: Path | None = typer.Option(None, help="Results folder (default: results/ beside the study file)."),
) -> int:
    """Write the report of a finished study from its results; nothing is measured."""
    from qmodel.cli.study import results_folder
    from qmodel.report.study_report import write_study_report
    from qmodel.study import Results, load_plan

    study = study_dir / "study.toml" if study_dir.is_dir() else study_dir
    plan = load_plan(study)
    kept = Results(results or study.parent / results_folder(study))
    written = write_study_report(plan, kept, output or Path("report") / plan.name)
    for line in [*written.sentences, "", *(f"{path}" for path in written.files)]:
        print(line)
    return 0
