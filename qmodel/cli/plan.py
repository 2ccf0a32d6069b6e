"""`qmodel plan`: the fewest servers, the largest rate, the best policy and settings that meet SLOs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from qmodel.cli import ask

NOT_MET = 3
"""Exit code when nothing meets the SLOs."""


def command(
    scenario: Path = typer.Argument(..., help="Scenario file (TOML).", show_default=False),
    slo: list[str] = typer.Option([], help="[CLASS.]METRIC=VALUE, e.g. ttft_p99_s=0.5; repeatable."),
    policies: list[str] = typer.Option([], "--policies", "--policy", help="Policies to choose from, P[,P...]."),
    servers: str | None = typer.Option(None, help="Servers (replicas) to choose from: 1..16 or 1,2,4."),
    max_batch: str | None = typer.Option(None, help="Batch caps to choose from: 8,16,32."),
    vary: list[str] = typer.Option([], help="PATH=V1,V2 any field of the scenario to choose from; repeatable."),
    kind: list[str] = typer.Option([], help="NAME=FILE a kind of server: fields of [system], price; repeatable."),
    mix: bool = typer.Option(False, "--mix", help="Also fleets of two kinds of servers."),
    dealing: str = typer.Option("random", help="How --mix deals: random | class | work (expected) | best."),
    objective: str | None = typer.Option(
        None, help="servers | price | rate | quality | energy (servers or price if several are given, else rate)."
    ),
    rate: float | None = typer.Option(None, help="Total arrival rate (requests/s); a trace is stretched to it."),
    trace: Path | None = typer.Option(None, help="Recorded requests in place of the scenario's arrivals."),
    tune: str | None = typer.Option(None, help="Tune knobs: threshold | annealing | bayesian | bandit."),
    knob: list[str] = typer.Option([], help="PATH=LOW..HIGH a field that may be tuned; repeatable."),
    train: Path | None = typer.Option(None, help="Trace to tune on."),
    judge: Path | None = typer.Option(None, help="Another trace to judge the tuned setting on."),
    window_s: float = typer.Option(60.0, help="Seconds of a trace between two looks of a controller."),
    budget: int = typer.Option(40, help="Settings that tuning may try."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable."),
    json: bool = typer.Option(False, "--json", help="Print the plan as JSON."),
    output: Path | None = typer.Option(
        None, "--output", "--out", "-o", help="Write the plan as JSON to this file."
    ),
    seed: int = typer.Option(1, help="Seed of simulations and of tuning."),
    requests: int = typer.Option(200_000, help="Requests of the confirming simulation."),
) -> int:
    """Find what meets the SLOs, what it costs, and how close the next best is. Exit code 3 if nothing does."""
    _check(rate, requests, seed, output)
    if tune is not None or knob:
        from qmodel.cli.tune import tuned

        return tuned(scenario, slo, tune, knob, (train, judge), (window_s, budget, seed), set_, json)
    from qmodel.cli.plan_table import print_plan
    from qmodel.planning import plan, read_kind, read_recorded
    from qmodel.planning.written import to_json

    found = plan(
        scenario,
        slos=slo,
        policies=ask.policies(policies),
        servers=counts(servers, "--servers"),
        max_batch=counts(max_batch, "--max-batch"),
        vary=varied(vary),
        settings=ask.settings(set_),
        kinds=[read_kind(text) for text in kind],
        mix=mix,
        dealing=dealing,
        objective=objective,  # type: ignore[arg-type]
        rate=rate,
        trace=None if trace is None else read_recorded(trace),
        requests=requests,
        seed=seed,
    )
    if output is not None:
        from qmodel.files import write_atomically

        write_atomically(output, to_json(found) + "\n")
    if json:
        print(to_json(found))
    else:
        print_plan(found)
    return 0 if found.met else NOT_MET


def _check(rate: float | None, requests: int, seed: int, output: Path | None) -> None:
    from qmodel.errors import InputError

    if output is not None and not output.parent.is_dir():
        raise InputError(f"--output {output}", "its folder is not there", "make the folder first")
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError("--rate", f"{rate} is not positive", "give requests/s above 0")
    if not 1_000 <= requests <= 100_000_000:
        raise InputError("--requests", f"{requests} is out of range", "give 1000 to 100000000")
    if seed < 0:
        raise InputError("--seed", f"{seed} is negative", "give 0 or more")


def counts(text: str | None, option: str) -> list[int]:
    """Whole numbers from 1 on: `1..16`, `1,2,4`, or both. Raises InputError.

    >>> counts("1..3,8", "--servers")
    [1, 2, 3, 8]
    """
    from qmodel.errors import InputError

    found: list[int] = []
    for part in (text or "").split(",") if text is not None else []:
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            raise InputError(f"{option} {text}", f"{part!r} is no whole number", "e.g. 1..16 or 1,2,4")
        low, high = int(first), int(last) if dots else int(first)
        if not 1 <= low <= high <= 1_000_000 or high - low >= 10_000:
            raise InputError(f"{option} {text}", f"{part!r} is out of range", "e.g. 1..16 or 1,2,4")
        found += range(low, high + 1)
    return sorted(dict.fromkeys(found))


def varied(options: list[str]) -> dict[str, list[Any]]:
    """`--vary PATH=V1,V2` as a mapping. Raises InputError.

    >>> varied(["transform.0.above_queue=2,4", "policy.options.thresholds=[[1.0],[2.0]]"])
    {'transform.0.above_queue': [2, 4], 'policy.options.thresholds': [[1.0], [2.0]]}
    """
    from qmodel.errors import InputError
    from qmodel.validation import parse_value

    found: dict[str, list[Any]] = {}
    for option in options:
        path, sign, text = option.partition("=")
        if not (sign and path and text):
            raise InputError(f"--vary {option}", "is no PATH=V1,V2", "e.g. --vary transform.0.above_queue=2,4,8")
        whole = parse_value(text) if text.startswith("[") else None
        found[path] = whole if isinstance(whole, list) else [parse_value(part.strip()) for part in text.split(",")]
    return found
