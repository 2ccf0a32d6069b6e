"""An engine that works in a thread of its own, beside the event loop that talks to the clients.

The two meet in two places: orders go in through a queue, what comes of them goes out by `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

_JOIN_S = 5.0


class Threaded:
    """Base of such backends: they say what an order means, whether anybody is there, and what one turn does."""

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def serve(self) -> None:
        """Let the thread work; raises what ended it."""
        self._thread.start()
        await self._failed

    def close(self) -> None:
        """End the thread after its turn, and release the engine."""
        self._orders.put(None)
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        self._release()

    def _release(self) -> None:
        raise NotImplementedError

    @property
    def _idle(self) -> bool:
        raise NotImplementedError

    def _accept(self, order: Any) -> None:
        raise NotImplementedError

    def _turn(self) -> None:
        raise NotImplementedError

    def _work(self) -> None:
        """The thread: take what has arrived, then a turn of work."""
        try:
            while self._take_orders(block=self._idle):
                self._turn()
        except Exception as error:  # a policy's own rank, say: the server cannot go on
            self._tell(self._fail, error)

    def _take_orders(self, block: bool) -> bool:
        """Accept what has arrived; False when the thread is to end."""
        try:
            while True:
                order = self._orders.get(block)
                if order is None:
                    return False
                self._accept(order)
                block = False
        except queue.Empty:
            return True

    def _tell(self, what: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:  # the event loop has ended: nobody listens
            self._orders.put(None)

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


def words(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
