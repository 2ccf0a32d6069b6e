"""`qmodel study`: measure, fit, predict, run live, compare, report."""

from __future__ import annotations

from pathlib import Path

import typer

GO_ON = "what is finished is kept: the same command goes on"


def command(
    study: Path = typer.Argument(help="Study file (TOML)."),
    resume: bool = typer.Option(True, "--resume/--no-resume", help="Go on with an unfinished study."),
    fresh: bool = typer.Option(False, "--fresh", help="Keep earlier results aside and measure again."),
    results: Path | None = typer.Option(None, help="Results folder (default: results/ beside the study file)."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Report folder (default: report/NAME here)."),
) -> int:
    """Measure, fit, predict, run live, compare, and write the report; resumable at any moment."""
    from qmodel.cli.progress import TerminalWatcher, duration, note
    from qmodel.cli.stopping import resumable
    from qmodel.errors import InputError
    from qmodel.measure.machine import load_warning
    from qmodel.report.study_report import write_study_report
    from qmodel.study import Results, load_plan
    from qmodel.study.run import open_results, remaining_seconds, run_study

    plan = load_plan(study)
    kept = Results(results or study.parent / results_folder(study))
    if not resume and not fresh and kept.folder.exists():
        raise InputError(
            str(kept.folder), "holds earlier results", "go on with --resume or start again with --fresh"
        )
    open_results(plan, kept, fresh)
    busy = load_warning()
    if busy:
        note(f"warning: {busy}")
    seconds = remaining_seconds(plan, kept)
    if seconds:
        note(f"{plan.name}: about {duration(seconds)} to go; stop it at any moment, the same command goes on")
    with (
        resumable(kept.folder, lambda: GO_ON + (", without --fresh" if fresh else "")),
        TerminalWatcher() as watcher,
    ):
        worked = run_study(plan, kept, watcher)
        watcher.stage("report")
        written = write_study_report(plan, kept, output or Path("report") / plan.name)
    if not worked:
        note("every stage was finished before; --fresh measures again")
    for line in [*written.sentences, "", *(f"{path}" for path in written.files)]:
        print(line)
    return 0


def results_folder(study: Path) -> str:
    """`results` for study.toml, `results-full` for study-full.toml.

    >>> results_folder(Path("experiments/x/study-full.toml"))
    'results-full'
    """
    return "results" + study.stem.removeprefix("study")
