"""The server process as the load generator holds it: started, given orders, and ended whatever it does.

A process of its own, so that thread counts hold from the first import, the load generator does not compete with the
engine for Python's lock, a hang can be ended and a crash is survived.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from qmodel.engine_process import environment
from qmodel.errors import InputError
from qmodel.live.wire import RunOrder

_GRACE_S = 2.0


class ServerProcess:
    """A serving process with its engine loaded; `introduction` is what the engine says of itself.

    `arrivals` is the descriptor that request indices are written to, `records` the connection that finished
    requests come back through. The process is bound to `cores`, if there are any. Raises InputError when the engine
    cannot be built or is not ready in time.
    """

    def __init__(
        self, target: Mapping[str, Any], threads: int, setup_timeout_s: float, cores: Collection[int] = ()
    ) -> None:
        self.cores = cores
        self._place = f"engine '{target['kind']}'"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._control, control = _connections()
        self.records, records = _connections()
        arrivals, self.arrivals = os.pipe()
        os.set_blocking(self.arrivals, False)
        passed = (control.fileno(), arrivals, records.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qmodel.live.server", *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            env=environment(threads, cores=cores),
            pass_fds=passed,
            start_new_session=True,
        )
        control.close()
        records.close()
        os.close(arrivals)
        options = {key: value for key, value in target.items() if key != "kind"}
        try:
            self._control.send({"kind": target["kind"], "threads": threads, "options": options})
            self.introduction: dict[str, Any] = self._answer("ready", setup_timeout_s)[0]
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def prepare(self, order: RunOrder, timeout_s: float) -> None:
        """Hand over one run, and wait until the engine is warm for it. Raises InputError."""
        try:
            self._control.send(order)
            self._answer("warm", timeout_s)
        except OSError as error:
            raise InputError(self._place, f"is gone: {self.cause_of_death()}", "start the run again") from error

    def begin(self, origin: float) -> None:
        """Start the prepared run; its times count from `origin` on the monotonic clock."""
        with suppress(OSError):  # its death shows in the records
            self._control.send(origin)

    def cause_of_death(self) -> str:
        """Exit status or signal, with the last line that it wrote."""
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its connection but still runs"
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        last = self._last_line()
        return f"{how}: {last}" if last else how

    def stop(self) -> None:
        """End it: closing its connections asks it to go, and after a moment it is made to.

        The records are closed last, since a collector may still be reading them.
        """
        self._control.close()
        self._close_arrivals()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.records.close()
        self._errors.close()

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.stop()

    def _close_arrivals(self) -> None:
        if self.arrivals >= 0:
            os.close(self.arrivals)
            self.arrivals = -1

    def _answer(self, wanted: str, timeout_s: float) -> tuple[Any, ...]:
        try:
            if not self._control.poll(timeout_s):
                fault = f"did not answer in {timeout_s:g} s"
                raise InputError(self._place, fault, "raise setup_timeout_s, or mend the engine")
            word, *rest = self._control.recv()
        except (EOFError, ConnectionResetError) as error:
            raise InputError(self._place, f"died: {self.cause_of_death()}", "mend the engine") from error
        if word == "refused":
            raise InputError(*rest)
        assert word == wanted
        return tuple(rest)

    def _last_line(self) -> str:
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _connections() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())
