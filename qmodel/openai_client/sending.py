"""One request, sent and read to its end, whatever becomes of it; failures are told, never raised."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field

import aiohttp

from qmodel.openai_client.events import Events, Nonsense, Told, message_of

_ERROR_BYTES = 1 << 16
ENDLESS = (4, 1024)
"""A stream of more than 4 times as many pieces as tokens were asked for, and 1024 more, is cut."""


@dataclass
class Outcome:
    """What became of one request; times on the monotonic clock, NaN where it did not come so far.

    `failure` is empty for one that came through; `refused`: nobody took the connection; `status` is HTTP's.
    """

    sent: float = math.nan
    done: float = math.nan
    token_times: list[float] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    reason: str = ""
    status: int = 0
    failure: str = ""
    refused: bool = False


async def send(
    session: aiohttp.ClientSession, url: str, body: bytes, wanted_tokens: int, timeout_s: float
) -> Outcome:
    """Send the body and read the stream; bounded by the timeout, which counts from sending."""
    outcome, told = Outcome(), Told()
    outcome.sent = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s), session.post(url, data=body) as response:
            outcome.status = response.status
            if response.status != 200:
                outcome.failure = f"HTTP {response.status}: {await _complaint(response)}"
                response.close()  # some servers drop a connection after an error, and the next request with it
            else:
                await _read(response, outcome, told, wanted_tokens)
    except TimeoutError:
        outcome.failure = f"no end within {timeout_s:g} s"
    except Nonsense as error:
        outcome.failure = str(error)
    except aiohttp.ClientConnectorError as error:
        outcome.failure, outcome.refused = f"cannot connect: {_reason(error)}", True
    except (aiohttp.ClientError, ConnectionError, ValueError) as error:
        outcome.failure = f"connection lost: {_reason(error)}"
    outcome.input_tokens, outcome.reason = told.input_tokens, told.reason
    outcome.output_tokens = len(outcome.token_times) if told.output_tokens is None else told.output_tokens
    if outcome.failure and outcome.token_times:
        outcome.failure += f", after {len(outcome.token_times)} of {wanted_tokens} tokens"
    return outcome


async def _read(response: aiohttp.ClientResponse, outcome: Outcome, told: Told, wanted_tokens: int) -> None:
    """Read the stream to its end; every piece of text is stamped when the bytes that complete it arrive."""
    events, most = Events(), ENDLESS[0] * wanted_tokens + ENDLESS[1]
    while not told.done and (data := await response.content.readany()):
        now = time.monotonic()
        for event in events.fed(data):
            if told.hear(event):
                outcome.token_times.append(now)
        if len(outcome.token_times) > most:
            raise Nonsense("the stream does not end")
    if not (told.done or told.reason):
        raise Nonsense("the stream ended early" if outcome.token_times else "no stream of tokens came")
    if not outcome.token_times:
        raise Nonsense("not one token came")
    outcome.done = outcome.token_times[-1]


async def limited(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body, or about so many bytes of one that is longer."""
    raw = b""
    async for piece in response.content.iter_chunked(1 << 16):
        raw += piece
        if len(raw) > most_bytes:
            break
    return raw


async def _complaint(response: aiohttp.ClientResponse) -> str:
    raw = await limited(response, _ERROR_BYTES)
    try:
        return message_of(json.loads(raw))
    except (ValueError, RecursionError):
        return message_of(raw.decode("utf-8", "replace")) if raw else response.reason or ""


def _reason(error: Exception) -> str:
    inner = getattr(error, "os_error", None) or error
    words = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return " ".join(str(words).split())[:120]
