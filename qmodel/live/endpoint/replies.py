"""Replies in OpenAI's words: chunks of a stream, whole answers, errors."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from qmodel.live.endpoint.stream import Stream

WORDS = ("the", "queue", "is", "short", "and", "the", "server", "goes", "on", "to", "the", "next", "one")
"""What is said, round and round: one word a token."""
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "too_large",
         429: "rate_limit_error", 503: "unavailable_error", 504: "timeout_error"}  # fmt: skip


class Reply:
    """Writes the answer to one request; `chat` says in which of the two shapes."""

    def __init__(self, model: str, chat: bool, emulated: bool) -> None:
        self.chat = chat
        self._said = 0
        name = "chat.completion" if chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": name + (".chunk" if chat else ""),
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": "qmodel, emulated" if emulated else "qmodel",
        }

    def opening(self) -> bytes:
        """The first event of a chat: who speaks."""
        return self._event([self._choice({"role": "assistant", "content": ""})])

    def token(self) -> bytes:
        """One token."""
        text = self._word()
        return self._event([self._choice({"content": text} if self.chat else text)])

    def closing(self, stream: Stream, usage: bool) -> bytes:
        """Why it ends, the counts if they were asked for, and the end of the stream."""
        last = self._event([self._choice({} if self.chat else "", "length")])
        counts = self._event([], usage=counts_of(stream)) if usage else b""
        return last + counts + b"data: [DONE]\n\n"

    def whole(self, stream: Stream) -> dict[str, Any]:
        """The answer in one piece."""
        text = "".join(self._word() for _ in range(stream.tokens))
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **said, "finish_reason": "length", "logprobs": None}
        head = self._head | {"object": str(self._head["object"]).removesuffix(".chunk")}
        return head | {"choices": [choice], "usage": counts_of(stream)}

    def _word(self) -> str:
        self._said += 1
        return " " + WORDS[(self._said - 1) % len(WORDS)]

    def _choice(self, said: Any, reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta" if self.chat else "text": said, "finish_reason": reason, "logprobs": None}

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps(self._head | {"choices": choices} | more).encode() + b"\n\n"


def counts_of(stream: Stream) -> dict[str, int]:
    """Tokens in and out, as OpenAI's `usage`."""
    prompt, made = stream.order.prompt_tokens, stream.tokens
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def error_body(status: int, message: str) -> bytes:
    """An error in OpenAI's shape.

    >>> error_body(429, "full")
    b'{"error": {"message": "full", "type": "rate_limit_error", "param": null, "code": 429}}'
    """
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}}).encode()
