"""`qmodel predict`: the what-if table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qmodel.cli import ask, complain

if TYPE_CHECKING:
    from qmodel.answer import Answer
    from qmodel.paired import Paired
    from qmodel.predict import Asking
    from qmodel.scenario import Scenario
    from qmodel.sensitivity import Sensitivity

SCENARIO = typer.Argument(None, help="Scenario file (TOML).", show_default=False)
ARRIVALS = typer.Option(None, help="Inline arrivals: poisson:RATE, renewal:RATE,SCV, trace:FILE.")
SERVICE = typer.Option(None, help="Inline service time (s): exponential:MEAN, lognormal:MEAN,SCV, ...")
POLICY = typer.Option([], help="Policy or policies, P[,P...]; repeatable.")
RATE = typer.Option(None, help="Total arrival rate(s), R[,R...]; classes keep their shares.")
SET = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable.")
VARY = typer.Option([], "--vary", help="PATH=V[,V...] answers at each value of a scenario field; repeatable.")
PERCENTILES = typer.Option("50,95,99", help="Percentiles of the response time.")
JSON = typer.Option(False, "--json", help="Print the answer as JSON.")
CSV = typer.Option(None, help="Write the tidy table to this file.")
PLOT = typer.Option(None, help="Draw latency against rate to this PNG, SVG or PDF.")
SEED = typer.Option(1, help="Seed of simulations.")
REQUESTS = typer.Option(400_000, help="Requests per simulation.")
PRECISION = typer.Option(None, help="Simulate until means are known to this share, e.g. 0.01.")
HORIZON = typer.Option(None, help="Simulate this many seconds from empty, again and again.")
PAIRED = typer.Option(False, "--paired", help="What each policy brings against the first, on the same requests.")
JOBS = typer.Option(None, help="Points at once; -1 for all cores (default: 1, or all of a cluster).")
ENGINE = typer.Option("local", help="local | ray | dask")
OUTPUT = typer.Option(None, "--output", "-o", help="Folder that keeps every finished point.")
RESUME = typer.Option(False, "--resume", help="Go on with the sweep that the folder holds.")


def command(
    scenario: Path | None = SCENARIO,
    arrivals: str | None = ARRIVALS,
    service: str | None = SERVICE,
    policy: list[str] = POLICY,
    rate: str | None = RATE,
    set_: list[str] = SET,
    vary: list[str] = VARY,
    method: str = typer.Option("auto", help="auto | theory | simulation"),
    percentiles: str = PERCENTILES,
    json: bool = JSON,
    csv: Path | None = CSV,
    plot: Path | None = PLOT,
    seed: int = SEED,
    requests: int = REQUESTS,
    precision: float | None = PRECISION,
    horizon: float | None = HORIZON,
    paired: bool = PAIRED,
    jobs: int | None = JOBS,
    engine: str = ENGINE,
    output: Path | None = OUTPUT,
    resume: bool = RESUME,
    sensitivity: bool = typer.Option(False, "--sensitivity", help="Also how it moves with service times and rate."),
) -> int:
    """Predict per-class latency under each policy and rate."""
    from qmodel.cli.counting import Counting
    from qmodel.errors import InputError
    from qmodel.predict import Asking
    from qmodel.sweep import grid, sweep

    if method not in ("auto", "theory", "simulation"):
        raise InputError("--method", f"{method!r} is unknown", "auto, theory or simulation")
    levels = tuple(ask.numbers(percentiles, "--percentiles"))
    asking = Asking(method, levels, requests, seed, precision, horizon)  # type: ignore[arg-type]
    fields = ask.varied(vary)
    if plot is not None and fields:
        raise InputError("--plot", "draws latency against the rate alone", "use --rate, or draw from --csv")
    if resume and output is None:
        raise InputError("--resume", "has no folder to go on with", "name it with -o")
    question, settings = ask.question(scenario, arrivals, service, set_)
    policies, rates = ask.policies(policy), ask.rates(rate)
    answer = sweep(
        question,
        vary=fields,
        policies=policies,
        rates=rates,
        settings=settings,
        asking=asking,
        jobs=jobs,
        engine=engine,  # type: ignore[arg-type]
        folder=output,
        resume=resume,
        progress=Counting(),
    )
    wanted = sensitivity or paired
    asked = [point.scenario for point in grid(question, fields, policies, rates, settings)] if wanted else []
    moved = moves(asked, answer, asking) if sensitivity else []
    gained = gains(asked, answer, asking) if paired else []
    show(answer, json, csv, plot, asking.percentiles)
    if not json:
        tell_more(moved, gained)
    place = str(scenario) if scenario else f"--arrivals {arrivals} --service {service}"
    return exit_code(answer, place, several_policies=len(policies) > 1)


def tell_more(moved: list[Sensitivity], gained: list[Paired]) -> None:
    """Print what was asked beside the table."""
    if moved:
        from qmodel.cli.moved import print_moved

        print_moved(moved)
    if gained:
        from qmodel.cli.gained import print_gained

        print_gained(gained)


def gains(asked: list[Scenario], answer: Answer, asking: Asking) -> list[Paired]:
    """What each stable result brings against the first of its kind, on the same requests; into its run, too.

    With several policies the first one is the baseline, at each rate and each varied value; with one policy, the
    first of the varied values is. Raises InputError where there is nothing to compare.
    """
    from qmodel.errors import InputError
    from qmodel.paired import compare_paired

    several = len({result.policy for result in answer.results}) > 1
    baselines: dict[str, int] = {}
    found = []
    for i, result in enumerate(answer.results):
        first = baselines.setdefault(f"{result.rate} {result.settings if several else ''}", i)
        known = asking.horizon_s is not None or (result.stable and answer.results[first].stable)
        if first != i and known:
            found += compare_paired(asked[first], [asked[i]], asking=asking)
            result.run["improvement"] = found[-1].to_dict()
    if len(baselines) == len(answer.results):
        raise InputError("--paired", "has nothing to compare", "give two policies or more, e.g. --policy fcfs,srpt")
    return found


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
