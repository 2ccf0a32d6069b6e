"""The commands put together. Each command's module is imported only when it runs."""

from __future__ import annotations

import importlib
import keyword
from typing import Any

import typer
from typer.core import TyperGroup

from qmodel.cli.stopping import stoppable

COMMANDS = {
    "profile": "time real inference over a designed grid",
    "import": "other tools' results and traces, translated and checked",
    "fit": "ANOVA and the service-time function from measurements",
    "predict": "what-if table, per class and policy",
    "simulate": "predict by simulation",
    "serve": "live OpenAI-compatible server under the policy",
    "load": "open-loop load on any OpenAI-compatible server",
    "plan": "fewest servers, largest rate, best policy and settings for SLOs",
    "validate": "predict, run live, compare, explain the gap",
    "study": "measure, fit, predict, run live, compare, report; resumable",
    "report": "write the report of a study again from its results",
    "catalogue": "published serving systems as ready scenarios, against their baselines",
    "doctor": "what this machine can do, and what is missing",
}


class LazyGroup(TyperGroup):
    """Knows the names and one-liners of all commands; imports a command's module when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command = importlib.import_module(f"qmodel.cli.{module}").command
        one = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        one.command(name=cmd_name, help=None)(command)
        made = typer.main.get_command(one)
        assert made.callback is not None
        made.callback = stoppable(f"qmodel {cmd_name}")(made.callback)
        return made

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def version(show: bool) -> None:
    """Print the version and stop."""
    if show:
        import qmodel

        print(f"qmodel {qmodel.__version__}")
        raise typer.Exit


app_builder = typer.Typer(
    cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app_builder.callback()
def qmodel_command(
    show_version: bool = typer.Option(
        False, "--version", callback=version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Latency of inference serving: what will my users see, and what would another policy do?"""


app = typer.main.get_command(app_builder)
