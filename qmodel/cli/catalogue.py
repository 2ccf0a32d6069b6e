"""`qmodel catalogue`: published serving systems as ready scenarios, answered against their baselines."""

from __future__ import annotations

from pathlib import Path

import typer

NAME = typer.Argument(None, help="A row's name or number: vllm, R28.", show_default=False)


def command(
    name: str | None = NAME,
    run: bool = typer.Option(False, "--run", help="Answer it against its baseline (all rows without NAME)."),
    live: bool = typer.Option(
        False, "--live", help="Run idea and baseline on a real engine here, predicted first."
    ),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a field of its scenario; repeatable."),
    model: Path | None = typer.Option(None, help="Your fitted model (JSON) in place of its service times."),
    trace: Path | None = typer.Option(None, help="Your request log or trace in place of its traffic."),
    requests: int | None = typer.Option(None, help="Requests per simulation or live run."),
    seed: int = typer.Option(1, help="Seed of simulations and live runs."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Folder of --live (default: NAME-live here)."),
    json: bool = typer.Option(False, "--json", help="Print what --run or --live finds as JSON."),
    toml: bool = typer.Option(False, "--toml", help="Print its scenario file alone."),
) -> int:
    """List the catalogue, explain a row, or run it."""
    from qmodel.catalogue import all_rows, find
    from qmodel.cli import ask, catalogue_text
    from qmodel.errors import InputError

    own = bool(set_ or model or trace)
    if name is None and (own or toml or live):
        raise InputError("catalogue", "needs a name for that", "e.g. qmodel catalogue vllm --toml")
    if (own or json or requests is not None) and not (run or live):
        raise InputError("catalogue", "options of a run without one", "add --run or --live")
    if run and live:
        raise InputError("catalogue", "--run and --live are two runs", "give one of them")
    if name is None and not run:
        catalogue_text.print_list(all_rows())
        return 0
    if live:
        from qmodel.catalogue.case import Case
        from qmodel.cli.catalogue_live import run as run_live

        return run_live(Case(find(name or ""), ask.settings(set_), model, trace, seed, requests), output, json)
    if not run:
        row = find(name or "")
        print(row.text, end="") if toml else catalogue_text.print_row(row)
        return 0
    from qmodel.catalogue.case import Case

    chosen = all_rows() if name is None else [find(name)]
    cases = [Case(row, ask.settings(set_), model, trace, seed, requests) for row in chosen]
    return _run(cases, json)


def _run(cases: list, as_json: bool) -> int:
    """0 if every acceptance judged is met, else 3."""
    import json

    from qmodel.catalogue.running import run
    from qmodel.cli import catalogue_text

    found = []
    for case in cases:
        found.append(run(case))
        if as_json:
            continue
        if len(cases) == 1:
            catalogue_text.print_ran(found[-1])
        else:
            catalogue_text.print_verdict(found[-1])
    if as_json:
        results = [ran.to_dict() for ran in found]
        print(json.dumps(results[0] if len(cases) == 1 else results, indent=1, allow_nan=False))
    return 0 if all(ran.holds for ran in found) else 3
