"""The open loop: every request is sent at its time, whatever became of those before; the run ends in bounded time.

A signal, a full disk, or a server that nobody answers for any more end the run early: what is on disk stays, and
the partial log gets a row for each request that is missing, which says why.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from qmodel.errors import InputError
from qmodel.live.client import no_garbage_collection
from qmodel.live.load.load_log import LoadLog
from qmodel.live.load.scrape import between
from qmodel.live.log import OK
from qmodel.live.punctual import punctual
from qmodel.openai_client import prompts
from qmodel.openai_client.sending import Outcome, send
from qmodel.openai_client.server import Server, Target, find, metrics_text

if TYPE_CHECKING:
    import pandas as pd

LEAD_S = 0.1
"""The run begins so long after the last preparation."""
GONE_AFTER = 10
"""After so many refused connections in a row, with nobody else under way, the server is gone."""
KEEP_ALIVE_S = 2.0
"""Idle connections are closed before a server would: one that it closes under a request is a lost request."""
PROGRESS_EVERY_S = 0.5
Progress = Callable[[int, int, float], None]
"""Called with requests finished, requests in all, and seconds since the start."""


class LoadStopped(InputError):
    """The run ended early; finished rows and what is missing are in the partial log. `signal` ended it, or 0."""

    def __init__(self, place: str, fault: str, remedy: str, number: int = 0) -> None:
        super().__init__(place, fault, remedy)
        self.signal = number


@dataclass
class LoadRun:
    """What was sent and what came of it. `measured` is what the server's own metrics say of the run."""

    log: pd.DataFrame
    server: Server
    path: Path
    began: float
    ended: float
    waking: str
    measured: dict[str, Any] = field(default_factory=dict)


async def run_load(
    plan: pd.DataFrame,
    target: Target,
    log_path: Path,
    *,
    max_concurrency: int | None = None,
    progress: Progress | None = None,
    meta: Callable[[LoadRun], dict[str, Any]] = lambda run: {},
) -> LoadRun:
    """Send the plan's requests and write their log. Raises InputError, or LoadStopped for a run cut short."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=target.headers) as session:
        server = await find(session, target, list(dict.fromkeys(plan["class"])))
        bodies = _bodies(plan, server)
        before = await metrics_text(session, target)
        log = LoadLog(log_path, plan)
        loop = OpenLoop(session, server, plan, bodies, log, max_concurrency, progress)
        began = time.time()
        try:
            with no_garbage_collection(), punctual() as waking:
                await loop.run()
        finally:
            log.close()
        run = LoadRun(log.frame(), server, log_path, began, time.time(), waking)
        run.measured = between(before, await metrics_text(session, target))
    if not (run.log["status"] == OK).any():
        fault = f"no request came through, the first {run.log['status'].iloc[0]}"
        raise LoadStopped(f"load {log_path}", fault, f"see {log_path}.part")
    log.keep(meta(run))
    return run


def _bodies(plan: pd.DataFrame, server: Server) -> list[bytes]:
    """All bodies, made before the run; their words are new in every run, whatever its seed."""
    rng = np.random.default_rng()
    columns = ("class", "wanted_input_tokens", "wanted_output_tokens", "priority")
    return [
        server.body(name, prompts.text(server.words.words_for(int(inputs)), rng), int(outputs), int(priority))
        for name, inputs, outputs, priority in zip(*(plan[column] for column in columns), strict=True)
    ]


class OpenLoop:
    """One run; `sent_s` says which requests were sent, and when."""

    def __init__(
        self, session: aiohttp.ClientSession, server: Server, plan: pd.DataFrame, bodies: list[bytes], log: LoadLog,
        max_concurrency: int | None, progress: Progress | None,
    ) -> None:  # fmt: skip
        self._session, self._server, self._bodies, self._log = session, server, bodies, log
        self._due: list[float] = plan["scheduled_s"].tolist()
        self._wanted: list[int] = plan["wanted_output_tokens"].tolist()
        self._slots = asyncio.Semaphore(max_concurrency) if max_concurrency else None
        self._progress = progress
        self._stop, self._why, self._signal = asyncio.Event(), "", 0
        self._refused = 0
        self.sent_s: dict[int, float] = {}
        self._origin = 0.0

    async def run(self) -> None:
        """Send, and wait for the last. Raises LoadStopped."""
        tasks: set[asyncio.Task[None]] = set()
        telling = asyncio.create_task(self._tell())
        self._origin = time.monotonic() + LEAD_S
        with self._signals():
            for index, due in enumerate(self._due):
                if not await self._until(self._origin + due):
                    break
                task = asyncio.create_task(self._one(index))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            while tasks and not self._stop.is_set():
                await asyncio.wait({*tasks, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
            self._stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._stop.is_set():
            raise self._stopped()

    async def _until(self, moment: float) -> bool:
        """Wait until then; False when the run is to stop."""
        left = moment - time.monotonic()
        if left > 0:
            await asyncio.wait({self._stopping}, timeout=left)
        elif not self._stop.is_set():
            await asyncio.sleep(0)
        return not self._stop.is_set()

    async def _one(self, index: int) -> None:
        due = self._due[index]
        if self._slots is None:
            await self._send(index, due)
        else:
            async with self._slots:
                await self._send(index, max(due, time.monotonic() - self._origin))

    async def _send(self, index: int, due: float) -> None:
        self.sent_s[index] = time.monotonic() - self._origin
        outcome = await send(
            self._session, self._server.url, self._bodies[index], self._wanted[index],
            self._server.target.timeout_s,
        )  # fmt: skip
        try:
            self._log.add(index, due, outcome, self._origin)
        except InputError as error:  # the disk is full: nothing more can be kept
            self._end(str(error))
        self._watch(outcome)

    def _watch(self, outcome: Outcome) -> None:
        """Give up on a server that is gone."""
        self._refused = self._refused + 1 if outcome.refused else 0
        if self._refused >= GONE_AFTER and len(self.sent_s) == len(self._log.rows):
            self._end(f"the server is gone ({outcome.failure})")

    def _end(self, why: str, number: int = 0) -> None:
        if not self._stop.is_set():
            self._why, self._signal = why, number
            self._stop.set()

    def _stopped(self) -> LoadStopped:
        done = sum(row["status"] == OK for row in self._log.rows.values())
        with suppress(InputError):  # the disk may be full
            self._log.add_missing(self.sent_s, self._why)
        place = f"load {self._log.path}"
        fault = f"{self._why}, with {done} of {len(self._due)} requests served"
        return LoadStopped(place, fault, f"see {self._log.path}.part", self._signal)

    async def _tell(self) -> None:
        while self._progress:
            await asyncio.sleep(PROGRESS_EVERY_S)
            self._progress(len(self._log.rows), len(self._due), time.monotonic() - self._origin)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run in order; kill -9 leaves the rows that were written."""
        self._stopping = asyncio.create_task(self._stop.wait())
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, self._end, signal.Signals(number).name, int(number))
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
