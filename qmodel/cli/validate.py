"""`qmodel validate`: predict, run live, compare, explain the gap."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.study import StudyPlan

GLUE = "\N{NO-BREAK SPACE}"
GO_ON = "what is finished is kept: the same command goes on"


def command(
    scenario: Path = typer.Argument(help="Scenario file (TOML) with a fitted model."),
    target: str = typer.Option("digits-diffusion", help="What runs live."),
    policy: list[str] = typer.Option(
        [], help="Policy or policies, P[,P...]; repeatable (default: the scenario's)."
    ),
    load: str = typer.Option("0.5,0.7", help="Loads, as shares of capacity."),
    overload: str = typer.Option(
        "", help="Loads above 1, run from empty over a finite horizon of --seconds, with two seeds at least."
    ),
    seconds: float = typer.Option(20.0, help="Seconds of arrivals per run."),
    seed: str = typer.Option("1", help="Seeds; each is a run of its own."),
    threads: int = typer.Option(1, help="Threads of the engine."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Results folder (default: NAME-validation here)."
    ),
    json: bool = typer.Option(False, "--json", help="Print the comparison as JSON."),
) -> int:
    """Save predictions, run the scenario live, hold both against each other, and explain the gap."""
    from qmodel.cli.progress import TerminalWatcher, note
    from qmodel.cli.stopping import resumable
    from qmodel.measure.machine import load_warning
    from qmodel.study import Results
    from qmodel.study.run import VALIDATION, open_results, run_study

    plan = the_plan(scenario, target, policy, load, seconds, seed, threads, overload)
    results = Results(output or Path(f"{plan.name}-validation"))
    open_results(plan, results)
    if busy := load_warning():
        note(f"warning: {busy}")
    with resumable(results.folder, lambda: GO_ON), TerminalWatcher() as watcher:
        run_study(plan, results, watcher, VALIDATION)
    comparison, ladder = results.read_table("comparison"), results.read_table("ladder")
    if json:
        print(comparison.to_json(orient="records", indent=1))
    else:
        show(comparison, ladder)
    note(f"predictions, logs and tables are in {results.folder}")
    return 0


def the_plan(
    scenario: Path, target: str, policy: list[str], load: str, seconds: float, seed: str, threads: int,
    overload: str = "",
) -> StudyPlan:  # fmt: skip
    """A study without profile and fit: the scenario brings its model. Raises InputError."""
    from qmodel.cli.ask import numbers, policies
    from qmodel.scenario_file import read_scenario
    from qmodel.study.plan import StudyPlan, StudyTables
    from qmodel.validation import validated

    own = read_scenario(scenario).policy.name
    names = [made.name for made in policies(policy)] or [own]
    loads, seeds = numbers(load, "--load"), [int(value) for value in numbers(seed, "--seed")]
    above = numbers(overload, "--overload") if overload else []
    own_seeds = {"seeds": seeds} if len(seeds) > 1 else {}
    tables = {
        "name": scenario.stem,
        "title": f"Validation of {scenario.name}",
        "target": {"kind": target},
        "threads": threads,
        "scenario": scenario.name,
        "policies": names,
        "loads": loads,
        "baseline": names[0],
        "exit": [{"name": "as in the scenario", "own": True}],
        "live": {
            "seconds": seconds,
            "seeds": seeds,
            "runs": [{"exit": "as in the scenario", "policies": names, "loads": loads}],
            "overload": [{"policies": names, "loads": above, "seconds": seconds, **own_seeds}] if above else [],
        },
    }
    return StudyPlan(validated(StudyTables, tables, "validate"), scenario.parent)


def show(comparison: pd.DataFrame, ladder: pd.DataFrame) -> None:
    """Mean response of each class, predicted beside measured, and what the gap of all is due to.

    Loads above 1 are of a finite horizon, from empty.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from qmodel.cli.tables import significant, time_unit

    means = comparison[comparison.metric == "mean_response_s"]
    unit, scale = time_unit([*means.predicted, *means.measured])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("policy", "load", "class"):
        table.add_column(head, no_wrap=True)
    emulated = bool((means.measured_method == "simulation").any())
    for head in (f"predicted {unit}", f"{'emulated' if emulated else 'live'} {unit}", "95 % interval", "error"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for row in means.to_dict("records"):
        interval = f"{significant(row['low'] * scale, 3)}..{significant(row['high'] * scale, 3)}"
        verdict = {True: "in", False: "out"}.get(row["inside"], "")
        table.add_row(row["policy"], f"{row['load']:g}", row["class"], significant(row["predicted"] * scale),
                      significant(row["measured"] * scale), interval, f"{100 * row['relative_error']:+.1f} %",
                      verdict)  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    if emulated:
        console.print("emulated: timed waits in place of computation; nothing was measured")
    for (policy, load), rungs in ladder[ladder["class"] == "all"].groupby(["policy", "load"], sort=False):
        console.print(explained(f"{policy} at {load:g}", rungs, scale), style="dim")


def explained(question: str, rungs: pd.DataFrame, scale: float) -> str:
    """The way from the live mean to the predicted one, and what most of it is due to."""
    from qmodel.cli.tables import significant

    steps = rungs.groupby("rung", sort=False).mean_response_s.mean() * scale
    path = " -> ".join(f"{name} {significant(float(value))}".replace(" ", GLUE) for name, value in steps.items())
    largest = steps.diff().abs().idxmax()
    why = rungs.explains[rungs.rung == largest].iloc[0]
    return "\n".join(
        fill(line, 80, subsequent_indent="  ").replace(GLUE, " ")
        for line in (f"{question}: {path}", f"  most of the gap: {why}")
    )
