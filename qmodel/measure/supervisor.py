"""Starts the worker process, hands it visits, and ends it when it hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from qmodel.engine_process import environment
from qmodel.errors import InputError
from qmodel.measure import rows
from qmodel.measure.machine import kernel_oom_kills
from qmodel.measure.visit import LONGEST_GAP, VisitOrder

_GRACE_S = 3.0
_SLACK_S = 1.0


class Hung(Exception):
    """The worker gave no sign of life for longer than it may."""


class Died(Exception):
    """The worker ended by itself; the message says how."""


class Unwritable(InputError):
    """The CSV takes no more rows: the disk is full, say. What is in it stays."""


class Worker:
    """The process that holds the target; started again after a crash or a hang.

    `setup` holds `kind`, `threads`, `options`, `csv` and `header`; `search` is a folder where modules are
    looked for, `cores` are those that the process is bound to, if any.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        *,
        trial_timeout_s: float,
        setup_timeout_s: float,
        search: Path | None,
        cores: Collection[int] = (),
    ) -> None:
        self._setup, self._search, self._cores = setup, search, cores
        self._trial_timeout_s, self._setup_timeout_s = trial_timeout_s, setup_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, Any]:
        """Start the process and build the target; returns its introduction.

        Raises InputError when the target cannot be built or does not answer.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._out_of_memory_kills = kernel_oom_kills()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qmodel.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(self._setup["threads"], *([self._search] if self._search else []), cores=self._cores),
            start_new_session=True,
        )
        self._events: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        place = f"target '{self._setup['kind']}'"
        try:
            self._send(self._setup)
            return self._next(self._setup_timeout_s)
        except Hung:
            self.stop()
            remedy = "raise measurement.setup_timeout_s, or mend the target"
            raise InputError(place, f"was not ready after {self._setup_timeout_s:g} s", remedy) from None
        except Died as death:
            raise InputError(place, f"died while it was set up: {death}", "mend the target") from death

    def visit(self, order: VisitOrder, alive: Callable[[int], None]) -> dict[str, Any]:
        """Have one visit made; `alive` is told now and then how many rows there are.

        Raises Hung, Died, and InputError for what the user must mend.
        """
        if self._process is None:
            self.start()
        limit = self._trial_timeout_s + LONGEST_GAP * order.idle_gap_s + _SLACK_S
        self._send(asdict(order))
        event = self._next(max(limit, self._setup_timeout_s))
        while event["event"] != "end":
            alive(event.get("rows", 0))
            event = self._next(limit)
        return event

    def stop(self) -> None:
        """End the process and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._errors.close()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        events = self._events
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # a line cut off by a crash
                    events.put(json.loads(line))
        events.put(None)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # its death is told by the next event
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _next(self, timeout_s: float) -> dict[str, Any]:
        try:
            event = self._events.get(timeout=timeout_s)
        except Empty:
            raise Hung from None
        if event is None:
            raise Died(self._cause_of_death())
        if event["event"] == "refused":
            self.stop()
            kind = Unwritable if event["unwritable"] else InputError
            raise kind(event["place"], event["fault"], event["remedy"])
        return event

    def _cause_of_death(self) -> str:
        """Exit status or signal, with the last line that the process wrote; stops what is left of it."""
        assert self._process is not None
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        self.stop()
        if code == -signal.SIGKILL and kernel_oom_kills() > self._out_of_memory_kills:
            return rows.OUT_OF_MEMORY
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        return f"{how}: {last}" if last else how
