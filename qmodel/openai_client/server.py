"""What the client finds out about a server before the run: its models, its endpoint, its tokenizer, its metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from qmodel.errors import InputError
from qmodel.openai_client import prompts
from qmodel.openai_client.sending import Outcome, limited, send

LOOK_S = 10.0
"""Longest wait for an answer that is no completion."""
USAGE = {"stream_options": {"include_usage": True}}
PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_CLOSE = {"Connection": "close"}  # some servers drop a connection after an error, and the next request with it
_MOST_BYTES = 1 << 24
NOT_THERE = (404, 405, 501)
NOT_UNDERSTOOD = (400, 422)


@dataclass(frozen=True)
class Target:
    """Where to send, and how. `model`: its name (None: what the server offers first, or each class's own name).

    `endpoint`: "completions", "chat", or None for the first that answers. `vllm`: its extensions may be used
    (`ignore_eos`, `priority`).
    """

    url: str
    model: str | None = None
    endpoint: str | None = None
    api_key: str | None = None
    vllm: bool = False
    timeout_s: float = 600.0

    @property
    def base(self) -> str:
        """The URL without a path.

        >>> Target("http://localhost:8000/v1/").base
        'http://localhost:8000'
        """
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"Content-Type": "application/json", **key}


@dataclass
class Server:
    """A server as found: `path` of completions, `models` by class, `extra` fields it understands, its tokenizer.

    `card` is what a qmodel server says of itself (empty for others), `software` its Server header.
    """

    target: Target
    path: str
    models: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    words: prompts.WordCount = field(default_factory=prompts.WordCount)
    card: dict[str, Any] = field(default_factory=dict)
    software: str = ""

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.target.base + self.path

    def body(self, class_name: str, prompt: str, output_tokens: int, priority: int) -> bytes:
        """The body of one request: standard fields, and with `vllm` its own."""
        fields: dict[str, Any] = {"model": self.models[class_name], "max_tokens": output_tokens, "stream": True}
        fields |= self.extra
        if self.target.vllm:
            fields |= {"ignore_eos": True} | ({"priority": priority} if priority else {})
        if self.path == PATHS["chat"]:
            fields["messages"] = [{"role": "user", "content": prompt}]
        else:
            fields["prompt"] = prompt
        return json.dumps(fields).encode()


async def find(session: aiohttp.ClientSession, target: Target, class_names: list[str]) -> Server:
    """Ask the server what it is, and send it one small request. Raises InputError where it does not answer."""
    if not target.base.startswith(("http://", "https://")):
        raise InputError("--url", f"'{target.url}' is no URL", "e.g. http://127.0.0.1:8000")
    listed, software = await _models(session, target)
    names = [str(each.get("id")) for each in listed if isinstance(each, dict)]
    cards = [each["qmodel"] for each in listed if isinstance(each, dict) and isinstance(each.get("qmodel"), dict)]
    models = _chosen(target, names, class_names)
    server = await _trial(session, target, models, class_names[0])
    server.card, server.software = cards[0] if cards else {}, software
    server.words = await _tokenizer(session, server, class_names[0])
    return server


def _chosen(target: Target, names: list[str], class_names: list[str]) -> dict[str, str]:
    """The model of each class: the one given; its own name where the server lists them all; the first listed."""
    if target.model is None and names and all(name in names for name in class_names):
        return {name: name for name in class_names}
    model = target.model or (names[0] if names else None)
    if model is None:
        raise InputError(target.base, "lists no model", "name one with --model")
    return dict.fromkeys(class_names, model)


async def _models(session: aiohttp.ClientSession, target: Target) -> tuple[list[Any], str]:
    status, body, software = await _asked(session, "GET", target.base + "/v1/models", None)
    if status == 401:
        raise InputError(target.base, "wants an API key", "give --api-key")
    found = body.get("data") if status == 200 and isinstance(body, dict) else []
    return (found if isinstance(found, list) else []), software


async def _trial(session: aiohttp.ClientSession, target: Target, models: dict[str, str], one: str) -> Server:
    """The first endpoint and spelling that serves a request of two tokens."""
    said = ""
    for name in [target.endpoint] if target.endpoint else list(PATHS):
        for extra in (USAGE, {}):
            server = Server(target, PATHS[name], models, extra)
            found = await _sent(session, server, one)
            if not found.failure:
                return server
            said = found.failure
            if found.status not in NOT_UNDERSTOOD:
                break
        if found.status not in (*NOT_THERE, *NOT_UNDERSTOOD):
            break
    raise InputError(target.base, f"does not serve a request: {said}", "see --endpoint, --model and --api-key")


async def _sent(
    session: aiohttp.ClientSession, server: Server, class_name: str, words: int = prompts.CALIBRATION[0]
) -> Outcome:
    body = server.body(class_name, prompts.text(words, np.random.default_rng()), 2, 0)
    return await send(session, server.url, body, 2, server.target.timeout_s)


async def _tokenizer(session: aiohttp.ClientSession, server: Server, class_name: str) -> prompts.WordCount:
    """How many tokens words make: as /tokenize says, or else the counts of two requests; else a word is a token."""
    counts = []
    for words in prompts.CALIBRATION:
        prompt = prompts.text(words, np.random.default_rng(words))
        count = await _tokens(session, server, class_name, prompt)
        if count is None:
            count = (await _sent(session, server, class_name, words)).input_tokens
        if count is None:
            return prompts.WordCount()
        counts.append(count)
    return prompts.calibrated((counts[0], counts[1]))


async def _tokens(session: aiohttp.ClientSession, server: Server, class_name: str, prompt: str) -> int | None:
    """Tokens of a prompt, in vLLM's spelling of /tokenize or llama.cpp's; None where there is none."""
    chat = server.path == PATHS["chat"] and not server.card
    messages = {"messages": [{"role": "user", "content": prompt}]}
    asked: list[Mapping[str, Any]] = [messages] if chat else []
    asked += [{"prompt": prompt}, {"content": prompt}]
    for fields in asked:
        body = {"model": server.models[class_name], **fields}
        try:
            status, found, _ = await _asked(session, "POST", server.target.base + "/tokenize", body)
        except InputError:
            return None
        if status == 200 and isinstance(found, dict):
            if type(found.get("count")) is int:
                return int(found["count"])
            if isinstance(found.get("tokens"), list):
                return len(found["tokens"])
        if status in NOT_THERE:
            return None
    return None


async def metrics_text(session: aiohttp.ClientSession, target: Target) -> str:
    """The server's /metrics; empty where there is none."""
    try:
        async with asyncio.timeout(LOOK_S), session.get(target.base + "/metrics") as response:
            return (await limited(response, _MOST_BYTES)).decode() if response.status == 200 else ""
    except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
        return ""


async def _asked(
    session: aiohttp.ClientSession, method: str, url: str, body: Mapping[str, Any] | None
) -> tuple[int, Any, str]:
    """Status, JSON (None for what is none) and Server header. Raises InputError where nobody answers."""
    try:
        async with asyncio.timeout(LOOK_S), session.request(method, url, json=body, headers=_CLOSE) as response:
            raw = await limited(response, _MOST_BYTES)
            software = response.headers.get("Server", "")
    except TimeoutError as error:
        raise InputError(url, f"gave no answer within {LOOK_S:g} s", "is the server up?") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = getattr(getattr(error, "os_error", None), "strerror", None) or str(error) or type(error).__name__
        raise InputError(url, f"cannot be asked: {words}", "is the server up?") from error
    try:
        return response.status, json.loads(raw), software
    except (ValueError, RecursionError):
        return response.status, None, software
