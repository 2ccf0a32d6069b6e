"""vLLM's own stamps of requests, as LLMServingSim's bench saves them: two clocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmodel.errors import InputError
from qmodel.fit.hygiene import Finding, finding
from qmodel.interop.cells import bad, column, number, parsed_records
from qmodel.interop.content import Content
from qmodel.interop.csv_frame import csv_frame
from qmodel.interop.figures import figures_frame
from qmodel.interop.imported import Imported, Translation
from qmodel.interop.logs import finished, log_frame
from qmodel.interop.reading import Options, Reader


def is_vllm_requests(content: Content) -> bool:
    """Lines with `arrival_time`, `queued_ts` and `first_token_ts`."""
    return {"arrival_time", "queued_ts", "first_token_ts", "last_token_ts"} <= set(content.first_record)


def read_vllm_requests(content: Content, options: Options) -> Imported:
    """vLLM's own request stamps: arrival on the wall clock, all later steps on the engine's monotonic clock."""
    rows, records, findings = parsed_records(content)

    def values(name: str) -> np.ndarray:
        return np.array([number(record.get(name)) for record in records])

    arrival, queued = values("arrival_time"), values("queued_ts")
    both = np.isfinite(arrival) & np.isfinite(queued)
    if not both.any():
        raise InputError(content.path, "has no row with arrival_time and queued_ts", "fetch it again")
    offset = float(np.min((queued - arrival)[both]))
    columns: dict[str, Any] = {
        "request_id": [_word(record.get("request_id"), k) for k, record in enumerate(records)],
        "scheduled_s": arrival,
        "sent_s": arrival,
        "first_token_s": values("first_token_ts") - offset,
        "last_token_s": values("last_token_ts") - offset,
        "done_s": values("last_token_ts") - offset,
        "input_tokens": values("input_toks"),
        "output_tokens": values("output_toks"),
        "started_s": values("scheduled_ts") - offset,
    }
    lost = ~np.isfinite(columns["done_s"])
    columns["status"] = np.where(lost, "failed: no end", "ok")
    if lost.any():
        lines = [rows[k] for k in np.flatnonzero(lost)]
        findings.append(finding("unreadable", lines, f"{len(lines)} request(s) without an end; failed"))
    mapping = [
        Translation("arrival_time", "scheduled_s, sent_s", "wall clock, from the first"),
        Translation("first_token_ts", "first_token_s", "engine's clock, set to the wall clock (below)"),
        Translation("last_token_ts", "last_token_s, done_s", "engine's clock"),
        Translation("scheduled_ts", "started_s", "when the engine first ran it, not when it was due"),
        Translation("input_toks, output_toks", "input_tokens, output_tokens"),
    ]
    sentence = (
        "two clocks: they are set by the request that was queued fastest, so responses may be that lag too short"
    )
    findings.append(Finding("clock", (), sentence))
    frame = finished(content.path, log_frame(rows, columns), findings)
    return Imported("", "", "requests", frame, mapping, findings)


def _word(value: Any, k: int) -> str:
    return str(value)[:80] if isinstance(value, str | int) else str(k)


def is_series(content: Content) -> bool:
    """A series of running and waiting requests."""
    return content.has("t", "running", "waiting")


def read_series(content: Content, options: Options) -> Imported:
    """Averages over the ticks of a run: requests in the system by Little's law tell the mean response time."""
    frame = csv_frame(content)
    names = {
        "running": ("mean_running", "1", 1.0),
        "waiting": ("mean_waiting", "1", 1.0),
        "gen_throughput": ("output_throughput_tokens_per_s", "tokens/s", 1.0),
        "prompt_throughput": ("input_throughput_tokens_per_s", "tokens/s", 1.0),
        "kv_cache_pct": ("mean_kv_cache_share", "1", 0.01),
    }
    table, findings = [], []
    for theirs, (ours, unit, scale) in names.items():
        if theirs not in frame:
            continue
        values = column(frame, theirs)
        fault, told = bad(values, theirs, [int(k) for k in frame.index], least=0.0, most=1e9)
        findings += told
        if not fault.all():
            value = scale * float(values[~fault].mean())
            table.append({"line": 2, "metric": ours, "value": value, "unit": unit, "theirs": theirs})
    mapping = [Translation(theirs, ours, "average over the ticks") for theirs, (ours, _, _) in names.items()]
    return Imported("", "", "figures", figures_frame(table), mapping, findings)


READER = Reader("vllm-requests", "vLLM request stamps (LLMServingSim bench)", is_vllm_requests, read_vllm_requests)
SERIES = Reader("vllm-series", "vLLM load series (LLMServingSim bench)", is_series, read_series)
