"""AIPerf `profile_export.jsonl`: one record a request, each metric with its own unit, which is read.

`inter_token_latency` is everyone else's TPOT; `inter_chunk_latency` is vLLM's ITL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import finding
from qmodel.interop.cells import number, parsed_records
from qmodel.interop.content import Content
from qmodel.interop.imported import OK, Imported, Translation
from qmodel.interop.logs import finished, log_frame
from qmodel.interop.reading import Options, Reader

SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9,
           "microseconds": 1e-6, "nanoseconds": 1e-9}  # fmt: skip
MAPPING = [
    Translation("metadata.credit_issued_ns", "scheduled_s", "nanoseconds, from the first"),
    Translation("metadata.request_start_ns", "sent_s", "nanoseconds"),
    Translation("request_start_ns + time_to_first_token", "first_token_s", "in the unit the record names"),
    Translation("metadata.request_end_ns", "done_s", "nanoseconds"),
    Translation("inter_token_latency", "TPOT", "everyone else's TPOT"),
    Translation("inter_chunk_latency", "ITL", "vLLM's ITL: the gaps between chunks"),
    Translation("input_sequence_length, output_sequence_length", "input_tokens, output_tokens"),
]


def is_aiperf(content: Content) -> bool:
    """`metadata` and `metrics` on each line."""
    record = content.first_record
    metadata = record.get("metadata")
    return isinstance(metadata, Mapping) and "metrics" in record and "request_start_ns" in metadata


def read(content: Content, options: Options) -> Imported:
    """A request log."""
    rows, records, findings = parsed_records(content)
    meta = [_mapping(record.get("metadata")) for record in records]
    sent = 1e-9 * np.array([number(one.get("request_start_ns")) for one in meta])
    due = 1e-9 * np.array([number(one.get("credit_issued_ns")) for one in meta])
    metrics = [_mapping(record.get("metrics")) for record in records]
    first = np.array([_seconds(content.path, one, "time_to_first_token") for one in metrics])
    done = 1e-9 * np.array([number(one.get("request_end_ns")) for one in meta])
    status = np.array([f"failed: {_why(record['error'])}" if record.get("error") else OK for record in records])
    lost = (status == OK) & ~np.isfinite(done)
    if lost.any():
        lines = [rows[k] for k in np.flatnonzero(lost)]
        findings.append(finding("unreadable", lines, f"{len(lines)} request(s) without an end; failed"))
        status = np.where(lost, "failed: no end", status)
    ok = status == OK
    columns: dict[str, Any] = {
        "scheduled_s": np.where(np.isfinite(due), due, sent),
        "sent_s": sent,
        "first_token_s": np.where(ok, sent + first, np.nan),
        "last_token_s": np.where(ok, done, np.nan),
        "done_s": np.where(ok, done, np.nan),
        "input_tokens": np.array([_value(one, "input_sequence_length") for one in metrics]),
        "output_tokens": np.array([_value(one, "output_sequence_length") for one in metrics]),
        "status": status,
    }
    frame = finished(content.path, log_frame(rows, columns), findings)
    return Imported("", "", "requests", frame, MAPPING, findings)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _value(metrics: Mapping[str, Any], tag: str) -> float:
    return number(_mapping(metrics.get(tag)).get("value"))


def _seconds(path: str, metrics: Mapping[str, Any], tag: str) -> float:
    value = _value(metrics, tag)
    if not math.isfinite(value):
        return value
    unit = _mapping(metrics.get(tag)).get("unit")
    if not isinstance(unit, str) or unit.lower() not in SECONDS:
        raise InputError(f"{path}, {tag}", f"has the unit {unit!r}", "known: s, ms, us, ns")
    return value * SECONDS[unit.lower()]


def _why(error: Any) -> str:
    word = error.get("type") or error.get("code") if isinstance(error, Mapping) else error
    return str(word).splitlines()[0][:80] if str(word).strip() else "error"


READER = Reader("aiperf", "AIPerf profile_export JSONL", is_aiperf, read)
