"""Vidur's and etalon's processed traces: lengths, with or without arrival times."""

from __future__ import annotations

import pandas as pd

from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import checked, column
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.logs import atoms, latency_frame
from qmodel.interop.reading import Options, Reader
from qmodel.interop.trace_log import LENGTH, trace_log


def is_lengths(content: Content) -> bool:
    """`num_prefill_tokens` and `num_decode_tokens`, with or without `arrived_at`."""
    return content.has("num_prefill_tokens", "num_decode_tokens")


def read_lengths(content: Content, options: Options) -> Imported:
    """Lengths of requests; a log where there are arrival times too."""
    frame = csv_frame(content)
    mapping = [
        Translation("num_prefill_tokens", "input_tokens"),
        Translation("num_decode_tokens", "output_tokens"),
    ]
    names = ("num_prefill_tokens", "num_decode_tokens")
    if "arrived_at" in frame:
        mapping.append(Translation("arrived_at", "scheduled_s", "seconds from the first"))
        return trace_log(content, frame, column(frame, "arrived_at"), names, mapping, [])
    values = {"input_tokens": column(frame, names[0]), "output_tokens": column(frame, names[1])}
    table = latency_frame([int(k) for k in frame.index], values)
    table = table[["request_id", "class", "input_tokens", "output_tokens"]]
    table, findings = checked(content.path, table, {"input_tokens": LENGTH, "output_tokens": LENGTH})
    findings += _repeated(table)
    findings += atoms(table)
    return Imported("", "", "lengths", table, mapping, findings)


def _repeated(table: pd.DataFrame) -> list[Finding]:
    again = table.duplicated(["input_tokens", "output_tokens"])
    share = float(again.mean())
    if share < 0.05:
        return []
    sentence = f"{100 * share:.0f} % of the rows repeat the lengths of an earlier one"
    return [finding("copies", list(table.index[again]), sentence)]


READER = Reader("vidur-trace", "Vidur processed trace", is_lengths, read_lengths)
