"""What a person types. Thin: one file per command, results to stdout, messages and progress to stderr."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What a disk without room answers."""


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 internal fault, 2 bad input, 3 a bound not met."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name outside the terminal's alphabet
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; never raises for bad input."""
    import typer

    from qmodel.cli.app import app
    from qmodel.cli.stopping import Stopped
    from qmodel.errors import InputError

    try:
        code = app(arguments or ["--help"], prog_name="qmodel", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except InputError as error:
        return complain(str(error))
    except Stopped as stop:
        return complain(str(stop), stop.code)
    except (typer.Abort, KeyboardInterrupt):
        return complain("interrupted", 130)
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        return without_a_reader()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer has seen it first
            return without_a_reader()
        raise
    except MemoryError:
        return complain(f"{place(arguments)}: out of memory; ask for less at a time, e.g. fewer --requests")
    except OSError as error:
        if error.errno not in FULL:
            return unforeseen(error)
        drop_output()
        where = f"{place(arguments)}, {error.filename or 'output'}"
        return complain(f"{where}: cannot be written: {error.strerror}; make room, or choose another place")
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error, whichever click typer brings along
            return complain(usage_line(error, arguments))
        return unforeseen(error)


def unforeseen(error: Exception) -> int:
    """A fault of the program; raised again where it is looked for."""
    if os.environ.get("QMODEL_DEBUG"):
        raise error
    return complain(f"internal fault: {type(error).__name__}: {error} (QMODEL_DEBUG=1 shows where)", 1)


def without_a_reader() -> int:
    """The reader of a pipe went away: what is left to write has no taker, and nothing is wrong."""
    drop_output()
    return 0


def drop_output() -> None:
    """What is still to be written to stdout goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage_line(error: Any, arguments: list[str]) -> str:
    """What is wrong with the words of a command, on one line, with the nearest right word."""
    from qmodel.cli.app import COMMANDS
    from qmodel.errors import nearest

    where = place(arguments)
    message = error.format_message()
    if where == "qmodel" and arguments and "command" in message.lower():
        return f"{where}: no command '{arguments[0]}'; {nearest(arguments[0], list(COMMANDS))}"
    return f"{where}: {message[0].lower()}{message[1:].rstrip('.')}; see {where} --help"


def place(arguments: list[str]) -> str:
    """The command that the words begin with."""
    from qmodel.cli.app import COMMANDS

    return f"qmodel {arguments[0]}" if arguments and arguments[0] in COMMANDS else "qmodel"


def complain(line: str, code: int = 2) -> int:
    """One line on stderr; returns the exit code."""
    print(" ".join(line.split()), file=sys.stderr)
    return code
