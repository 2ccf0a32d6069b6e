"""`qmodel simulate`: predict by simulation, with the same options."""

from __future__ import annotations

from pathlib import Path

import typer

from qmodel.cli import predict
from qmodel.cli.predict import SCENARIO


def command(
    scenario: Path | None = SCENARIO,
    arrivals: str | None = typer.Option(None, help="Inline arrivals: poisson:RATE, renewal:RATE,SCV, trace:FILE."),
    service: str | None = typer.Option(
        None, help="Inline service time (s): exponential:MEAN, lognormal:MEAN,SCV, ..."
    ),
    policy: list[str] = typer.Option([], help="Policy or policies, P[,P...]; repeatable."),
    rate: str | None = typer.Option(None, help="Total arrival rate(s), R[,R...]; classes keep their shares."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable."),
    percentiles: str = typer.Option("50,95,99", help="Percentiles of the response time."),
    json: bool = typer.Option(False, "--json", help="Print the answer as JSON."),
    csv: Path | None = typer.Option(None, help="Write the tidy table to this file."),
    plot: Path | None = typer.Option(None, help="Draw latency against rate to this PNG, SVG or PDF."),
    seed: int = typer.Option(1, help="Seed of simulations."),
    requests: int = typer.Option(400_000, help="Requests per simulation."),
) -> int:
    """Simulate per-class latency under each policy and rate."""
    return predict.command(
        scenario,
        arrivals,
        service,
        policy,
        rate,
        set_,
        "simulation",
        percentiles,
        json,
        csv,
        plot,
        seed,
        requests,
        sensitivity=False,
    )
