"""One request on its way through the server: what was asked, and its tokens as they come out."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

END = 0
"""What stands in a stream after its last token."""


class Refused(Exception):
    """The server does not take this request: HTTP `status`, and after how many seconds to try again (0: never)."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True)
class Order:
    """What a request asks for: tokens in and out, its class (None: any), its priority (None: the class's)."""

    prompt_tokens: int
    max_tokens: int | None
    class_name: str | None = None
    priority: int | None = None


@dataclass(eq=False)
class Stream:
    """The tokens of one request. Times are seconds on the monotonic clock, NaN until they come.

    `withdrawn`: nobody reads any more; `failure`: why it ended early; `backend_state` belongs to the backend.
    """

    order: Order
    output_tokens: int
    arrived_s: float = field(default_factory=time.monotonic)
    started_s: float = math.nan
    first_s: float = math.nan
    last_s: float = math.nan
    tokens: int = 0
    ended: bool = False
    withdrawn: bool = False
    failure: str = ""
    backend_state: Any = None
    _events: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    def put(self, tokens: int, at_s: float) -> None:
        """So many tokens are out."""
        if not self.tokens:
            self.first_s = at_s
        self.tokens += tokens
        self.last_s = at_s
        self._events.put_nowait(tokens)

    def end(self, failure: str = "") -> None:
        """No more will come."""
        self.ended, self.failure = True, failure
        self._events.put_nowait(END)

    async def next(self) -> int:
        """Tokens that came out together; END after the last."""
        return await self._events.get()


class Backend(Protocol):
    """What serves: an engine under a policy.

    `name`, `device`, `emulated` and `versions` are those of the engine; `running`, `waiting` count requests,
    `memory_used` is a share, `preemptions` counts.
    """

    name: str
    device: str
    emulated: bool
    versions: dict[str, str]

    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def memory_used(self) -> float: ...
    @property
    def preemptions(self) -> int: ...

    def admit(self, order: Order) -> Stream:
        """Take a request in. Raises Refused."""

    def withdraw(self, stream: Stream) -> None:
        """Its client went away: free what it holds."""

    async def serve(self) -> None:
        """Work until cancelled. Raises what the policy or the engine raises."""

    def close(self) -> None:
        """Release the engine."""
