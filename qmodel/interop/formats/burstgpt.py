"""BurstGPT traces: seconds, lengths, model."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.interop.cells import column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.reading import Options, Reader
from qmodel.interop.trace_log import trace_log


def is_burstgpt(content: Content) -> bool:
    """Its columns with blanks in their names."""
    return content.has("Timestamp", "Request tokens", "Response tokens")


def read_burstgpt(content: Content, options: Options) -> Imported:
    """Stamps are seconds; 0 response tokens mark failures."""
    frame = csv_frame(content)
    mapping = [
        Translation("Timestamp", "scheduled_s", "seconds from the first"),
        Translation("Request tokens", "input_tokens"),
        Translation("Response tokens", "output_tokens", "0 marks a failed request"),
    ]
    columns: dict[str, Any] = {}
    named = [name for name in ("Model", "Log Type") if name in frame]
    if named:
        columns["class"] = [" ".join(map(str, row)) for row in frame[named].fillna("").to_numpy().tolist()]
        mapping.append(Translation(", ".join(named), "class"))
    out = column(frame, "Response tokens")
    columns["status"] = np.where(out == 0, "failed: no response", "ok")
    lengths = ("Request tokens", "Response tokens")
    return trace_log(content, frame, column(frame, "Timestamp"), lengths, mapping, [], **columns)


READER = Reader("burstgpt", "BurstGPT trace", is_burstgpt, read_burstgpt)
