"""`qmodel predict`: the what-if table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qmodel.cli import ask, complain

if TYPE_CHECKING:
    from qmodel.answer import Answer
    from qmodel.predict import Asking
    from qmodel.scenario import Scenario
    from qmodel.sensitivity import Sensitivity

SCENARIO = typer.Argument(None, help="Scenario file (TOML).", show_default=False)


def command(
    scenario: Path | None = SCENARIO,
    arrivals: str | None = typer.Option(None, help="Inline arrivals: poisson:RATE, renewal:RATE,SCV, trace:FILE."),
    service: str | None = typer.Option(
        None, help="Inline service time (s): exponential:MEAN, lognormal:MEAN,SCV, ..."
    ),
    policy: list[str] = typer.Option([], help="Policy or policies, P[,P...]; repeatable."),
    rate: str | None = typer.Option(None, help="Total arrival rate(s), R[,R...]; classes keep their shares."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable."),
    method: str = typer.Option("auto", help="auto | theory | simulation"),
    percentiles: str = typer.Option("50,95,99", help="Percentiles of the response time."),
    json: bool = typer.Option(False, "--json", help="Print the answer as JSON."),
    csv: Path | None = typer.Option(None, help="Write the tidy table to this file."),
    plot: Path | None = typer.Option(None, help="Draw latency against rate to this PNG, SVG or PDF."),
    seed: int = typer.Option(1, help="Seed of simulations."),
    requests: int = typer.Option(400_000, help="Requests per simulation."),
    sensitivity: bool = typer.Option(False, "--sensitivity", help="Also how it moves with service times and rate."),
) -> int:
    """Predict per-class latency under each policy and rate."""
    from qmodel.errors import InputError
    from qmodel.predict import Asking, predict, questions

    if method not in ("auto", "theory", "simulation"):
        raise InputError("--method", f"{method!r} is unknown", "auto, theory or simulation")
    asking = Asking(method, tuple(ask.numbers(percentiles, "--percentiles")), requests, seed)  # type: ignore[arg-type]
    question = ask.the_scenario(scenario, arrivals, service, set_)
    policies = ask.policies(policy)
    rates = ask.rates(rate)
    answer = predict(question, policies=policies, rates=rates, asking=asking)
    moved = moves(questions(question, policies, rates), answer, asking) if sensitivity else []
    show(answer, json, csv, plot, asking.percentiles)
    if moved and not json:
        from qmodel.cli.moved import print_moved

        print_moved(moved)
    place = str(scenario) if scenario else f"--arrivals {arrivals} --service {service}"
    return exit_code(answer, place, several_policies=len(policies) > 1)


def moves(asked: list[Scenario], answer: Answer, asking: Asking) -> list[Sensitivity]:
    """How each stable result moves; its figures are put beside the result's run, for the JSON."""
    from qmodel.sensitivity import sensitivity

    found = []
    for one, result in zip(asked, answer.results, strict=True):
        if result.stable:
            found.append(sensitivity(one, asking=asking))
            result.run["sensitivity"] = found[-1].to_dict()
    return found


def show(
    answer: Answer, as_json: bool, csv: Path | None, plot: Path | None, percentiles: tuple[float, ...]
) -> None:
    """Print the answer, and write the files that were asked for."""
    if csv is not None:
        from qmodel.files import write_atomically

        write_atomically(csv, answer.to_frame().to_csv(index=False))
    if plot is not None:
        from qmodel.report.what_if import plot_answer

        plot_answer(answer, plot)
    if as_json:
        print(answer.to_json())
        return
    from qmodel.cli.tables import print_answer

    print_answer(answer, percentiles)


def exit_code(answer: Answer, place: str, several_policies: bool) -> int:
    """2 with one line on stderr when a queue is unstable and its policy is the only one asked about; else 0."""
    unstable = next((result for result in answer.results if not result.stable), None)
    if unstable is None or several_policies:
        return 0
    load = "" if unstable.utilisation is None else f" (utilisation {unstable.utilisation:.4g})"
    fault = f"the queue is unstable under {unstable.policy} at {unstable.rate:.6g} requests/s{load}"
    return complain(f"{place}: {fault}; lower the rate or shorten the service")
