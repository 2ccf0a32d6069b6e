"""The body of an OpenAI-style request, read and checked; and what a prompt's length is here.

A prompt is a string, counted by its words (text between blanks: nothing here reads it), or a list of token ids,
counted one by one. The *model* names the class of the request; the scenario's own name stands for no class in
particular. `priority` (vLLM's field) overrules that of the class. Sampling options are taken and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmodel.live.endpoint.stream import Order, Refused


@dataclass(frozen=True)
class Asked:
    """A request as read: its order, whether tokens are to be streamed, and whether the counts come last."""

    order: Order
    model: str
    stream: bool
    include_usage: bool


def read_asked(body: Any, *, chat: bool, anybody: str, most_tokens: int) -> Asked:
    """The request in this body. `anybody` is the model that stands for no class. Raises Refused.

    >>> body = {"model": "chat", "prompt": "three words here", "max_tokens": 5}
    >>> read_asked(body, chat=False, anybody="demo", most_tokens=100).order
    Order(prompt_tokens=3, max_tokens=5, class_name='chat', priority=None)
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object")
    model = body.get("model") or anybody
    if not isinstance(model, str):
        raise Refused(400, "model: give a string")
    tokens = _messages(body) if chat else prompt_tokens(body.get("prompt"), "prompt")
    most = _whole(body, "max_completion_tokens") if chat else None
    most = _whole(body, "max_tokens") if most is None else most
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise Refused(400, f"{name}: one choice is made; leave it out")
    if tokens + (most or 1) > most_tokens:
        raise Refused(400, f"{tokens} prompt and {most or 1} output tokens exceed the {most_tokens} taken here")
    class_name = None if model == anybody else model
    options = body.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))
    order = Order(tokens, most, class_name, _whole(body, "priority", least=None))
    return Asked(order, model, bool(body.get("stream")), usage)


def prompt_tokens(prompt: Any, name: str) -> int:
    """Tokens of a prompt: words of a text, or ids in a list; at least 1. Raises Refused.

    >>> prompt_tokens("two words", "prompt"), prompt_tokens([5, 6, 7], "prompt")
    (2, 3)
    """
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return max(1, len(prompt.split()))
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return len(prompt)
    raise Refused(400, f"{name}: give a text or a list of token ids, one at a time")


def _messages(body: Mapping[str, Any]) -> int:
    messages = body.get("messages")
    if not (isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages)):
        raise Refused(400, "messages: give a list of messages")
    return sum(_content(each.get("content")) for each in messages)


def _content(content: Any) -> int:
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        if not texts or len(texts) < len(content):
            raise Refused(400, "messages: only text is taken")
        content = " ".join(texts)
    if not isinstance(content, str):
        raise Refused(400, "messages: give each its content")
    return prompt_tokens(content, "messages")


def _whole(body: Mapping[str, Any], name: str, least: int | None = 1) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or abs(value) > 2**53 or (least is not None and value < least):
        raise Refused(400, f"{name}: {value!r:.40} is no whole number" + ("" if least is None else " above 0"))
    return value
