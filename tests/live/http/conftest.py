from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from aiohttp import web

from qmodel.live.endpoint.app import Endpoint
from qmodel.live.endpoint.serving import make_backend
from qmodel.scenario_file import read_scenario

SCENARIO = """
[system]
batching = "continuous"
max_batch = 4
kv_capacity_tokens = 20000

[system.iteration_time]
base = 0.002
per_sequence = 0.0001
per_prefill_token = 1e-6

[policy]
preset = "np-priority"

[[class]]
name = "chat"
arrivals = { process = "poisson", rate = 30.0 }
input_tokens = { distribution = "deterministic", value = 20 }
output_tokens = { distribution = "geometric", mean = 5 }
priority = 0
slo = { ttft_p95_s = 2.0, response_s = 5.0 }

[[class]]
name = "batch"
arrivals = { process = "poisson", rate = 10.0 }
input_tokens = { distribution = "deterministic", value = 40 }
output_tokens = { distribution = "deterministic", value = 10 }
priority = 1
"""


@pytest.fixture
def scenario_path(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def scenario(scenario_path):
    return read_scenario(scenario_path)


class Running:
    """An aiohttp application in a thread of its own."""

    def __init__(self, build) -> None:
        self._build, self._ready = build, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20), "the server did not start"
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(20)

    async def _main(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        application, task, self.inside = self._build()
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        work = asyncio.ensure_future(task) if task is not None else None
        self._ready.set()
        await self._over.wait()
        if work:
            work.cancel()
        await runner.cleanup()


@contextmanager
def serving(scenario, engine="emulated", limits=None, api_key=None, **options):
    """A qmodel endpoint; `inside` is the Endpoint."""

    def build():
        endpoint = Endpoint(scenario, make_backend(scenario, engine, **options), limits, api_key)
        return endpoint.application(), endpoint.backend.serve(), endpoint

    with Running(build) as running:
        try:
            yield running
        finally:
            running.stop()
            running.inside.backend.close()


@contextmanager
def misbehaving(answer, models=("m",)):
    """A server whose completions are what `answer(request)` makes of them."""

    def build():
        made = web.Application()

        async def listed(request):
            return web.json_response({"data": [{"id": name} for name in models]})

        made.add_routes([web.get("/v1/models", listed), web.post("/v1/completions", answer)])
        return made, None, None

    with Running(build) as running:
        yield running


async def well(request, tokens=3, pause_s=0.0):
    """A stream as it should be."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(tokens):
        await response.write(b'data: {"choices": [{"text": " a", "finish_reason": null}]}\n\n')
        await asyncio.sleep(pause_s)
    await response.write(b"data: [DONE]\n\n")
    return response
