"""`qmodel serve`: an engine behind an OpenAI-compatible endpoint, under the scenario's policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qmodel.cli.progress import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmodel.live.endpoint.app import Endpoint
    from qmodel.scenario import Scenario

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def command(
    scenario: Path = typer.Argument(help="Scenario file (TOML)."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; loopback unless told otherwise."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port; 0 takes any that is free."),
    policy: str | None = typer.Option(None, help="Policy in place of the scenario's."),
    set_: list[str] = typer.Option([], "--set", help="PATH=VALUE sets a scenario field; repeatable."),
    engine: str = typer.Option("emulated", help="emulated | language-model | transformers (torch extra)."),
    threads: int = typer.Option(1, min=1, help="Threads of the engine."),
    api_key: str | None = typer.Option(
        None, envvar="QMODEL_API_KEY", help="Clients must send this key as a bearer token."
    ),
    max_queue: int = typer.Option(1000, min=0, help="More waiting requests than this are answered 429."),
    max_body: int = typer.Option(4 << 20, min=1, help="Largest request body in bytes."),
    max_tokens: int = typer.Option(1 << 20, min=2, help="Most tokens of a request, in and out."),
    timeout: float = typer.Option(600.0, min=0.001, help="Longest time of a request in seconds."),
    drain: float = typer.Option(30.0, min=0.0, help="Seconds that requests have to end on SIGTERM."),
    seed: int = typer.Option(1, help="Seed of lengths and sizes that a request leaves open."),
) -> int:
    """Serve chat and completions under the scenario's policy until SIGTERM or Ctrl-C."""
    from qmodel.cli import ask
    from qmodel.errors import MissingExtra
    from qmodel.policy import make_policy
    from qmodel.scenario_file import read_scenario

    question = read_scenario(scenario, ask.settings(set_))
    if policy is not None:
        question = question.with_policy(make_policy(policy))
    try:
        from qmodel.live.endpoint.app import Endpoint, Limits
        from qmodel.live.endpoint.serving import make_backend
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "live") from error
    limits = Limits(max_queue, max_body, timeout, max_tokens)

    def make() -> Endpoint:
        return Endpoint(question, make_backend(question, engine, threads=threads, seed=seed), limits, api_key)

    run(make, question, host, port, drain, guarded=api_key is not None)
    return 0


def run(
    make: Callable[[], Endpoint], question: Scenario, host: str, port: int, drain: float, guarded: bool
) -> None:
    """Serve, and say on stderr where and what."""
    import asyncio

    from qmodel.engine_process import keep_memory
    from qmodel.live.endpoint.serving import serve

    keep_memory()
    if host not in LOOPBACK and not guarded:
        note(f"warning: {host} can be reached by others and no --api-key is set")
    made: list[Endpoint] = []

    def build() -> Endpoint:
        made.append(make())
        return made[0]

    def ready(bound: int) -> None:
        backend = made[0].backend
        kind = "EMULATED: timed waits, nothing is computed" if backend.emulated else f"on {backend.device}"
        shown = f"[{host}]" if ":" in host else host
        note(f"{question.name}: {backend.name} under {question.policy.name}, {kind}")
        note(f"http://{shown}:{bound}/v1 (models: {', '.join(each.name for each in question.classes)})")

    asyncio.run(serve(build, host, port, drain_s=drain, tell=note, ready=ready))
    note("stopped")
