"""The user's own computation: any command line, its factors in braces."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from string import Formatter

from qmodel.errors import InputError
from qmodel.measure.failure import TrialFailed
from qmodel.measure.machine import kernel_oom_kills
from qmodel.measure.targets.base import Levels, OutOfMemory, Trial
from qmodel.measure.targets.device import cpu_name

_PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class CommandTarget:
    """Times a command such as `./infer --batch {batch_size}`, from its start to its end.

    What stands in braces are the factors (`{{` for a brace). The command is started without a shell, each
    factor inside one argument, in a process group of its own; with `shell`, it goes to `/bin/sh` with its
    factors quoted. Its output is thrown away; an exit status other than 0 is a failed repetition. Time counts
    from before the process is started until it has ended, so starting it is part of every measurement.

    >>> CommandTarget(command="sleep {seconds}").factors
    {'run': ('seconds',)}
    """

    phases = ("run",)

    def __init__(self, *, command: str, threads: int = 1, shell: bool = False) -> None:
        self.name, self.device = command, cpu_name()
        self._command, self._shell = command, shell
        self.factors = {"run": placeholders(command)}
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._running: int | None = None
        self._peak_bytes: int | None = None
        if not shell:
            _check_program(command)

    def prepare(self, phase: str, levels: Levels) -> Trial:
        """One run of the command with these levels; raises InputError when a factor has no level."""
        missing = [name for name in self.factors["run"] if name not in levels]
        if missing:
            raise InputError(
                f"command '{self.name}'", f"has no level for {missing[0]}", "name it among the factors"
            )
        return partial(self._run, self._arguments(levels))

    def _arguments(self, levels: Levels) -> list[str]:
        if self._shell:
            quoted = {name: shlex.quote(str(level)) for name, level in levels.items()}
            return ["/bin/sh", "-c", self._command.format_map(quoted)]
        return [argument.format_map(levels) for argument in shlex.split(self._command)]

    def _run(self, arguments: list[str]) -> float:
        """Seconds that one run took; the wait is for the process itself, so no polling rounds them up."""
        self._errors.seek(0)
        self._errors.truncate()
        kills = kernel_oom_kills()
        start = time.perf_counter_ns()
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=self._environment,
                process_group=0,
            )
        except OSError as error:
            raise TrialFailed(f"cannot be started: {error.strerror}") from error
        self._running = process.pid
        _, status, usage = os.wait4(process.pid, 0)
        seconds = (time.perf_counter_ns() - start) * 1e-9
        self._running = None
        process.returncode = os.waitstatus_to_exitcode(status)
        self._peak_bytes = usage.ru_maxrss * _PEAK_UNIT_BYTES
        if process.returncode:
            self._fail(process.returncode, kernel_oom_kills() > kills)
        return seconds

    def _fail(self, code: int, memory_ran_out: bool) -> None:
        if code == -signal.SIGKILL and memory_ran_out:
            raise OutOfMemory("the kernel killed the command")
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        how = f"exit {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
        raise TrialFailed(f"{how}: {last}" if last else how)

    def peak_memory_bytes(self) -> int | None:
        """Largest resident size of the last run, as the system counted it."""
        return self._peak_bytes

    def versions(self) -> dict[str, str]:
        """Not known: commands tell it in their own ways."""
        return {}

    def close(self) -> None:
        """End the run in progress, with all that it has started."""
        running = self._running
        if running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(running, signal.SIGKILL)


def placeholders(command: str) -> tuple[str, ...]:
    """Names in braces, in their order; raises InputError for anything else in braces.

    >>> placeholders("./infer --batch {batch_size} --steps={steps}")
    ('batch_size', 'steps')
    """
    place = f"command '{command}'"
    try:
        fields = list(Formatter().parse(command))
        shlex.split(command)
    except ValueError as error:
        raise InputError(
            place, f"is malformed: {error}", "close its braces and quotes; write {{ for a brace"
        ) from error
    names = [(name, spec, conversion) for _, name, spec, conversion in fields if name is not None]
    for name, spec, conversion in names:
        if not name.isidentifier() or spec or conversion:
            raise InputError(
                place, f"has {{{name}}} in braces", "write only factor names in braces; {{ for a brace"
            )
    if not names:
        raise InputError(place, "has no factor", "write at least one in braces: {batch_size}")
    return tuple(dict.fromkeys(name for name, _, _ in names))


def _check_program(command: str) -> None:
    program = shlex.split(command)[0]
    if "{" not in program and shutil.which(program) is None:
        remedy = "check its path, or write shell = true for a shell command"
        raise InputError(f"command '{command}'", f"program {program} is not found", remedy)
