"""Takes the server's records as they come and writes them down, in a thread beside the load generator."""

from __future__ import annotations

import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.live.log import PartialLog, RowMaker
from qmodel.live.wire import ALIVE, DONE, END, FAILED, FAULT, Record, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Collector:
    """Rows of finished requests by index, and how the run is getting on.

    `sent_s` holds when each request was sent (filled by the load generator, NaN before); `heard` is when the server
    last gave a sign of life (monotonic clock); `error` is what went wrong here or was told by the server, `gone`
    that the server closed the connection.
    """

    def __init__(self, records: Connection, maker: RowMaker, log: PartialLog, sent_s: NDArray[np.float64]) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.token_times_s: dict[int, tuple[float, ...]] = {}
        self.sent_s = sent_s
        self.statistics: dict[str, Any] | None = None
        self.error: InputError | None = None
        self.gone = False
        self.heard = time.monotonic()
        self.over = threading.Event()
        self._records, self._maker, self._log = records, maker, log
        self._thread = threading.Thread(target=self._listen, name="live-collector", daemon=True)

    def start(self) -> None:
        """Listen until the run is over."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread: it ends with the server's last message, or with the server."""
        if self._thread.ident is not None:
            self._thread.join()

    def _listen(self) -> None:
        try:
            while not self.over.is_set():
                for kind, content in unpack(self._records.recv_bytes()):
                    self._take(kind, content)
        except (EOFError, OSError):
            self.gone = True
        except InputError as error:  # the log cannot be written
            self.error = error
        self.over.set()

    def _take(self, kind: int, content: Any) -> None:
        self.heard = time.monotonic()
        if kind in (DONE, FAILED):
            self._keep(content)
        elif kind == END:
            self.statistics = content
            self.over.set()
        elif kind == FAULT:
            self.error = InputError(*content)
            self.over.set()
        else:
            assert kind == ALIVE

    def _keep(self, record: Record) -> None:
        row = self._maker.done(record, float(self.sent_s[record.index]))
        self.rows[record.index] = row
        if record.token_times_s:
            self.token_times_s[record.index] = record.token_times_s
        self._log.append([row])
