"""`qmodel profile`: time real inference over a designed grid."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    spec: Path = typer.Argument(help="Profile spec (TOML)."),
    output: Path | None = typer.Option(None, "--output", "-o", help="CSV to write (default: NAME.csv here)."),
    resume: bool = typer.Option(False, "--resume", help="Go on with an unfinished CSV of the same spec."),
) -> int:
    """Time real inference over a designed grid; one row per repetition, written as it is measured."""
    from qmodel.cli.progress import TerminalWatcher
    from qmodel.cli.stopping import resumable, rows_kept
    from qmodel.errors import InputError
    from qmodel.measure import load_spec, run_profile

    checked = load_spec(spec)
    csv = output or Path(f"{checked.name}.csv")
    if csv.exists() and not resume:
        raise InputError(str(csv), "is there already", "continue it with --resume, or name another with -o")
    with resumable(csv, lambda: rows_kept(csv)), TerminalWatcher() as watcher:
        watcher.stage(f"profile {checked.name}")
        summary = run_profile(checked, csv, resume=resume, progress=watcher.update)
    for line in summary.lines():
        print(line)
    print(f"wrote {csv}")
    return 0
