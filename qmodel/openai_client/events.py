"""Server-sent events of an OpenAI-style stream: from bytes to tokens, the end, and what the server counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

LONGEST_LINE = 1 << 20


class Nonsense(Exception):
    """What came is no stream of completions; the message says what is wrong with it."""


class Events:
    """Cuts bytes into the data of events, wherever the network cut them.

    >>> list(Events().fed(b'data: {"a": 1}\\n\\n: a comment\\ndata: [DO')), list(Events().fed(b"data:x\\r\\n"))
    ([b'{"a": 1}'], [b'x'])
    """

    def __init__(self) -> None:
        self._rest = b""

    def fed(self, data: bytes) -> Iterator[bytes]:
        """Data of the events that these bytes complete. Raises Nonsense for a line without an end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise Nonsense(f"a line of more than {LONGEST_LINE} bytes")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                yield line[5:].strip()
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise Nonsense(f"no event: {_short(line)}")


class Told:
    """What a stream has said so far: its end (`done`), why (`reason`), and the server's counts, None before."""

    def __init__(self) -> None:
        self.done = False
        self.reason = ""
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def hear(self, data: bytes) -> bool:
        """Take one event; returns whether it brings text. Raises Nonsense, also for an error told in the stream.

        >>> Told().hear(b'{"choices": [{"text": " word", "finish_reason": null}]}')
        True
        """
        if data == b"[DONE]":
            self.done = True
            return False
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Nonsense(f"no JSON: {_short(data)}") from error
        if not isinstance(event, dict):
            raise Nonsense(f"no event: {_short(data)}")
        if event.get("error"):
            raise Nonsense(f"the server says: {message_of(event)}")
        self._count(event.get("usage"))
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return False
        if not isinstance(choices[0], dict):
            raise Nonsense(f"no choice: {_short(data)}")
        reason = choices[0].get("finish_reason")
        if reason:
            self.reason = str(reason)
        return brings_text(choices[0])

    def _count(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        prompt, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        self.input_tokens = prompt if type(prompt) is int and prompt > 0 else self.input_tokens
        self.output_tokens = made if type(made) is int and made >= 0 else self.output_tokens


def brings_text(choice: dict[str, Any]) -> bool:
    """Whether a choice brings a token: text, or an empty piece of one that is not just who speaks, or the end.

    >>> brings_text({"delta": {"role": "assistant", "content": ""}}), brings_text({"text": ""})
    (False, True)
    """
    if "text" in choice:
        return bool(choice["text"]) or not choice.get("finish_reason")
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return False
    pieces = [delta[name] for name in ("content", "reasoning_content", "reasoning") if delta.get(name) is not None]
    if any(pieces):
        return True
    return bool(pieces) and "role" not in delta and not choice.get("finish_reason")


def message_of(body: Any) -> str:
    """The message in an error body, in whichever shape.

    >>> message_of({"error": {"message": "full"}}), message_of({"detail": "no"}), message_of("x")
    ('full', 'no', 'x')
    """
    while isinstance(body, dict):
        inner = body.get("error") or body.get("message") or body.get("detail")
        if inner is None:
            break
        body = inner
    return _short(str(body))


def _short(text: bytes | str) -> str:
    words = " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split())
    return words if len(words) <= 120 else words[:117] + "..."
