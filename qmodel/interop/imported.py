"""What an importer brings back: a tidy table, what each name was called before, and what to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from qmodel.fit.hygiene import Finding

Shape = Literal["profile", "requests", "latencies", "lengths", "windows", "figures"]
SHAPES: dict[str, str] = {
    "profile": "measured times, one row a repetition (or a stated average of some)",
    "requests": "request log with arrival times",
    "latencies": "requests without arrival times: latencies and lengths only",
    "lengths": "lengths of requests only",
    "windows": "rates by client and window",
    "figures": "aggregated figures, no single measurements",
}
"""What kinds of table there are."""
LOG_COLUMNS = (
    "request_id", "class", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "done_s", "input_tokens",
    "output_tokens", "exit", "status",
)  # fmt: skip
"""Columns of a request log, in seconds from the start of the run."""
OK = "ok"


@dataclass(frozen=True)
class Translation:
    """One name of the other tool, its name here, and how values change on the way."""

    theirs: str
    ours: str
    note: str = ""


@dataclass
class Imported:
    """A tidy table from a file of another tool.

    `frame` is indexed by line (or record) number in the file. `factors` are the factor columns of a profile. For
    a log, `nominal` names the arrival process that the tool says it made and `nominal_rate` its rate. `origin`
    holds further facts for the provenance.
    """

    kind: str
    title: str
    shape: Shape
    frame: pd.DataFrame
    mapping: list[Translation] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    factors: tuple[str, ...] = ()
    nominal: str | None = None
    nominal_rate: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    sha256: str = ""

    def provenance(self) -> dict[str, Any]:
        """Plain values for `<name>.meta.toml`."""
        return {
            "schema": "qmodel.import_meta/1",
            "source": {"file": self.path, "sha256": self.sha256, "kind": self.kind, "title": self.title},
            "table": {"shape": self.shape, "holds": SHAPES[self.shape], "rows": len(self.frame)},
            "origin": self.origin,
            "mapping": [vars(one) for one in self.mapping],
            "finding": [{"kind": one.kind, "sentence": str(one)} for one in self.findings],
        }
