"""A server from its start to its end: bind, say so, serve, and on SIGTERM or SIGINT drain."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from qmodel.errors import InputError
from qmodel.live.endpoint.app import Endpoint
from qmodel.live.endpoint.batched import BatchServer
from qmodel.live.endpoint.demand import BATCHED, EMULATED, check_served
from qmodel.live.endpoint.emulator import Emulator
from qmodel.live.endpoint.single import SingleServer
from qmodel.live.endpoint.stream import Backend
from qmodel.live.punctual import punctual
from qmodel.service.transform import ClipOutput

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

DRAIN_S = 30.0
_LOOK_S = 0.05
Tell = Callable[[str], None]


def make_backend(
    scenario: Scenario, engine: str = "emulated", *, threads: int = 1, seed: int = 0, **options: Any
) -> Backend:
    """What serves this scenario: an engine by its registered name. Raises InputError for what it does not do."""
    batching = scenario.system.batching
    if batching == "continuous" and engine == "emulated":
        check_served(scenario, EMULATED)
        return Emulator(scenario, seed, **options)
    if batching == "continuous":
        check_served(scenario, BATCHED, (ClipOutput,))
        return BatchServer(scenario, engine, threads, seed, **options)
    check_served(scenario)
    if batching == "dynamic":
        raise InputError("system, batching", "'dynamic' is not served live", "use none or continuous")
    if batching == "processor-sharing" and (scenario.policy.sharing is None or scenario.system.max_batch):
        raise InputError("system, batching", "processor-sharing is a policy of live servers", "use the policy ps")
    return SingleServer(scenario, engine, threads, seed, **options)


async def serve(
    make: Callable[[], Endpoint],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    drain_s: float = DRAIN_S,
    tell: Tell = lambda line: None,
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until a signal comes; `ready` is told the port. Raises InputError for a port in use."""
    endpoint = make()
    runner = web.AppRunner(
        endpoint.application(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0,
        auto_decompress=False,
    )  # fmt: skip
    await runner.setup()
    stopping = asyncio.Event()
    work: asyncio.Task[None] | None = None
    try:
        bound = await _bind(runner, host, port)
        gc.collect()
        gc.freeze()  # what was imported need not be looked through in mid-run
        with _signals(stopping), punctual():
            work = asyncio.create_task(endpoint.backend.serve())
            ready(bound)
            await _until(stopping, work)
            await _drain(endpoint, drain_s, stopping, tell)
    finally:
        gc.unfreeze()
        if work is not None:
            work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await work
        await runner.cleanup()
        endpoint.backend.close()


async def _bind(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        words = os.strerror(number).lower() if number else str(error)
        raise InputError(f"{host}:{port}", f"cannot be served on: {words}", "name another --port") from error
    return int(runner.addresses[0][1])


class _signals:
    """While it lasts, SIGTERM and SIGINT set an event; a second one, after it was cleared, sets it again."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping, self._loop = stopping, asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)


async def _until(stopping: asyncio.Event, work: asyncio.Task[None]) -> None:
    """Wait for a signal; raise what ended the backend."""
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        work.result()
    stopping.clear()


async def _drain(endpoint: Endpoint, drain_s: float, stopping: asyncio.Event, tell: Tell) -> None:
    """Turn newcomers away, and let those inside end; not longer than `drain_s`, nor after a second signal."""
    endpoint.draining = True
    if endpoint.present:
        tell(f"draining {endpoint.present} requests, at most {drain_s:g} s; once more to stop at once")
    end = asyncio.get_running_loop().time() + drain_s
    while endpoint.present and not stopping.is_set() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(_LOOK_S)
    if endpoint.present:
        tell(f"{endpoint.present} requests were cut off")
