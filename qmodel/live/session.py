"""One run between the load generator and a prepared server, watched so that it ends in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.engine_process import leaving
from qmodel.live.client import no_garbage_collection, send_all, write
from qmodel.live.collector import Collector
from qmodel.live.process import ServerProcess
from qmodel.live.punctual import punctual
from qmodel.live.wire import NO_MORE, STOP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmodel.live.log import RowMaker

LEAD_S = 0.05
"""The first instant of a run lies this far ahead when it is announced."""
PROGRESS_EVERY_S = 0.2
_ROOM_FOR_PROGRESS_S = 0.02
Progress = Callable[[int, int, float], None]
"""Called with requests finished, requests in all, and seconds since the start."""


class Aborted(Exception):
    """The run cannot go on; the message says why."""


class Session:
    """Sends the requests, waits for the last of them, and says what went wrong if anything did (`failure`).

    `waking` says how promptly the load generator may wake up.
    """

    def __init__(
        self,
        process: ServerProcess,
        collector: Collector,
        scheduled_s: NDArray[np.float64],
        step_timeout_s: float,
        progress: Progress | None = None,
    ) -> None:
        self._process, self._collector, self._scheduled_s = process, collector, scheduled_s
        self._step_timeout_s, self._progress = step_timeout_s, progress
        self._idle_at = self._told = self._origin = 0.0
        self.sent_s = collector.sent_s
        self.failure = self.waking = ""

    def serve(self, drain_timeout_s: float) -> None:
        """The whole run, from its first instant to the last record."""
        self._origin = self._idle_at = time.monotonic() + LEAD_S
        self._process.begin(self._origin)
        self._collector.start()
        count = len(self._scheduled_s)
        try:
            with no_garbage_collection(), leaving(self._process.cores), punctual() as self.waking:
                send_all(self._scheduled_s, self.sent_s, self._origin, self._process.arrivals, self._look)
            write(self._process.arrivals, NO_MORE, count, self._look)
            self._drain(count, drain_timeout_s)
        except Aborted as reason:
            self.failure = str(reason)
        except BrokenPipeError:
            self.failure = self._ended()
        if not self.failure:
            self._collector.join()

    def _drain(self, count: int, timeout_s: float) -> None:
        """Wait for what was sent; after the timeout, have the server stop at its next step."""
        collector, deadline = self._collector, time.monotonic() + timeout_s
        while not collector.over.wait(0.05):
            self._look_on(count, 1.0)
            if time.monotonic() > deadline:
                write(self._process.arrivals, STOP, count, self._look_on)
                deadline = float("inf")
        self._check()

    def _look(self, sent: int, left_s: float) -> None:
        """Raise Aborted when the server is gone or hangs; tell the progress when there is time for it."""
        if self._collector.over.is_set():
            self._check(early=True)
        self._look_on(sent, left_s)

    def _look_on(self, sent: int, left_s: float) -> None:
        """The same once all was sent: the run may end at any moment, also while this is looking."""
        now = time.monotonic()
        done = len(self._collector.rows)
        if done >= sent:
            self._idle_at = now
        elif now - max(self._collector.heard, self._idle_at) > self._step_timeout_s:
            raise Aborted(f"the server gave no sign of life for {self._step_timeout_s:g} s")
        if self._progress and left_s > _ROOM_FOR_PROGRESS_S and now - self._told > PROGRESS_EVERY_S:
            self._told = now
            self._progress(done, len(self._scheduled_s), now - self._origin)

    def _check(self, early: bool = False) -> None:
        """Raise Aborted unless the run is over as it should be."""
        if self._collector.error is not None:
            raise Aborted(str(self._collector.error))
        if self._collector.gone or early:
            raise Aborted(self._ended())

    def _ended(self) -> str:
        return f"the server ended ({self._process.cause_of_death()})"

    def missing_rows(self, maker: RowMaker) -> list[dict[str, Any]]:
        """A row for each request that never came back, saying why."""
        return [
            maker.missing(index, float(self.sent_s[index]), self._why(index))
            for index in range(len(self._scheduled_s))
            if index not in self._collector.rows
        ]

    def _why(self, index: int) -> str:
        sent = self.sent_s[index] == self.sent_s[index]
        if self.failure:
            return f"{'not finished' if sent else 'not sent'}: {self.failure}"
        return "not finished when the run ended"


def not_sent(count: int) -> NDArray[np.float64]:
    """Times of sending before anything was sent: NaN."""
    return np.full(count, np.nan)


def lags(sent_s: NDArray[np.float64], scheduled_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How late each request was sent (s), those that were never sent left out."""
    late = sent_s - scheduled_s
    return late[np.isfinite(late)]
