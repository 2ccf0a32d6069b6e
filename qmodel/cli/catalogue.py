"""`qmodel catalogue`: published serving systems as ready scenarios, answered against their baselines."""

from __future__ import annotations

from pathlib import Path

import typer

NAME = typer.Argument(None, help="A row's name or number: vllm, R28.", show_default=False)


def command(
    name: str | None = NAME,
    run: bool = typer.Option(False, "--run", help="Answer it against its baseline (all rows without NAME)."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a field of its scenario; repeatable."),
    model: Path | None = typer.Option(None, help="Your fitted model (JSON) in place of its service times."),
    trace: Path | None = typer.Option(None, help="Your request log or trace in place of its traffic."),
    requests: int | None = typer.Option(None, help="Requests per simulation."),
    seed: int = typer.Option(1, help="Seed of simulations."),
    json: bool = typer.Option(False, "--json", help="Print what --run finds as JSON."),
    toml: bool = typer.Option(False, "--toml", help="Print its scenario file alone."),
) -> int:
    """List the catalogue, explain a row, or run it."""
    from qmodel.catalogue import all_rows, find
    from qmodel.cli import ask, catalogue_text
    from qmodel.errors import InputError

    own = bool(set_ or model or trace)
    if name is None and (own or toml):
        raise InputError("catalogue", "needs a name for that", "e.g. qmodel catalogue vllm --toml")
    if (own or json) and not run:
        raise InputError("catalogue", "options of a run without one", "add --run")
    if name is None and not run:
        catalogue_text.print_list(all_rows())
        return 0
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
