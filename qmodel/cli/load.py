"""`qmodel load`: open-loop load on any OpenAI-compatible server."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qmodel.cli.progress import note

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.answer import Answer
    from qmodel.live.load.running import LoadRun
    from qmodel.openai_client.server import Target
    from qmodel.scenario import Scenario


def command(
    scenario: Path = typer.Argument(help="Scenario file (TOML): its classes' arrivals, lengths, priorities."),
    url: str = typer.Option(help="The server, e.g. http://127.0.0.1:8000."),
    output: Path = typer.Option(Path("load.csv"), "--output", "-o", help="Request log (CSV)."),
    model: str | None = typer.Option(None, help="Model (default: what the server lists)."),
    endpoint: str | None = typer.Option(None, help="completions | chat (default: the first that answers)."),
    request_rate: float | None = typer.Option(
        None, help="Requests/s of all classes together, or inf (default: the scenario's)."
    ),
    num_prompts: int | None = typer.Option(None, min=1, help="Requests to send."),
    seconds: float | None = typer.Option(None, min=0.001, help="Seconds of arrivals (default: 60)."),
    burstiness: float | None = typer.Option(
        None, help="Gamma gaps of this shape: 1 Poisson, below 1 bursty (default: the classes' own arrivals)."
    ),
    max_concurrency: int | None = typer.Option(None, min=1, help="Most requests under way at once."),
    input_len: int | None = typer.Option(None, min=1, help="Input tokens of classes without a law for them."),
    output_len: int | None = typer.Option(None, min=1, help="Output tokens of classes without a law for them."),
    goodput: list[str] = typer.Option([], help="Limits in ms, ttft:500 tpot:50 e2el:2000 (default: the SLOs)."),
    percentiles: str = typer.Option("50,95,99", help="Percentiles of each latency."),
    warmup: float = typer.Option(0.1, help="Share of the run that is dropped as warm-up."),
    timeout: float = typer.Option(600.0, min=0.001, help="Longest time of a request in seconds."),
    api_key: str | None = typer.Option(None, envvar="OPENAI_API_KEY", help="Sent as a bearer token."),
    vllm: bool = typer.Option(False, "--vllm", help="Use vLLM's own fields: ignore_eos, and priority."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable."),
    seed: int = typer.Option(1, help="Seed of arrivals and lengths."),
    json: bool = typer.Option(False, "--json", help="Print the answer as JSON."),
) -> int:
    """Send the scenario's classes, open loop and streaming; write the request log; say what they got."""
    from qmodel.cli import ask
    from qmodel.errors import InputError, MissingExtra
    from qmodel.live.load.plan import Wanted, draw_load
    from qmodel.scenario_file import read_scenario

    try:
        from qmodel.live.load.answering import goodput_limits
        from qmodel.openai_client.server import Target
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "live") from error
    if endpoint not in (None, "completions", "chat"):
        raise InputError("--endpoint", f"'{endpoint}' is unknown", "completions or chat")
    limits = goodput_limits(goodput)
    wanted_percentiles = ask.numbers(percentiles, "--percentiles")
    question = read_scenario(scenario, ask.settings(set_))
    wanted = Wanted(request_rate, num_prompts, seconds, burstiness, seed, input_len, output_len)
    plan = draw_load(question, wanted)
    target = Target(url, model, endpoint, api_key, vllm, timeout)
    run, stopped_by = sent(question, plan, target, output, max_concurrency)
    if run is None:
        return 128 + stopped_by if stopped_by else 2
    from qmodel.live.load.answering import load_answer
    from qmodel.live.load.plan import at_rate

    answer = load_answer(
        run, at_rate(question, plan.attrs["rate"]), horizon_s=plan.attrs["horizon_s"],
        percentiles=wanted_percentiles, goodput=limits or None, warmup_share=warmup,
    )  # fmt: skip
    add_gaps(answer, run)
    show(answer, wanted_percentiles, as_json=json)
    note(f"the log is in {output}")
    return 0


def sent(
    question: Scenario, plan: pd.DataFrame, target: Target, output: Path, max_concurrency: int | None
) -> tuple[LoadRun | None, int]:
    """The run; or, where it was cut short, None and the signal that did it. Raises InputError."""
    import asyncio

    from qmodel.cli import complain
    from qmodel.live.load.load_meta import load_meta
    from qmodel.live.load.running import LoadStopped, run_load

    def meta(run: LoadRun) -> dict[str, Any]:
        return load_meta(run, question, plan)

    with Progress(float(plan["scheduled_s"].iloc[-1])) as progress:
        running = run_load(plan, target, output, max_concurrency=max_concurrency, progress=progress.tell, meta=meta)
        try:
            return asyncio.run(running), 0
        except LoadStopped as stopped:
            complain(str(stopped))
            return None, stopped.signal


class Progress:
    """How the run is getting on, on stderr."""

    def __init__(self, seconds: float) -> None:
        from qmodel.cli.progress import TerminalWatcher

        self._watcher, self._seconds = TerminalWatcher(), seconds

    def __enter__(self) -> Progress:
        self._watcher.__enter__()
        self._watcher.stage("load", self._seconds)
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._watcher.__exit__(kind, value, trace)

    def tell(self, done: int, total: int, now_s: float) -> None:
        """Requests done, of so many; the time left is that of the arrivals."""
        share = max(0.0, min(now_s / self._seconds, 1.0)) if self._seconds else 1.0
        self._watcher.update(share, 1.0, f"{done} of {total} done", max(0.0, self._seconds - now_s))


def add_gaps(answer: Answer, run: LoadRun) -> None:
    """Put the gaps between tokens beside the run's other facts."""
    import pandas as pd

    from qmodel.live.load.answering import itl_facts
    from qmodel.live.log import tokens_path

    facts = answer.results[0].run
    kept = run.log["request_id"][run.log["scheduled_s"] >= facts["warmup_share"] * facts["horizon_s"]]
    facts["itl"] = itl_facts(pd.read_csv(tokens_path(run.path)), kept.tolist())


def show(answer: Answer, percentiles: list[float], as_json: bool) -> None:
    """Print the answer, and beneath it what throughput, gaps, client and server were like."""
    if as_json:
        print(answer.to_json())
        return
    from qmodel.cli.tables import print_answer

    print_answer(answer, percentiles)
    print()
    for line in summary(answer):
        print(textwrap.fill(line, 80, subsequent_indent=" " * 12))


def summary(answer: Answer) -> list[str]:
    """What the tables of latencies do not say, a line each."""
    result = answer.results[0]
    facts, every = result.run, result["all"].metrics
    lines = [f"requests    {facts['requests']} after the warm-up, {facts['failed']} failed"]
    done, tokens = every["throughput"] or 0.0, every["throughput_tokens_per_s"] or 0.0
    lines.append(f"throughput  {done:.4g} requests/s, {tokens:.4g} output tokens/s")
    if every["goodput"] is not None:
        lines.append(f"goodput     {every['goodput']:.4g} requests/s ({100 * (every['attainment'] or 0):.2f} %)")
    if facts["itl"]:
        gaps = ", ".join(f"{name[:-2]} {1e3 * value:.4g}" for name, value in facts["itl"].items())
        lines.append(f"ITL         {gaps} ms")
    lag = f"p50 {1e3 * facts['lag_p50_s']:.3g} ms, p99 {1e3 * facts['lag_p99_s']:.3g} ms"
    lines.append(f"client lag  {lag}" + (" - REJECTED" if facts["rejected"] else ""))
    if "arrivals" in facts:
        lines.append(f"arrivals    {facts['arrivals']}")
    told = facts["server_metrics"]
    if "mean_queue_s" in told:
        queue = f"mean queue time {1e3 * told['mean_queue_s']:.4g} ms of {told['requests']} requests"
        lines.append(f"server      {queue}, {told.get('preemptions', 0)} preemptions")
    share = 100 * facts["input_tokens_of_wanted"]
    lines.append(f"prompts     {share:.1f} % of the tokens wanted ({facts['prompts']})")
    return lines
