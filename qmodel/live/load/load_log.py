"""The log of a load test: rows and token times written as they come, whole files once all is there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.live.log import OK, TOKEN_COLUMNS, PartialLog, csv_text, partial_path, tokens_path
from qmodel.live.meta import meta_path
from qmodel.openai_client.sending import Outcome
from qmodel.toml_text import to_toml

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "request_id", "class", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "done_s", "input_tokens",
    "output_tokens", "exit", "status", "wanted_input_tokens", "wanted_output_tokens", "priority", "due_s",
)  # fmt: skip
"""Those of every request log, then what was asked for, and when the client was free to send (its cap on concurrency
may have held a request back: without one, when it was scheduled)."""


class LoadLog:
    """Rows by request, on disk as soon as they are known. Raises InputError: disk full."""

    def __init__(self, path: Path, plan: pd.DataFrame) -> None:
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        self._planned: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in plan.to_dict("records")
        ]
        self._log = PartialLog(path, COLUMNS)
        self._tokens = PartialLog(tokens_path(path), TOKEN_COLUMNS)

    def add(self, index: int, due_s: float, outcome: Outcome, origin: float) -> None:
        """Write the row of a request that is over, and its token times."""
        times = [t - origin for t in outcome.token_times]
        row = self._base(index) | {"due_s": due_s, "sent_s": outcome.sent - origin, "exit": outcome.reason}
        row["status"] = f"failed: {outcome.failure}" if outcome.failure else OK
        row["output_tokens"] = outcome.output_tokens
        if outcome.input_tokens is not None:
            row["input_tokens"] = outcome.input_tokens
        if times:
            row |= {"first_token_s": times[0], "last_token_s": times[-1]}
        if not outcome.failure:
            row["done_s"] = outcome.done - origin
        self.rows[index] = row
        self._tokens.append([dict(zip(TOKEN_COLUMNS, (index, i, t), strict=True)) for i, t in enumerate(times)])
        self._log.append([row])

    def add_missing(self, sent_s: Mapping[int, float], why: str) -> None:
        """Write a row for each request that has none: sent and not finished, or never sent."""
        for index in range(len(self._planned)):
            if index not in self.rows:
                sent = sent_s.get(index, math.nan)
                status = f"failed: {'not sent' if math.isnan(sent) else 'not finished'}: {why}"
                self.rows[index] = self._base(index) | {"sent_s": sent, "status": status}
                self._log.append([self.rows[index]])

    def close(self) -> None:
        """Leave the files as they are."""
        for part in (self._log, self._tokens):
            with suppress(InputError):
                part.close()

    def keep(self, meta: Mapping[str, Any]) -> pd.DataFrame:
        """Tokens and metadata in their places and, last, the log: where a log stands, all of it stands."""
        self.close()
        frame = self.frame()
        with suppress(OSError):
            self.path.unlink()
        tokens = tokens_path(self.path)
        partial_path(tokens).replace(tokens)
        write_atomically(meta_path(self.path), to_toml(meta))
        write_atomically(self.path, csv_text(frame))
        partial_path(self.path).unlink(missing_ok=True)
        return frame

    def frame(self) -> pd.DataFrame:
        """The rows in order of sending."""
        import pandas as pd

        return pd.DataFrame([self.rows[index] for index in sorted(self.rows)], columns=list(COLUMNS))

    def _base(self, index: int) -> dict[str, Any]:
        planned = self._planned[index]
        row: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan) | planned
        return row | {"due_s": planned["scheduled_s"], "input_tokens": planned["wanted_input_tokens"], "exit": ""}
