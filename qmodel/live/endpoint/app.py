"""The HTTP side: OpenAI's routes over a backend, with limits, and a door that can be closed.

Streams are server-sent events. A request beyond the limits is answered 429 with Retry-After, or 400, 401, 413; one
whose client goes away is withdrawn from the backend at once; one that takes longer than the time limit is ended
with an error in its stream (or 504). What the tokens say means nothing: the words are placeholders.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from qmodel.errors import InputError
from qmodel.live.endpoint.asking import Asked, prompt_tokens, read_asked
from qmodel.live.endpoint.gauges import Gauges
from qmodel.live.endpoint.replies import Reply, error_body
from qmodel.live.endpoint.stream import END, Backend, Refused, Stream

if TYPE_CHECKING:
    from qmodel.scenario import Scenario

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SLOWEST_BODY_S = 30.0
"""A client has so long to send its body."""
RECENT = 64
"""Requests whose ends tell how fast the queue moves."""


@dataclass(frozen=True)
class Limits:
    """`queue`: requests waiting; `request_s`: from arrival to the last token; `tokens`: in and out together."""

    queue: int = 1000
    body_bytes: int = 4 << 20
    request_s: float = 600.0
    tokens: int = 1 << 20


class Endpoint:
    """The routes over one backend.

    `api_key` guards the routes under /v1; `draining` turns new requests away. `present` counts those inside.
    """

    def __init__(
        self, scenario: Scenario, backend: Backend, limits: Limits | None = None, api_key: str | None = None
    ) -> None:
        self.scenario, self.backend, self.limits = scenario, backend, limits or Limits()
        self.name = scenario.name
        self.draining = False
        self.present = 0
        self.gauges = Gauges(backend, self.name, scenario.policy.name)
        self._key = api_key
        self._ends: deque[float] = deque(maxlen=RECENT)
        self._began = int(time.time())

    def application(self) -> web.Application:
        """The aiohttp application."""
        made = web.Application(client_max_size=self.limits.body_bytes, middlewares=[self._guarded()])
        made.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
                web.post("/tokenize", self._tokenize),
            ]
        )
        return made

    def card(self) -> dict[str, Any]:
        """What the server says of itself beside each model."""
        backend = self.backend
        about = {"engine": backend.name, "device": backend.device, "emulated": backend.emulated}
        return about | {"policy": self.scenario.policy.name, "scenario": self.scenario.fingerprint,
                        "versions": backend.versions}  # fmt: skip

    def _guarded(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                if self._key and request.path.startswith(("/v1", "/tokenize")):
                    self._check_key(request.headers.get("Authorization", ""))
                return await handler(request)
            except Refused as refusal:
                self.gauges.rejected.inc(refusal.status == 429)
                return refused(refusal)
            except InputError as error:  # a user's own policy, say
                return refused(Refused(500, str(error)))
            except web.HTTPException as error:
                return refused(Refused(error.status, error.reason))

        return guard

    def _check_key(self, header: str) -> None:
        assert self._key is not None
        if not hmac.compare_digest(header.encode("utf-8", "surrogateescape"), f"Bearer {self._key}".encode()):
            raise Refused(401, "wrong or missing API key")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.draining else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.gauges.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _models(self, request: web.Request) -> web.Response:
        names = dict.fromkeys([self.name, *(each.name for each in self.scenario.classes)])
        one = {"object": "model", "created": self._began, "owned_by": "qmodel", "qmodel": self.card()}
        most = {"max_model_len": self.limits.tokens}
        return web.json_response({"object": "list", "data": [{"id": name, **one, **most} for name in names]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        count = prompt_tokens(body.get("prompt"), "prompt")
        tokens = list(range(count))
        return web.json_response({"count": count, "max_model_len": self.limits.tokens, "tokens": tokens})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _body(self, request: web.Request) -> Any:
        try:
            async with asyncio.timeout(SLOWEST_BODY_S):
                return json.loads(await request.read())
        except TimeoutError as error:
            raise Refused(408, "the body took too long") from error
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the body is no JSON") from error

    async def _generate(self, request: web.Request, chat: bool) -> web.StreamResponse:
        body = await self._body(request)
        asked = read_asked(body, chat=chat, anybody=self.name, most_tokens=self.limits.tokens)
        self._check_room()
        stream = self.backend.admit(asked.order)
        self.present += 1
        try:
            return await self._answer(request, stream, asked, Reply(asked.model, chat, self.backend.emulated))
        except ConnectionError:  # the client went away; nobody is left to answer
            self.gauges.left.inc()
            return web.Response()
        except asyncio.CancelledError:
            self.gauges.left.inc()
            raise
        finally:
            self.present -= 1
            if not stream.ended:
                self.backend.withdraw(stream)

    def _check_room(self) -> None:
        if self.draining:
            raise Refused(503, "the server is shutting down", 1.0)
        waiting, buffer = self.backend.waiting, self.scenario.system.buffer
        full = buffer is not None and waiting + self.backend.running >= buffer
        if full or waiting >= self.limits.queue:
            raise Refused(429, f"{waiting} requests wait: the queue is full", self._next_place_s())

    def _next_place_s(self) -> float:
        """Seconds until a place is likely to be free, from how fast requests have been leaving."""
        ends = self._ends
        return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 1.0

    async def _answer(self, request: web.Request, stream: Stream, asked: Asked, reply: Reply) -> web.StreamResponse:
        end = stream.arrived_s + self.limits.request_s - time.monotonic()
        response: web.StreamResponse | None = None
        try:
            async with asyncio.timeout(end):
                if not asked.stream:
                    await self._collect(stream)
                    self._count(stream)
                    return web.json_response(reply.whole(stream))
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await self._stream(response, stream, asked, reply)
                return response
        except TimeoutError:
            self.gauges.too_long.inc()
            if response is None:
                raise Refused(504, f"not done within {self.limits.request_s:g} s") from None
            return await self._cut(request, response, f"not done within {self.limits.request_s:g} s")

    async def _cut(self, request: web.Request, response: web.StreamResponse, why: str) -> web.StreamResponse:
        """End a stream with an error; the connection of a client that does not read is cut."""
        transport = request.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        else:
            await response.write(b"data: " + error_body(504, why) + b"\n\n")
            await response.write_eof()
        return response

    async def _stream(self, response: web.StreamResponse, stream: Stream, asked: Asked, reply: Reply) -> None:
        if reply.chat:
            await response.write(reply.opening())
        while (tokens := await stream.next()) != END:
            for _ in range(tokens):
                await response.write(reply.token())
        if stream.failure:
            await response.write(b"data: " + error_body(500, stream.failure) + b"\n\n")
            return
        self._count(stream)
        await response.write(reply.closing(stream, asked.include_usage))
        await response.write_eof()

    async def _collect(self, stream: Stream) -> None:
        while await stream.next() != END:
            pass
        if stream.failure:
            raise Refused(500, stream.failure)

    def _count(self, stream: Stream) -> None:
        self._ends.append(time.monotonic())
        self.gauges.done(stream, "length")


def refused(refusal: Refused) -> web.Response:
    """The response to a request that is not taken."""
    headers = {"Content-Type": "application/json"}
    if refusal.retry_after_s:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=error_body(refusal.status, str(refusal)), status=refusal.status, headers=headers)
