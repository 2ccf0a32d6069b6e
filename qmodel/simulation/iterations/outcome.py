"""What became of each request, as columns; and the series that metrics are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmodel.workload.slo import limit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from qmodel.simulation.iterations.columns import Records
    from qmodel.workload import RequestClass

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

ENDINGS = ("served", "rejected", "abandoned")


@dataclass(frozen=True)
class TokenOutcome:
    """Columns in order of arrival. Times are seconds on the arrivals' clock, NaN for what never happened.

    `ended`: 0 served, 1 rejected (it needs more memory than there is, or the system is full), 2 abandoned.
    `start_s` first admission, `first_s` first token, `done_s` last token, `away_s` seconds of pauses,
    `preemptions` times preempted, `recomputed` tokens computed again, `qoe` quality of experience (NaN where no
    reader is described), `reduced` 1 where the queue condition held as service started.
    """

    request: Integers
    class_index: Integers
    ended: Integers
    arrival_s: Floats
    start_s: Floats
    first_s: Floats
    done_s: Floats
    away_s: Floats
    prompt: Integers
    output: Integers
    preemptions: Integers
    recomputed: Integers
    qoe: Floats
    reduced: Integers

    def __len__(self) -> int:
        return self.request.size

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> TokenOutcome:
        """From records in order of leaving."""
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return cls(*(column[order] for column in columns))

    def of(self, chosen: Any) -> TokenOutcome:
        """The chosen requests alone."""
        return TokenOutcome(*(column[chosen] for column in vars(self).values()))

    @property
    def served(self) -> NDArray[np.bool_]:
        """Who was served to the end."""
        return self.ended == 0

    @property
    def response_s(self) -> Floats:
        """From arrival to the last token, pauses left out."""
        return self.done_s - self.arrival_s - self.away_s

    @property
    def ttft_s(self) -> Floats:
        """From arrival to the first token."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> Floats:
        """(response - TTFT) / (output tokens - 1); NaN for a single token."""
        with np.errstate(divide="ignore", invalid="ignore"):
            each = (self.response_s - self.ttft_s) / (self.output - 1)
        return np.where(self.output > 1, each, np.nan)

    @property
    def wait_s(self) -> Floats:
        """From arrival to the first admission."""
        return self.start_s - self.arrival_s

    def met(self, classes: Sequence[RequestClass]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which requests have limits, and which were served and met all of them."""
        limited = np.zeros(len(self), dtype=bool)
        met = self.served.copy()
        for quantity in ("response", "ttft", "tpot"):
            limits = np.array([limit_of(each.slo, quantity) for each in classes])[self.class_index]
            limited |= np.isfinite(limits)
            with np.errstate(invalid="ignore"):
                met &= ~(getattr(self, f"{quantity}_s") > limits)  # NaN, the TPOT of a single token, is no miss
        return limited, met

    def to_frame(self) -> pd.DataFrame:
        """One row a request."""
        import pandas as pd

        frame = pd.DataFrame(dict(vars(self)))
        frame["ended"] = [ENDINGS[each] for each in self.ended]
        return frame.rename(columns={"prompt": "input_tokens", "output": "output_tokens"})
